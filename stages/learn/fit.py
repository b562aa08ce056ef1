"""The fit loop: train one fold epoch by epoch, validate after each, keep the selected one.

Everything random follows from (seed, fold, epoch, step), so training goes on from any step as if it had never stopped.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor

from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.learn import loader, lr_schedule, objective
from stages.learn.budget import Clock
from stages.learn.checkpoint import Keeper
from stages.learn.interrupt import Interrupt, no_interrupt
from stages.learn.learner import Learner, key, set_mode
from stages.learn.progress import Progress, note
from stages.learn.step import step
from stages.learn.validation import time_prediction, validate_once
from stages.params.schema import Params

CHECK_EVERY = 50  # steps between looks at the loss for NaN; each look makes a GPU wait


def fit(
    learner: Learner,
    lr: float,
    talk: Talk,
    on_epoch: Callable[[Progress], None],
    progress: Progress | None = None,
    keeper: Keeper | None = None,
    clock: Clock | None = None,
    interrupt: Interrupt = no_interrupt,
) -> Progress:
    """Train until train.epochs, until train.patience epochs brought nothing better, or until `clock` says it is time.

    `on_epoch` is called after each epoch. Training goes on from `progress`, to which the learner's state must belong.
    `keeper` writes a checkpoint after every epoch, every checkpoint.minutes within one, and before an interrupt is obeyed.
    """
    params = learner.params
    progress = progress or Progress()
    steps = _steps(learner)
    total, done = params.train.epochs * steps, len(progress.history) * steps + len(progress.seen)
    ticks = iter(talk.track(range(done, total), total, f"train fold {learner.fold}", done))

    if clock and not clock.rate:
        clock.predicted(*time_prediction(learner))
    while not _reached(progress, params):
        epoch = len(progress.history)
        gone = _epochs_gone(progress, params, 0, steps)
        goal = objective.make(params, learner.data.task, learner.data.class_counts, gone / params.train.epochs)
        began = time.perf_counter() - progress.epoch_seconds
        row, photos = _train_epoch(learner, goal, progress, lr, Around(ticks, began, keeper, clock, interrupt))
        trained = time.perf_counter()
        found = validate_once(learner, goal)
        if not (math.isfinite(found.val_nll) if len(learner.data.val) else _finite(learner)):
            what = "validation loss" if len(learner.data.val) else "weights' size"
            raise _not_finite(what, epoch, len(progress.seen) - 1, row["lr"], keeper)
        learner.plateau.step(found.val_nll)
        validated = time.perf_counter()
        row |= {
            "val_loss": found.val_loss,
            "val_nll": found.val_nll,
            "val_f1": found.val_f1,
            "val_acc": found.val_acc,
            "seconds": validated - began,
            "photos_per_second": len(photos) / (trained - began),
        }
        row |= found.errors
        if learner.parts > 1:  # memory, not params, cut the batches, and that changes what batch norm sees
            row["pieces"] = learner.parts
            if not progress.history or progress.history[-1].get("pieces") != learner.parts:
                talk.say(
                    f"fold {learner.fold}: memory ran out: batches are cut into {learner.parts} pieces (auto_batch)"
                )
        drawn = np.bincount(learner.data.train_labels[photos], minlength=learner.data.task.classes)
        row |= {f"drawn_{number}": int(count) for number, count in enumerate(drawn)}
        note(progress, params.train.select, row, found.logits, learner.validated.state_dict())
        if clock:
            clock.predicted(len(learner.data.val), validated - trained)
            _hurry(progress, clock, learner)
        if keeper and clock:
            keeper.rate = clock.rate
        progress.finished = _reached(progress, params)
        if keeper:  # before anything is told of the epoch: what tells may fail
            keeper.save(learner, progress)
        on_epoch(progress)
        if interrupt() and not progress.finished:
            raise _interrupted(learner, progress, keeper)
    if 0 < params.train.patience <= progress.stale_epochs:
        talk.say(
            f"fold {learner.fold}: stopped after epoch {len(progress.history)}: "
            f"{params.train.patience} epochs brought nothing better"
        )
    for _ in ticks:
        pass
    return progress


@dataclass(frozen=True)
class Around:
    """What goes on around the steps of an epoch, which began at `began` (time.perf_counter)."""

    ticks: Iterator[int]
    began: float
    keeper: Keeper | None
    clock: Clock | None
    interrupt: Interrupt


def _train_epoch(
    learner: Learner, goal: objective.Objective, progress: Progress, lr: float, around: Around
) -> tuple[dict[str, float], np.ndarray]:
    """Train the rest of the running epoch; its row of history, and the positions of the photos it drew.

    The row: epoch (from 1), train_loss, its parts, lr of the last step. Ends early where the clock says so.
    """
    params, epoch, seen = learner.params, len(progress.history), progress.seen
    order = loader.epoch_order(params, learner.data, learner.fold, epoch)
    process = (learner.accelerator.process_index, learner.accelerator.num_processes)
    drawn = loader.training_split(order, params, process[1])
    peak = lr * learner.plateau.optimizer.param_groups[0]["lr"]

    set_mode(learner, int(_epochs_gone(progress, params, len(seen), len(drawn))))

    def lr_at(step: int) -> float:
        gone = _epochs_gone(progress, params, step, len(drawn))
        share = lr_schedule.share(params.schedule, gone, params.train.epochs)
        return (
            peak
            * share
            * (lr_schedule.cooldown(params.schedule, gone / params.train.epochs) if progress.limit else 1.0)
        )

    now = lr_at(max(0, len(seen) - 1))
    place = loader.Place(learner.fold, epoch, len(seen), process)
    batches = loader.training(params, learner.data, order, learner.augment, place)
    for batch in batches:
        now = lr_at(len(seen))
        seen.append(step(learner, goal, batch, now, key(params, learner.fold, epoch + 1, len(seen))))
        next(around.ticks, None)
        _look_up(learner, progress, now, around)
        if progress.share >= 1:
            break
    _check_finite(progress, now, around.keeper)
    sizes = [len(range(process[0], len(which), process[1])) for which in drawn[: len(seen)]]
    weights = np.array(sizes) / sum(sizes)
    means = {name: _mean(learner, torch.stack([parts[name] for parts in seen]), weights) for name in seen[0]}
    row: dict[str, float] = {"epoch": epoch + 1, "train_loss": sum(means.values())}
    if len(means) > 1:
        row |= {f"train_{name}_loss": value for name, value in means.items()}
    return row | {"lr": now}, np.concatenate(drawn[: len(seen)])


def _look_up(learner: Learner, progress: Progress, lr: float, around: Around) -> None:
    """After a step: look at the clock, at the loss now and then, write a checkpoint where one is due, obey an interrupt."""
    if around.clock:
        _hurry(progress, around.clock, learner)
    asked = around.interrupt()
    due = around.keeper is not None and around.keeper.due()
    if asked or due or len(progress.seen) % CHECK_EVERY == 1:
        _check_finite(progress, lr, around.keeper)
    if around.keeper and (asked or due):
        progress.epoch_seconds = time.perf_counter() - around.began
        around.keeper.save(learner, progress)
    if asked:
        raise _interrupted(learner, progress, around.keeper)


def _interrupted(learner: Learner, progress: Progress, keeper: Keeper | None) -> KeyboardInterrupt:
    """What ends training once its checkpoint is written: the first of several processes to end would end them all."""
    learner.accelerator.wait_for_everyone()
    return keeper.interrupted(progress) if keeper else KeyboardInterrupt()


def _reached(progress: Progress, params: Params) -> bool:
    """Whether an epoch that has just ended was the last."""
    impatient = 0 < params.train.patience <= progress.stale_epochs
    return len(progress.history) >= params.train.epochs or impatient or progress.share >= 1


def _steps(learner: Learner) -> int:
    """Of an epoch."""
    return len(loader.training_split(learner.data.train, learner.params, learner.accelerator.num_processes))


def _epochs_gone(progress: Progress, params: Params, step: int, steps: int) -> float:
    """How far the schedule is before a step, in epochs: by steps, or by time where a limit made that be further on."""
    by_steps = len(progress.history) + step / steps
    return max(by_steps, progress.share * params.train.epochs) if progress.limit else by_steps


def _hurry(progress: Progress, clock: Clock, learner: Learner) -> None:
    """Let the schedule follow the clock from when steps alone would not reach its end in time."""
    steps = _steps(learner)
    by_steps = (len(progress.history) + len(progress.seen) / steps) / learner.params.train.epochs
    # One clock for all processes.
    slow, by_time = broadcast_object_list([bool(progress.limit) or clock.too_slow(by_steps), clock.share()])
    if slow and by_time > by_steps:
        progress.limit = clock.limit
        progress.share = max(progress.share, by_time)


def _mean(learner: Learner, values: Tensor, weights: np.ndarray) -> float:
    """Weighted mean of one loss part over an epoch's steps, and over processes where there are several."""
    mean = torch.tensor(values.cpu().double().numpy() @ weights, device=learner.accelerator.device)
    return float(learner.accelerator.reduce(mean, "mean"))


def _check_finite(progress: Progress, lr: float, keeper: Keeper | None) -> None:
    """Raise UserError naming the first step of the last CHECK_EVERY whose loss is NaN or infinite."""
    seen = progress.seen[-CHECK_EVERY:]
    for name in seen[0]:
        bad = (~torch.isfinite(torch.stack([parts[name] for parts in seen]))).nonzero()
        if len(bad):
            number = len(progress.seen) - len(seen) + int(bad[0])
            raise _not_finite(f"{name} loss", len(progress.history), number, lr, keeper)


def _finite(learner: Learner) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in learner.validated.parameters())


def _not_finite(what: str, epoch: int, number: int, lr: float, keeper: Keeper | None) -> UserError:
    kept = f"; epoch {keeper.kept} is kept in {keeper.path} for `maskcli submit-now`" if keeper and keeper.kept else ""
    return UserError(
        f"train: the {what} is NaN or infinite at epoch {epoch + 1}, step {number + 1}, learning rate {lr:.3g}; "
        f"lower lr, set optimizer.clip_grad: 1, or train.mixed_precision: none{kept}"
    )
