"""What training minimises: the chosen loss on joint or factored targets, and where asked for a share of an axis's regression."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.base.errors import UserError
from stages.data.task_and_classes import Task
from stages.learn import losses, own_losses
from stages.params.schema import Params

# Raw model output, labels [N], regression output [N] or None, numbers [N] of the regressed axis in its own unit -> the parts
# of the objective, which sum to it.
Objective = Callable[[Tensor, Tensor, Tensor | None, Tensor], dict[str, Tensor]]
NAMED = 20  # classes in a warning
CLASS = "class"  # the part that the classes are learnt by; that of a regression has the axis's name


def check(params: Params, task: Task) -> None:
    """Raise UserError where params ask for what the task has not: several axes to factor into, a number to regress; and where a
    loss of one's own gives no number that can be learnt from.
    """
    if params.targets == "factored" and len(task.axes) < 2:
        raise UserError(
            f"params.yaml: targets: factored is one softmax an axis, and there is one axis ({task.axes[0].name}); set "
            "targets: joint"
        )
    own_losses.try_out(params, [task.classes] if params.targets == "joint" else task.sizes)
    if not params.regression.weight:
        return
    axis = task.regressed
    if axis is None:
        numeric = [one.name for one in task.axes if one.numeric]
        mend = (
            f"set axes.{numeric[0]}.regress: true, or regression.weight: 0" if numeric else "set regression.weight: 0"
        )
        what = "no axis has regress: true" if numeric else "no axis is a number cut into bins"
        raise UserError(f"params.yaml: regression.weight: `{params.regression.weight:g}`, but {what}; {mend}")
    if axis.name == CLASS:
        raise UserError(
            f"params.yaml: axes.{CLASS}: a regressed axis cannot have the name of the classes' own loss in history.csv; give it "
            "another (`column` may keep this one)"
        )


def make(params: Params, task: Task, class_counts: np.ndarray, progress: float = 0.0) -> Objective:
    """The objective for a training side that has `class_counts` [C] photos of each class of the task.

    joint: the loss over the C classes. factored: the sum of the loss over the axes, each with the counts of its own levels.
    `progress` is the share of epochs gone by; before the first, classes without a photo are warned of. Photos whose number is
    unknown (NaN) have no part in the regression's loss.
    """
    maker, options = own_losses.chosen(params)
    if not progress:
        _warn_of_absent(params, task, class_counts)

    def make_loss(counts: np.ndarray) -> losses.LossFunction:
        return losses.make(maker, counts, progress, **options)

    class_loss = make_loss(class_counts) if params.targets == "joint" else _factored(make_loss, task, class_counts)
    weight = params.regression.weight

    def objective(raw: Tensor, labels: Tensor, regression: Tensor | None, numbers: Tensor) -> dict[str, Tensor]:
        found = {CLASS: class_loss(raw.float(), labels)}
        if regression is not None:
            assert task.regressed is not None
            found[task.regressed.name] = weight * _regression_loss(regression.float(), numbers / task.regressed.scale)
        return found

    return objective


def _warn_of_absent(params: Params, task: Task, class_counts: np.ndarray) -> None:
    """Name what the loss has no photo of: classes, or levels of axes with factored targets."""
    what, absent = "classes", [task.class_names[number] for number in np.flatnonzero(class_counts == 0)]
    if params.targets == "factored":
        of_axes = zip(task.axes, _level_counts(task, class_counts), strict=True)
        named = [(axis, np.flatnonzero(counts == 0)) for axis, counts in of_axes]
        what, absent = "levels", [f"{axis.name} {axis.levels[number]}" for axis, none in named for number in none]
    if not absent:
        return
    more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
    warnings.warn(
        f"{what} without a training photo: {', '.join(absent[:NAMED])}{more}; the loss counts one for each",
        stacklevel=3,
    )


def _regression_loss(output: Tensor, numbers: Tensor) -> Tensor:
    """Smooth-L1 averaged over the photos whose number is known; 0 if none is. Masked, not indexed: a GPU need not wait."""
    known = torch.isfinite(numbers)
    target = torch.where(known, numbers, output.detach())  # an unknown one differs by 0 and has no gradient
    return F.smooth_l1_loss(output, target, reduction="sum") / known.sum().clamp(min=1)


def _factored(
    make_loss: Callable[[np.ndarray], losses.LossFunction], task: Task, counts: np.ndarray
) -> losses.LossFunction:
    axis_losses = [make_loss(of_axis) for of_axis in _level_counts(task, counts)]

    def loss(raw: Tensor, labels: Tensor) -> Tensor:
        targets = parts(labels, task.sizes)
        pieces = [
            part(raw[:, place], axis) for part, place, axis in zip(axis_losses, task.factors, targets, strict=True)
        ]
        return torch.stack(pieces).sum()

    return loss


def _level_counts(task: Task, counts: np.ndarray) -> list[np.ndarray]:
    """Photos of each axis's levels, from those of the classes [C]."""
    return [np.bincount(axis, weights=counts) for axis in task.parts(np.arange(task.classes))]


def parts(labels: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """The level of every axis, each as `labels` [...], from class numbers: as Task.parts, on any device."""
    found = []
    for size in reversed(sizes):
        found.append(labels % size)
        labels = labels // size
    return found[::-1]
