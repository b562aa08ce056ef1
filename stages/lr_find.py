"""lr-find: an exponential learning-rate range test on one fold's training side, and the learning rate that train uses.

Beside it, how many CPU threads each fold is trained with (stages/learn/cpu_threads.py): a rule, since rounding follows them.
"""

import math

import numpy as np
import pandas as pd
import torch

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import Talk
from stages.data.fold_data import open_fold
from stages.learn import cpu_threads, loader, lr_range_test, objective, predict
from stages.learn.learner import Learner, check, frozen_copy, restore, set_mode, start, uncompiled
from stages.learn.step import step
from stages.params.schema import Params
from stages.records import lr_json
from stages.report.png.result_figures import lr_curve


def run(params: Params, talk: Talk, fold: int = 0) -> None:
    """Write curve.csv (lr, loss, smoothed), suggestions.csv, curve.png and lr.json: lr, threads and device to train with, and
    the cores and params that they were settled for.

    The test runs also where `lr` is a number, so that a guess can be seen against the curve.
    """
    check(params)
    most = cpu_threads.most(params)
    torch.set_num_threads(most)
    data = open_fold(params, fold)
    # Its end: corrected weight decay (adamc, sgdc, ...) is lr^2 / peak, and the first, smallest rate as the peak would blow up.
    learner = start(uncompiled(params), data, fold, params.lr_find.end, predict.accelerator(params), talk)
    device = learner.accelerator.device.type
    lrs, losses = range_test(learner, talk)
    if len(lrs) < 3:
        raise UserError(f"lr-find: the loss diverged after {len(lrs)} steps; lower lr_find.start")
    smooth = lr_range_test.smoothed(losses, params.lr_find.smoothing)
    suggestions = lr_range_test.suggest(lrs, smooth)
    chosen = suggestions[params.lr_find.take] if params.lr == "auto" else float(params.lr)
    source = params.lr_find.take if params.lr == "auto" else "params.yaml"

    write_csv(paths.LR_CURVE, pd.DataFrame({"lr": lrs, "loss": losses, "smoothed": smooth}))
    marks = suggestions | {"chosen": chosen}
    heights = np.interp(np.log(list(marks.values())), np.log(lrs), smooth)
    write_csv(paths.LR_SUGGESTIONS, pd.DataFrame({"lr": marks.values(), "smoothed": heights, "name": marks.keys()}))
    lr_curve(paths.LR_PNG, lrs, losses, smooth, suggestions, chosen)
    found = lr_json.Settled(
        lr=chosen,
        source=source,
        threads=cpu_threads.choose(params, device, most),
        cores=most,
        device=device,
        measured_with=lr_json.measured_with(params),
    )
    write_json(paths.LR_CHOSEN, found.model_dump())
    listed = ", ".join(f"{name} {value:.2g}" for name, value in suggestions.items())
    talk.say(f"lr-find: {listed}; training uses {chosen:.3g} ({source})")
    if device == "cpu":
        talk.say(f"lr-find: CPU threads of the folds: {', '.join(map(str, found.threads.values()))} (cores: {most})")


def range_test(learner: Learner, talk: Talk) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates [n] and the loss [n] of each step while the learning rate rises; stops at divergence.

    The learner's weights and optimizer are as before when it returns.
    """
    params = learner.params
    options = params.lr_find
    before = frozen_copy(learner)
    goal = objective.make(params, learner.data.task, learner.data.class_counts)
    set_mode(learner, 0)
    lrs = np.geomspace(options.start, options.end, options.steps)
    losses: list[float] = []
    average, lowest = 0.0, math.inf
    try:
        for number, batch in zip(
            talk.track(range(options.steps), options.steps, "lr-find"), _endless(learner), strict=False
        ):
            parts = step(learner, goal, batch, float(lrs[number]), params.seed + number)
            loss = float(sum(parts.values()))
            if not math.isfinite(loss):
                break
            losses.append(loss)
            average = options.smoothing * average + (1 - options.smoothing) * loss
            smooth = average / (1 - options.smoothing ** len(losses))
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
