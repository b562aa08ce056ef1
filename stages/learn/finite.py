"""Losses and weights that are NaN or infinite: training ends with a line that names the step and what to change."""

import math
from collections.abc import Callable

import torch

from stages.base.errors import UserError
from stages.learn.learner import Learner
from stages.learn.progress import Progress


def check_losses(progress: Progress, last: int, lr: float, kept: Callable[[], str]) -> None:
    """Raise UserError naming the first of the `last` steps whose loss is not finite; what `kept` gives ends its line."""
    seen = progress.seen[-last:]
    for name in seen[0]:
        bad = (~torch.isfinite(torch.stack([parts[name] for parts in seen]))).nonzero()
        if len(bad):
            raise _not_finite(f"{name} loss", progress, len(progress.seen) - len(seen) + int(bad[0]), lr, kept)


def check_validation(learner: Learner, progress: Progress, val_nll: float, lr: float, kept: Callable[[], str]) -> None:
    """Raise UserError where an epoch's validation is not finite; without a validation side, where its weights are not."""
    validates = len(learner.data.val) > 0
    if not (math.isfinite(val_nll) if validates else _weights_are(learner)):
        what = "validation loss" if validates else "weights' size"
        raise _not_finite(what, progress, len(progress.seen) - 1, lr, kept)


def _weights_are(learner: Learner) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in learner.validated.parameters())


def _not_finite(what: str, progress: Progress, step: int, lr: float, kept: Callable[[], str]) -> UserError:
    return UserError(
        f"train: the {what} is NaN or infinite at epoch {len(progress.history) + 1}, step {step + 1}, learning rate {lr:.3g}; "
        f"lower lr, set optimizer.clip_grad: 1, or train.mixed_precision: none{kept()}"
    )
