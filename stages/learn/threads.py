"""How many CPU threads train a fold: measured, because folds side by side on few threads each often beat one on many."""

import math
import time

import torch

from stages import cores
from stages.learn import loader, objective
from stages.learn.learner import Learner, frozen_copy, restore, set_mode
from stages.learn.step import step

WARM_UP, TIMED = 2, 5  # steps
WORTH = 1.1  # fewer threads must train all folds so many times faster: a fold alone is soonest done with many


def choose(learner: Learner) -> tuple[int, dict[int, float]]:
    """Threads a fold, and the steps a second that each candidate would reach, all folds together.

    With t threads a fold, cores // t folds run at a time, and it takes folds / (cores // t) rounds, rounded up, to train
    all; what ends soonest wins. One step's loss may differ in its last digits from one number of threads to another, so the
    choice is made once, by lr-find, and all folds of the run keep it. On a GPU there is nothing to choose. The learner is
    as before afterwards.
    """
    asked = learner.params.parallel.threads
    if asked != "auto":
        return asked, {}
    most = min(cores.available(), torch.get_num_threads())
    folds = len(learner.params.folds)
    candidates = sorted({most // side_by_side for side_by_side in range(1, min(folds, most) + 1)}, reverse=True)
    if learner.accelerator.device.type != "cpu" or len(candidates) == 1:
        return most, {}
    before = frozen_copy(learner)
    try:
        rates = {
            threads: _steps_a_second(learner, threads) * folds / math.ceil(folds / min(folds, most // threads))
            for threads in candidates
        }
    finally:
        restore(learner, before)
        torch.set_num_threads(most)
    chosen = most
    for threads in candidates[1:]:
        if rates[threads] > WORTH * rates[chosen]:
            chosen = threads
    return chosen, rates


def _steps_a_second(learner: Learner, threads: int) -> float:
    """Of training on one batch again and again; the fastest of a few steps, which other programs disturb least."""
    torch.set_num_threads(threads)
    set_mode(learner, 0)
    goal = objective.make(learner.params, learner.data.class_counts)
    order = loader.epoch_order(learner.params, learner.data, learner.fold, 0)
    batch = next(loader.training(learner.params, learner.data, learner.fold, 0, order, learner.augment))
    seconds = []
    for number in range(WARM_UP + TIMED):
        began = time.perf_counter()
        step(learner, goal, batch, 0.0, number)
        seconds.append(time.perf_counter() - began)
    return 1 / min(seconds[WARM_UP:])
