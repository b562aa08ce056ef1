"""What a new project begins with: folds, image size, batch, epochs and model for the photos and the device that are there.

What was measured stands in docs/recipe.md; the rest are rules of thumb. A person changes them in params.yaml; `maskcli check`
says what they cost before anything is trained.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.new_project import machine
from stages.new_project.machine import Device

STEP = 16  # px; sizes are whole multiples
MARGIN = 0.02  # of the long side: what random crops move over, evaluation never sees
LEAST_SIDE = 32  # below it, networks of five halvings see one pixel
LONG_SIDE = {"gpu": 224, "cpu": 128, "slow": 96}  # px
MANY = 5_000  # photos, above which a CPU gets smaller ones
VIEWS = {"gpu": 400_000, "cpu": 60_000}  # photos that a fold sees in all its epochs, about
EPOCHS = {"gpu": (8, 40), "cpu": (5, 20)}
BATCHES = {"gpu": 64, "cpu": 32}
STEPS = 8  # at least, in an epoch
FOLDS = 5
# Pretrained ones from timm's hub; what learns from nothing is smaller.
PRETRAINED = {
    "gpu": ("efficientnet_b0", "timm/efficientnet_b0.ra_in1k"),
    "cpu": ("tf_efficientnet_lite0", "timm/tf_efficientnet_lite0.in1k"),
}
FROM_NOTHING = {"gpu": "resnet18", "cpu": "test_resnet"}
SIDES = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Seen:
    """What the choices go by: training photos, units of a split, class names, and sizes of photos, int [N, 2]: height, width."""

    photos: int
    units: int
    class_names: tuple[str, ...]
    sizes: np.ndarray


@dataclass(frozen=True)
class Choices:
    """Values by group of params.yaml, and by dotted key why."""

    values: dict[str, Any]
    reasons: dict[str, str]


def folds_of(units: int) -> int:
    """How many folds so many groups (photos) get."""
    return max(2, min(FOLDS, units))


def choose(seen: Seen, device: Device, model: str | None, can_have: Callable[[str], bool] | None) -> Choices:
    """model: a name of timm's, or None for one that fits the device. can_have: whether a hub's repository of published weights
    can be had; None: begin from nothing."""
    kind = "gpu" if device.gpu else "cpu"
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    height, width, reasons["image"] = image_size(seen, device)
    margin = max(2, round(max(height, width) * MARGIN))
    values["image"] = {"height": height, "width": width, "margin": margin}
    folds = folds_of(seen.units)
    values["folds"] = list(range(folds))
    values["model"], reasons["model"] = _model(kind, model, can_have)
    batch = batch_size(seen.photos * (folds - 1) // folds, BATCHES[kind])
    epochs = int(np.clip(round(VIEWS[kind] / max(1, seen.photos)), *EPOCHS[kind]))
    half = device.gpu and device.half
    values["train"] = {"epochs": epochs, "batch_size": batch, "mixed_precision": "bf16" if half else "none"}
    reasons["train"] = f"for {seen.photos:,} photos on {device}; `maskcli check` says how long that takes"
    values["decision"], reasons["decision"] = "adjusted", "used only where OOF predictions show that it helps macro F1"
    why = no_flip(seen.class_names)
    if why:
        values |= {"augment": {"hflip": 0.0}, "tta": {"views": ["identity"]}}
        reasons["augment"] = reasons["tta"] = why
    return Choices(values, reasons)


def image_size(seen: Seen, device: Device) -> tuple[int, int, str]:
    """Height and width, px, in the photos' own proportions and no larger than most of them; and why."""
    largest = LONG_SIDE["gpu" if device.gpu else "cpu" if seen.photos <= MANY else "slow"]
    if not len(seen.sizes):
        return largest, largest, f"on {device}"
    height, width = (float(value) for value in np.median(seen.sizes, axis=0))
    shapes = seen.sizes[:, 0] / seen.sizes[:, 1]
    alike = np.mean(np.abs(np.log(shapes / np.median(shapes))) < 0.15) >= 0.8
    shape = float(np.clip(np.median(shapes), 0.5, 2.0)) if alike else 1.0
    long = min(largest, _whole(max(height, width)))
    sides = (_whole(long * min(1.0, shape)), _whole(long / max(1.0, shape)))
    same = np.mean((seen.sizes == np.median(seen.sizes, axis=0)).all(axis=1)) > 0.5
    of = "most photos are" if same else "photos are, by the median of each side,"
    why = f"{of} {width:.0f}x{height:.0f} px (width x height)"
    return *sides, why + ("" if alike else ", of different proportions: all are drawn square") + f"; on {device}"


def _whole(side: float) -> int:
    return max(LEAST_SIDE, STEP * round(side / STEP))


def batch_size(photos: int, most: int) -> int:
    """A power of two from 8 to `most`, so that an epoch over so many photos has STEPS steps or more."""
    return min(most, max(8, 2 ** int(math.log2(max(8, photos // STEPS)))))


def _model(kind: str, model: str | None, can_have: Callable[[str], bool] | None) -> tuple[dict[str, Any], str]:
    """Values of the group model, and why."""
    name, repository = PRETRAINED[kind]
    if can_have is None:
        if model:
            machine.repository_of(model)  # which says so where timm has no such model
        return {"name": model or FROM_NOTHING[kind], "pretrained": False}, "begins from nothing, as asked"
    if can_have(machine.repository_of(model) if model else repository):
        why = "begins with weights that timm publishes, fetched once at the first training"
        return {"name": model or name, "pretrained": True, "dropout": 0.2}, why
    why = (
        "begins from nothing: published weights cannot be had here. With a file of them set name and weights; with a network "
        "pretrained: true"
    )
    return {"name": model or FROM_NOTHING[kind], "pretrained": False}, why


def no_flip(names: tuple[str, ...]) -> str:
    """Why photos must not be mirrored, by the names of the classes; empty where nothing speaks against it."""
    if any(SIDES.search(name) for name in names):
        return "not mirrored: a class is named left or right"
    if names and all(len(name) == 1 for name in names):
        return "not mirrored: the classes seem to be digits or letters"
    return ""
