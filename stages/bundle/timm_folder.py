"""A network as a folder that timm reads too: config.json and model.safetensors as timm's save_for_hf writes them.

timm knows a backbone with one linear layer on top. What it cannot rebuild (an mlp head, LDAM's cosine classifier, a softmax an
axis, the regression) stands in head.safetensors; config.json then describes the backbone alone, with num_classes 0.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from stages.base.errors import UserError
from stages.learn import model, own_models, starting_weights
from stages.learn.model import Architecture, Classifier
from stages.learn.timm_import import load_timm
from stages.records import learnt_photos

WEIGHTS, HEAD = "model.safetensors", "head.safetensors"
ROUNDING = 1e-4  # largest difference of outputs, as a share of the largest, that sums in another order make
# Arguments of timm.create_model that would read other files, or fetch them.
READING = (
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "pretrained_strict",
    "cache_dir",
)

Whole = Literal["model", "backbone"]


def write(net: Classifier, folder: Path, licence: str | None) -> Whole:
    """Write a model as it was loaded; say whether timm reads all of it or its backbone. Raises OSError for a full disk."""
    timm, shape = load_timm(), net.architecture
    whole = as_timm(net)
    config: Any = net.backbone.pretrained_cfg
    seen = {"input_size": (3, shape.height, shape.width), "mean": config["mean"], "std": config["std"]}
    # The nearest of timm's transforms: the whole photo, whatever its shape, resized, and its centre taken.
    crop = {"crop_pct": shape.height / (shape.height + 2 * shape.margin), "crop_mode": "squash"}
    # Those of the weights that timm publishes under this name are not these weights'.
    named: dict[str, Any] = {"pretrained_cfg": {"tag": None, "license": licence}}
    if whole is not None:
        named["label_names"] = list(shape.task.class_names)
    try:
        timm.models.save_for_hf(
            net.backbone if whole is None else whole,
            folder,
            model_config=named,
            safe_serialization=True,
            data_config=seen | crop,
        )
        if net.learnt:  # timm writes no metadata; where a network is copied to, what it knows goes along
            told = json.dumps({"trained": {"learnt": learnt_photos.to_json(net.learnt)}})
            own = net.backbone if whole is None else whole
            safetensors.torch.save_file(own.state_dict(), folder / WEIGHTS, metadata={"architecture": told})
        rest = {key: value for key, value in net.state_dict().items() if _is_rest(key, whole is None)}
        if rest:
            safetensors.torch.save_file(rest, folder / HEAD)
    except safetensors.SafetensorError as error:  # what it makes of a full disk
        raise OSError(str(error)) from error
    return "backbone" if whole is None else "model"


def _is_rest(key: str, with_head: bool) -> bool:
    """Whether an array of a Classifier stands in head.safetensors."""
    return not key.startswith("backbone.") and (with_head or not key.startswith("head."))


@torch.no_grad()
def as_timm(net: Classifier) -> nn.Module | None:
    """The same model as timm builds it, with its own classifier; None where timm has none that gives the same outputs."""
    shape = net.architecture
    if shape.head != "linear" or shape.cosine or len(shape.factors) > 1:
        return None
    try:
        made = load_timm().create_model(shape.name, num_classes=shape.outputs, **shape.options).eval()
    except Exception as error:
        own_models.explain(shape.name, error)
        raise
    own_models.describe(shape.name, made)
    layer = classifier(net.backbone.state_dict(), made.state_dict())
    if layer is None:
        return None
    own = dict(net.backbone.state_dict()) | {f"{layer}.{key}": value for key, value in net.head.state_dict().items()}
    if {key: value.shape for key, value in own.items()} != {
        key: value.shape for key, value in made.state_dict().items()
    }:
        return None
    made.load_state_dict(own)
    size = (2, 3, shape.height, shape.width)
    photos = torch.randn(size, generator=torch.Generator().manual_seed(0))
    wanted, found = net(photos)[0], made(photos)
    alike = found.shape == wanted.shape and float((found - wanted).abs().max()) <= ROUNDING * float(wanted.abs().max())
    return made if alike else None


def classifier(backbone: Mapping[str, Any], whole: Mapping[str, Any]) -> str | None:
    """The one linear layer that a whole model has and its backbone has not; None where they differ by anything else."""
    more = sorted(set(whole) - set(backbone))
    layer = more[0].rpartition(".")[0] if more else ""
    return layer if more == [f"{layer}.bias", f"{layer}.weight"] else None


@dataclass(frozen=True)
class Folder:
    """What is read of a folder: how errors call it, and its files' bytes by their names."""

    name: str
    content: Callable[[str], bytes]


def read(folder: Folder, shape: Architecture, whole: Whole) -> Classifier:
    """The model of a folder, in eval mode.

    Raises UserError where the weights are of another architecture than `shape`, or its options name files of their own.
    """
    files = [key for key, _ in starting_weights.files_named(shape.options, "model.options")]
    reading = files + [f"model.options.{name}" for name in READING if name in shape.options]
    if reading:
        raise UserError(
            f"{folder.name}: {reading[0]}: would read other files than the bundle's; do not trust this bundle"
        )
    net = model.build(shape)
    weights = folder.content(WEIGHTS)
    state = _state(safetensors.torch.load(weights), net, whole)
    net.learnt = learnt_photos.of_file(io.BytesIO(weights))
    if any(_is_rest(key, whole == "backbone") for key in net.state_dict()):
        state |= safetensors.torch.load(folder.content(HEAD))
    _check(state, net, folder.name)
    net.load_state_dict(state)
    return net.eval()


def _state(arrays: Mapping[str, Tensor], net: Classifier, whole: Whole) -> dict[str, Tensor]:
    """Arrays by a Classifier's keys from those by timm's."""
    backbone = net.backbone.state_dict()
    layer = classifier(backbone, arrays) if whole == "model" else None
    renamed = {} if layer is None else {f"{layer}.weight": "head.weight", f"{layer}.bias": "head.bias"}
    return {renamed.get(key, f"backbone.{key}"): value for key, value in arrays.items()}


def _check(state: Mapping[str, Tensor], net: Classifier, where: str) -> None:
    """Raise UserError unless the arrays are those of the model."""
    wanted, found = ({key: tuple(value.shape) for key, value in some.items()} for some in (net.state_dict(), state))
    differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if differing:
        key = differing[0]
        there, asked = (f"{list(some[key])}" if key in some else "none" for some in (found, wanted))
        raise UserError(
            f"{where}/{WEIGHTS}: is of another architecture than maskcli.json names, {net.architecture.name}: {len(differing)} "
            f"arrays differ, first `{key}` ({there} instead of {asked}); take the bundle whole again"
        )
