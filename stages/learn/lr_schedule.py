"""The learning rate as a share of its peak, a pure function of the time gone by, in epochs."""

import math

from stages.params.model_and_training import Schedule
from stages.params.schema import Params

COOLDOWN = 0.2  # share of training that a shortened constant or plateau schedule spends falling
ONECYCLE_RISE = 0.25  # share of training that one-cycle spends rising (fastai's default)
ONECYCLE_START = 1 / 25  # its first share of the peak (fastai's and PyTorch's default)
ROUNDING = 1e-9  # epochs: 0.7 of 10 is not quite 7
FIRST = 1e-3  # least share of a linear warm-up: its first step would learn nothing at 0


def share(schedule: Schedule, epoch: float, epochs: float) -> float:
    """Share of the peak learning rate at time `epoch` (0..epochs, fractional within an epoch).

    constant: 1. cosine: half a cosine from 1 to min_share (Loshchilov & Hutter 2017, arXiv:1608.03983). onecycle: up and
    down again by cosines (Smith & Topin 2018, arXiv:1708.07120). plateau: 1 here; ReduceLROnPlateau's factor comes on top.
    step: 1, times factor at each of the shares `steps` of the training that is reached (He et al. 2016, arXiv:1512.03385).
    All but onecycle begin with a linear warm-up of warmup_epochs.
    """
    if schedule.name == "onecycle":
        rise = ONECYCLE_RISE * epochs
        if epoch < rise:
            return _cosine(ONECYCLE_START, 1.0, epoch / rise)
        return _cosine(1.0, schedule.min_share, (epoch - rise) / (epochs - rise))
    warmup = min(schedule.warmup_epochs, epochs)
    if epoch < warmup:
        return max(epoch / warmup, FIRST)
    if schedule.name == "cosine" and epochs > warmup:
        return _cosine(1.0, schedule.min_share, (epoch - warmup) / (epochs - warmup))
    if schedule.name == "step":
        reached = sum(epoch >= step * epochs - ROUNDING for step in schedule.steps)
        return float(schedule.factor**reached)
    return 1.0


def backbone_share(params: Params, epoch: float) -> float:
    """The backbone's learning rate at time `epoch` as a share of the head's: 0 while it is frozen, then a linear warm-up of
    its own, over warmup_epochs but no more than half of the epochs that are left; 1 where nothing is frozen.

    The head goes on by the schedule. At once at the full rate, gradients of a head that has only begun to learn would pull
    pretrained features about (Kumar et al. 2022, arXiv:2202.10054), and the optimizer's averages of them begin from nothing.
    """
    frozen = params.model.freeze_epochs
    if not frozen:
        return 1.0
    since = epoch - frozen
    warmup = min(params.schedule.warmup_epochs, (params.train.epochs - frozen) / 2)
    if since < 0:
        return 0.0
    return max(since / warmup, FIRST) if since < warmup else 1.0


def cooldown(schedule: Schedule, share: float) -> float:
    """A factor that brings the schedules which never fall by themselves down to 0 in their last fifth; 1 for the others.

    Only for trainings that a time limit shortened: the last steps of a high learning rate are its worst.
    """
    if schedule.name not in ("constant", "plateau"):
        return 1.0
    return min(1.0, max(0.0, 1 - share) / COOLDOWN)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, done))) / 2
