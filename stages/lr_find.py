"""lr-find: an exponential learning-rate range test on one fold's training side, and the learning rate that train uses.

Beside it, how many CPU threads each fold is trained with (stages/learn/cpu_threads.py): a rule, since rounding follows them.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import Talk
from stages.data.fold_data import open_fold
from stages.learn import cpu_threads, loader, lr_range_test, objective, optimizer, predict
from stages.learn.learner import Learner, check, frozen_copy, restore, set_mode, start
from stages.learn.lr_range_test import Reading
from stages.learn.step import step
from stages.params.schema import Params
from stages.records import lr_json

SMOOTHING = 0.9  # decay of the running mean of the loss that tells a divergence
# What the range test trains in place of the run's own: all weights, by cross entropy on the joint classes, photos drawn alike.
# So experiments that differ in these have the same rate: steps of AdamW and its kin do not follow the scale of a loss.
PLAIN: dict[str, dict[str, Any]] = {
    "model": {"head": "linear", "freeze_epochs": 0},
    "train": {"compile": False, "ema_decay": 0.0},  # neither is worth its time in so few steps
    "regression": {"weight": 0.0},
    "augment": {"mixup": 0.0, "cutmix": 0.0},
}


def run(params: Params, talk: Talk, fold: int = 0) -> None:
    """Write curve.csv (lr, loss, smoothed), suggestions.csv, curve.png and lr.json: lr, threads and device to train with, and
    the cores and params that they were settled for.

    The test runs also where `lr` is a number, so that a guess can be seen against the curve. It has the threads that the
    fold will train with. Raises UserError where `lr` is auto and the curve suggests no rate.
    """
    check(params)
    data = open_fold(params, fold)
    accelerator = predict.accelerator(params)
    most, device = cpu_threads.most(params), accelerator.device.type
    threads = cpu_threads.choose(params, device, most)
    # The peak is the test's end: corrected weight decay (adamc, sgdc, ...) is lr^2 / peak, and would blow up with a small one.
    with cpu_threads.taken(threads[fold]):
        learner = start(plain(params), data, fold, params.lr_find.end, accelerator, talk)
        lrs, losses = range_test(learner, talk)
    reading = lr_range_test.read(lrs, losses) if len(lrs) >= 3 else None
    chosen = _suggested(reading, lrs) if params.lr == "auto" else float(params.lr)
    _draw(lrs, losses, reading, chosen)
    found = lr_json.Settled(
        lr=chosen,
        source=lr_json.RANGE_TEST if params.lr == "auto" else paths.PARAMS.name,
        threads=threads,
        cores=most,
        device=device,
        measured_with=lr_json.measured_with(params),
    )
    write_json(paths.LR_CHOSEN, found.model_dump())
    talk.say(_in_words(params, reading, found))
    if params.lr == "auto" and optimizer.follows_loss(params.optimizer.name) and not _is_plain(params):
        talk.say(
            f"warning: lr-find: steps of {params.optimizer.name} follow the loss's scale, and the range test measures plain "
            "cross entropy (ce, joint targets); another loss may want a number in `lr`"
        )
    if device == "cpu":
        talk.say(f"lr-find: CPU threads of the folds: {', '.join(map(str, threads.values()))} (cores: {most})")


def plain(params: Params) -> Params:
    """The params that the range test trains with, whatever the run's own loss, sampler, targets and head."""
    groups = {name: getattr(params, name).model_copy(update=changes) for name, changes in PLAIN.items()}
    return params.model_copy(update={**groups, "targets": "joint", "loss": "ce", "sampler": "none"})


def _is_plain(params: Params) -> bool:
    return (params.loss, params.targets, params.regression.weight) == ("ce", "joint", 0)


def _suggested(reading: Reading | None, lrs: np.ndarray) -> float:
    """The rate of `lr: auto`. Raises UserError where the curve suggests none, or one that was not tried."""
    if reading is None:
        raise UserError(
            "lr-find: the training loss does not fall in the range test, so it suggests no learning rate; write a number in "
            "`lr` (AdamW's habit is 0.001), or lower lr_find.start, or raise lr_find.end"
        )
    if reading.suggestion > lrs[-1]:
        raise UserError(
            f"lr-find: the range test ended at {lrs[-1]:.2g}, below what it suggests ({reading.suggestion:.2g}); raise "
            "lr_find.end, or write a number in `lr`"
        )
    return reading.suggestion


def _in_words(params: Params, reading: Reading | None, found: lr_json.Settled) -> str:
    share = lr_json.share(params) if params.lr == "auto" else 1.0
    uses = (
        f"training uses {share * found.lr:.3g} ({found.source}{', a quarter of it for loss: f1' if share < 1 else ''})"
    )
    if reading is None:
        return f"lr-find: the loss does not fall in the range test; {uses}"
    fall = f"half of the loss's fall at {reading.middle:.2g}, times {reading.factor:.1f}: {reading.suggestion:.2g}"
    return f"lr-find: {fall}; {uses}"


def _draw(lrs: np.ndarray, losses: np.ndarray, reading: Reading | None, chosen: float) -> None:
    """curve.csv, suggestions.csv and curve.png."""
    from stages.report.png.result_figures import lr_curve  # matplotlib, not before the range test

    smooth = lr_range_test.smoothed(lrs, losses)
    marks = {} if reading is None else {"half the fall": reading.middle, "lowest": reading.lowest}
    named = marks | {"chosen": chosen}
    heights = np.interp(np.log(list(named.values())), np.log(lrs), smooth)
    write_csv(paths.LR_CURVE, pd.DataFrame({"lr": lrs, "loss": losses, "smoothed": smooth}))
    write_csv(paths.LR_SUGGESTIONS, pd.DataFrame({"lr": named.values(), "smoothed": heights, "name": named.keys()}))
    lr_curve(paths.LR_PNG, (lrs, losses, smooth), marks, reading.suggestion if reading else None, chosen)


def range_test(learner: Learner, talk: Talk) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates [n] and the loss [n] of each step while the learning rate rises; stops at divergence.

    The learner's weights and optimizer are as before when it returns.
    """
    params = learner.params
    options = params.lr_find
    before = frozen_copy(learner)
    goal = objective.make(params, learner.data.task, learner.data.class_counts)
    set_mode(learner, 0)
    steps = lr_range_test.number_of_steps(params, len(learner.data.train))
    lrs = np.geomspace(options.start, options.end, steps)
    losses: list[float] = []
    average, lowest = 0.0, math.inf
    try:
        for number, batch in zip(talk.track(range(steps), steps, "lr-find"), _endless(learner), strict=False):
            parts = step(learner, goal, batch, float(lrs[number]), params.seed + number)
            loss = float(sum(parts.values()))
            if not math.isfinite(loss):
                break
            losses.append(loss)
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            smooth = average / (1 - SMOOTHING ** len(losses))
            lowest = min(lowest, smooth)
            if smooth > options.diverge * lowest:
                break
    finally:
        restore(learner, before)
    return lrs[: len(losses)], np.array(losses)


def _endless(learner: Learner):  # type: ignore[no-untyped-def]
    """Training batches of epoch after epoch."""
    epoch = 0
    while True:
        order = loader.epoch_order(learner.params, learner.data, learner.fold, epoch)
        yield from loader.training(
            learner.params, learner.data, order, learner.augment, loader.Place(learner.fold, epoch)
        )
        epoch += 1
