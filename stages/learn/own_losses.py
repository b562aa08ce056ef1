"""Losses of one's own (plugins.losses) beside this program's: options, read from their signatures, and whether they learn."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import torch
from pydantic import Field, StrictBool, ValidationError, create_model

from stages.base import paths
from stages.base.errors import UserError, nearest
from stages.learn import losses, plugins
from stages.learn.losses import LOSSES, LossFunction, Maker
from stages.learn.plugins import Plugin
from stages.params.error_line import one_line
from stages.params.fields import Group, Number
from stages.params.model_and_training import Plugins
from stages.params.schema import Params

# A type as an option has it: what YAML takes for another is refused, as of this program's own.
TYPES: dict[Any, Any] = {float: Number, int: Annotated[int, Field(strict=True)], bool: StrictBool}
TRIED = 8  # photos
PASSED = "progress"  # is no option: training passes it


def known(own: Plugins) -> dict[str, Maker]:
    """All losses by name, this program's first."""
    return LOSSES | {name: function for name, (_, function) in _own(own).items()}


def chosen(params: Params) -> tuple[Maker, dict[str, Any]]:
    """params.loss and all its options. Raises UserError as `check` does."""
    typed = params.losses.typed(params.loss)
    if not params.own_loss:
        return LOSSES[params.loss], typed
    plugin, function = _found(params)
    return function, _options(plugin, function, typed)


def check(params: Params) -> None:
    """Import plugins.losses; raise UserError for a loss or an option in params.yaml that is in none of the files."""
    own = _own(params.plugins, again=True)
    names = (*LOSSES, *own)
    for name, typed in params.losses.own.items():
        if name not in own:
            close = nearest(name, names, otherwise=f"plugins.losses has {', '.join(own) or 'none'}")
            raise UserError(f"{paths.PARAMS}: unknown key `losses.{name}`{close}")
        _options(*own[name], typed)
    if params.own_loss:
        _found(params)


def explained(params: Params, how: str) -> AbstractContextManager[None]:
    """Around what computes params.loss: what one's own raises comes as a UserError with the file's line."""
    if not params.own_loss:
        return nullcontext()
    return plugins.explained(*_found(params), f"loss `{params.loss}` works {how}")


def in_words(plugin: Plugin, name: str) -> str:
    """A loss with its options, as `mine (gamma 2.0)`. Raises UserError for a signature that cannot be one."""
    fields = _schema(plugin, plugin.losses[name]).model_fields
    listed = ", ".join(f"{option} {field.default}" for option, field in fields.items())
    return f"{name} ({listed})" if listed else name


def try_out(params: Params, sizes: Sequence[int]) -> None:
    """See one's own loss learn: on random logits [8, C] for each number of classes C it gives one finite number with a finite
    gradient. Raises UserError with the file's line.
    """
    if not params.own_loss:
        return
    plugin, function = _found(params)
    _, options = chosen(params)
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        logits = torch.randn(TRIED, size, generator=generator).requires_grad_()
        what = f"loss `{params.loss}`"
        with plugins.explained(plugin, function, what):
            loss = losses.make(function, range(10 * size, 0, -10), **options)
            if not callable(loss):
                raise _fault(plugin, function, params.loss, f"returns {loss!r}, not a function of logits and labels")
            value = loss(logits, torch.arange(TRIED) % size)
            _check_value(plugin, loss if hasattr(loss, "__code__") else function, params.loss, value)
            (gradient,) = torch.autograd.grad(value, logits, allow_unused=True)
        if gradient is None or not torch.isfinite(gradient).all():
            told = "has a gradient that is not finite" if gradient is not None else "does not depend on the logits"
            raise _fault(plugin, function, params.loss, told)


def _check_value(plugin: Plugin, loss: LossFunction | Maker, name: str, value: Any) -> None:
    """Raise UserError unless it is one finite number that leads back to the logits."""
    if not isinstance(value, torch.Tensor) or value.shape != ():
        shape = (
            f"a tensor of shape {list(value.shape)}" if isinstance(value, torch.Tensor) else f"{type(value).__name__}"
        )
        raise _fault(
            plugin, loss, name, f"gives {shape} where a tensor of one number is wanted, as a mean over the photos"
        )
    if not torch.isfinite(value):
        raise _fault(plugin, loss, name, f"gives {float(value)} for random logits")
    if not value.requires_grad:
        raise _fault(plugin, loss, name, "has no gradient; compute it from the logits by torch alone")


def _fault(plugin: Plugin, function: Any, name: str, told: str) -> UserError:
    return UserError(f"{plugin.line(function)}: loss `{name}`: {told}")


def _own(own: Plugins, again: bool = False) -> dict[str, tuple[Plugin, Maker]]:
    """Losses of plugins.losses. again: also where they are imported already, so that a changed file counts."""
    if own.path("losses") is None and not again:
        return {}
    there = [plugin for plugin in plugins.loaded() if plugin.losses]
    found = plugins.load(own) if again or not there else there
    return {name: (plugin, function) for plugin in found for name, function in plugin.losses.items()}


def _found(params: Params) -> tuple[Plugin, Maker]:
    own = _own(params.plugins)
    if params.loss not in own:
        listed = [in_words(plugin, name) for name, (plugin, _) in own.items()]
        close = nearest(params.loss, (*LOSSES, *own))
        raise UserError(
            f"{paths.PARAMS}: loss: `{params.loss}` is not known{close}; valid: {', '.join((*LOSSES, *listed))}"
        )
    return own[params.loss]


def _options(plugin: Plugin, function: Maker, typed: dict[str, Any]) -> dict[str, Any]:
    """The options typed, checked against the signature, with the defaults of the others."""
    name, schema = function.__name__, _schema(plugin, function)
    of_losses = create_model("Losses", __base__=Group, **{name: (schema, ...)})  # type: ignore[call-overload]
    whole = create_model("Whole", __base__=Group, losses=(of_losses, ...))
    try:
        whole.model_validate({"losses": {name: typed}})
    except ValidationError as error:
        listed = ", ".join(schema.model_fields) or "none"
        raise UserError(f"{paths.PARAMS}: {one_line(error, whole)} (options of {name}: {listed})") from None
    return dict(schema.model_validate(typed))


def _schema(plugin: Plugin, function: Maker) -> type[Group]:
    """The options of a loss as a group of params.yaml."""
    with plugins.explained(plugin, function, f"loss `{function.__name__}`"):
        others = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    fields: dict[str, Any] = {}
    for one in others:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) or (one.default is one.empty and one.name != PASSED):
            raise _fault(plugin, function, function.__name__, f"its option `{one.name}` has no default; give it one")
        if one.name != PASSED:
            kind = type(one.default) if one.annotation is one.empty else one.annotation
            fields[one.name] = (TYPES.get(kind, kind), one.default)
    return create_model(function.__name__, __base__=Group, **fields)
