"""Models of one's own (plugins.models): whether they are what timm makes and training builds on."""

from typing import Any

from torch import Tensor, nn

from stages.base.errors import UserError
from stages.learn import plugins
from stages.learn.plugins import Plugin

API = ("num_classes", "num_features", "forward_features", "reset_classifier")


def check(name: str, made: nn.Module) -> None:
    """Raise UserError, with the file's line, for a model of one's own that was made with num_classes=0 and has not timm's API."""
    plugin = plugins.origin(name)
    if plugin is None:
        return
    missing = [part for part in API if not hasattr(made, part)]
    if missing:
        raise _fault(plugin, name, f"has no {' and no '.join(missing)}, which timm's models have; add what is missing")
    if made.num_classes != 0:
        raise _fault(
            plugin, name, f"has num_classes {made.num_classes} where 0 was asked for; hand num_classes on to it"
        )
    describe(name, made)


def describe(name: str, made: nn.Module) -> None:
    """Where a model of one's own does not say how it wants its pixels, it gets timm's defaults: ImageNet's mean and deviation."""
    if plugins.origin(name) is None:
        return
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    defaults = {
        "architecture": name,
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "input_size": (3, 224, 224),
    }
    said: dict[str, Any] = dict(getattr(made, "pretrained_cfg", None) or {})
    made.pretrained_cfg = defaults | {key: value for key, value in said.items() if value}  # type: ignore[assignment]


def refuse_features(name: str, found: object) -> None:
    """Raise UserError, with the file's line, for a model of one's own that gives something else than features [1, F]."""
    plugin = plugins.origin(name)
    if plugin is not None:
        told = f"{list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise _fault(plugin, name, f"gives {told} with num_classes=0, for one photo, where [1, features] is wanted")


def explain(name: str, error: Exception) -> None:
    """Raise UserError, with the file's line, where the code of a model of one's own raised an error."""
    plugin = plugins.origin(name)
    if plugin is not None:
        raise plugins.explanation(plugin, plugin.models[name], f"model `{name}`", error) from error


def _fault(plugin: Plugin, name: str, told: str) -> UserError:
    return UserError(f"{plugin.line(plugin.models[name])}: model `{name}`: {told}")
