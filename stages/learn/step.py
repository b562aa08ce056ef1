"""One step of the optimizer on one batch, also where the batch does not fit the device's memory whole."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.errors import UserError
from stages.learn import optimizer
from stages.learn.learner import Learner
from stages.learn.loader import Batch
from stages.learn.objective import Objective
from stages.learn.predict import normalise


def step(learner: Learner, goal: Objective, batch: Batch, lr: float, seed: int) -> dict[str, Tensor]:
    """One step of the optimizer on one batch; the loss parts it had before the step.

    Where memory runs out: with train.auto_batch the batch is cut in two, again and again, and the gradients of its pieces
    are added up, in this step and all later ones; without it, UserError names the batch size that fits. Batch norm and
    losses that look at a whole batch (f1, weighted_ce) then see pieces.
    """
    optimizer.set_lr(learner.optimizer, lr)
    mixed = _mixed(learner, batch, seed)
    while True:
        try:
            parts = _gradients(learner, goal, mixed, learner.parts, seed)
            break
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
        _make_room(learner)
        if learner.parts >= len(mixed.photos):
            raise UserError("train: out of memory with a batch of one photo; take a smaller model or smaller photos")
        if not learner.params.train.auto_batch:
            raise UserError(_what_fits(learner, goal, mixed, seed))
        learner.parts *= 2
    if learner.params.optimizer.clip_grad:
        learner.accelerator.clip_grad_norm_(learner.model.parameters(), learner.params.optimizer.clip_grad)
    learner.optimizer.step()
    learner.updates += 1
    if learner.ema is not None:
        learner.ema.update(learner.model, step=learner.updates)
    return parts


def out_of_memory(error: BaseException) -> bool:
    """Whether torch could not get memory, on a GPU or on the CPU (which has no error class of its own)."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class Mixed:
    """A batch of n photos on the device, after mixup where that is on."""

    photos: Tensor  # float [n, 3, H, W], normalised
    labels: Tensor  # [n]
    ages: Tensor  # [n] years
    share: float  # of each photo itself; the rest is its partner's
    partner: Tensor | None  # [n] positions


def _gradients(learner: Learner, goal: Objective, batch: Mixed, pieces: int, seed: int) -> dict[str, Tensor]:
    """Gradients of the mean loss, added up over pieces of the batch; returns the loss parts."""
    torch.manual_seed(seed)  # dropout and stochastic depth
    learner.optimizer.zero_grad(set_to_none=True)
    total: dict[str, Tensor] = {}
    for which in np.array_split(np.arange(len(batch.photos)), pieces):
        weight = len(which) / len(batch.photos)
        places = slice(int(which[0]), int(which[-1]) + 1)
        with learner.accelerator.autocast():
            raw, age = learner.model(batch.photos[places])
        parts = goal(raw, batch.labels[places], age, batch.ages[places])
        if batch.partner is not None:
            partner = batch.partner[places]
            other = goal(raw, batch.labels[partner], age, batch.ages[partner])
            parts = {name: batch.share * part + (1 - batch.share) * other[name] for name, part in parts.items()}
        learner.accelerator.backward(torch.stack(list(parts.values())).sum() * weight)
        for name, part in parts.items():
            total[name] = total.get(name, 0) + part.detach() * weight
    return total


def _make_room(learner: Learner) -> None:
    learner.optimizer.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _what_fits(learner: Learner, goal: Objective, batch: Mixed, seed: int) -> str:
    """Try halves until one fits; the line that names it. No weight is changed."""
    size = len(batch.photos)
    while size > 1:
        size //= 2
        piece = Mixed(batch.photos[:size], batch.labels[:size], batch.ages[:size], 1.0, None)
        try:
            _gradients(learner, goal, piece, 1, seed)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            fits = False
        else:
            fits = True
        _make_room(learner)
        if fits:
            return (
                f"train: out of memory with train.batch_size: {learner.params.train.batch_size}; {size} fits: set it, or set "
                "train.auto_batch: true, which keeps the batch size and adds up the gradients of pieces"
            )
    return "train: out of memory with a batch of one photo; take a smaller model or smaller photos"


def _mixed(learner: Learner, batch: Batch, seed: int) -> Mixed:
    """The batch on the device, normalised; with mixup or CutMix mixed with its reverse.

    Positions go through timm's Mixup in place of labels, so that any loss can be mixed: row i of its soft target holds
    the share of photo i itself. It pairs photos two by two, so an odd last photo is left out.
    """
    device = learner.accelerator.device
    photos = normalise(batch.photos, learner.mean, learner.std)
    labels, ages = batch.labels.to(device), batch.ages.to(device)
    if learner.mixup is None:
        return Mixed(photos, labels, ages, 1.0, None)
    size = len(photos) // 2 * 2
    np.random.seed(seed % 2**32)  # timm draws from numpy's global generator
    mixer: Any = learner.mixup(
        mixup_alpha=learner.params.augment.mixup,
        cutmix_alpha=learner.params.augment.cutmix,
        label_smoothing=0.0,
        num_classes=size,
    )
    positions = torch.arange(size, device=device)
    mixed, soft = mixer(photos[:size].contiguous(memory_format=torch.channels_last), positions)
    return Mixed(mixed, labels[:size], ages[:size], float(soft[0, 0]), positions.flip(0))
