"""What training minimises: the chosen loss on joint or factored targets, and where asked for a share of age regression."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.data.layout import CLASSES, parts
from stages.judge.metrics import FACTORS
from stages.learn import losses
from stages.params.schema import Params

# Raw model output, labels [N], age output [N] or None, ages [N] in years -> the parts of the objective, which sum to it.
Objective = Callable[[Tensor, Tensor, Tensor | None, Tensor], dict[str, Tensor]]


def make(params: Params, class_counts: np.ndarray, progress: float = 0.0) -> Objective:
    """The objective for a fold whose training side has `class_counts` [18] photos per class.

    joint: the loss over 18 classes. factored: the sum of the loss over mask, gender and age bin, each with the counts of
    its own axis. `progress` is the share of epochs gone by. Photos of unknown age (NaN) have no part in the age loss.
    """
    options = getattr(params.losses, params.loss).model_dump()
    classify = _joint if params.targets == "joint" else _factored
    class_loss = classify(lambda counts: losses.make(params.loss, counts, progress, **options), class_counts)
    weight = params.regression.weight

    def objective(raw: Tensor, labels: Tensor, age_output: Tensor | None, ages: Tensor) -> dict[str, Tensor]:
        found = {"class": class_loss(raw.float(), labels)}
        if age_output is not None:
            found["age"] = weight * _age_loss(age_output.float(), ages / 10)
        return found

    return objective


def _age_loss(output: Tensor, ages: Tensor) -> Tensor:
    """Smooth-L1 averaged over the photos whose age is known; 0 if none is. Masked, not indexed: a GPU need not wait."""
    known = torch.isfinite(ages)
    target = torch.where(known, ages, output.detach())  # an unknown age differs by 0 and has no gradient
    return F.smooth_l1_loss(output, target, reduction="sum") / known.sum().clamp(min=1)


def _joint(make_loss: Callable[[np.ndarray], losses.LossFunction], counts: np.ndarray) -> losses.LossFunction:
    return make_loss(counts)


def _factored(make_loss: Callable[[np.ndarray], losses.LossFunction], counts: np.ndarray) -> losses.LossFunction:
    axes = parts(np.arange(CLASSES))
    axis_losses = [make_loss(np.bincount(axis, weights=counts)) for axis in axes]

    def loss(raw: Tensor, labels: Tensor) -> Tensor:
        targets = (labels // 6, labels // 3 % 2, labels % 3)
        pieces = [part(raw[:, place], axis) for part, place, axis in zip(axis_losses, FACTORS, targets, strict=True)]
        return torch.stack(pieces).sum()

    return loss
