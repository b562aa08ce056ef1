"""How many CPU threads train each fold: measured, because folds side by side on few threads each often beat one on many."""

import time

import torch

from stages import cores
from stages.learn import loader, objective
from stages.learn.learner import Learner, frozen_copy, restore, set_mode
from stages.learn.step import step

WARM_UP, TIMED = 2, 5  # steps
WORTH = 1.1  # fewer threads must train all folds so many times faster: a fold alone is soonest done with many


def choose(learner: Learner) -> tuple[dict[int, int], dict[int, float]]:
    """Threads of each fold, and the steps a second that each candidate would reach, all folds together.

    With t threads a fold, cores // t folds run at a time; the folds of a last, smaller round share the cores that it would
    leave idle; what ends soonest wins, reckoned from one fold's steps with nothing beside it. One step's loss may differ in
    its last digits from one number of threads to another, so the choice is made once, by lr-find, and the run keeps it. On a
    GPU there is nothing to choose. The learner is as before afterwards.
    """
    asked = learner.params.parallel.threads
    folds = learner.params.folds
    if asked != "auto":
        return dict.fromkeys(folds, asked), {}
    most = min(cores.available(), torch.get_num_threads())
    candidates = sorted({most // side_by_side for side_by_side in range(1, min(len(folds), most) + 1)}, reverse=True)
    if learner.accelerator.device.type != "cpu" or len(candidates) == 1:
        return dict.fromkeys(folds, most), {}
    before = frozen_copy(learner)
    try:
        alone = {threads: _steps_a_second(learner, threads) for threads in candidates}
    finally:
        restore(learner, before)
        torch.set_num_threads(most)
    plans = {threads: _plan(threads, len(folds), most, alone) for threads in candidates}
    rates = {threads: len(folds) / rounds for threads, (_, rounds) in plans.items()}
    chosen = most
    for threads in candidates[1:]:
        if rates[threads] > WORTH * rates[chosen]:
            chosen = threads
    return dict(zip(folds, plans[chosen][0], strict=True)), rates


def _plan(threads: int, folds: int, most: int, rates: dict[int, float]) -> tuple[list[int], float]:
    """Threads of each of the folds, trained `threads` each on `most` cores, and how long that takes: the sum over rounds of
    the seconds a step, from `rates`, the steps a second of one fold by its threads.
    """
    side_by_side = min(folds, most // threads)
    rounds, left = divmod(folds, side_by_side)
    if not left:
        return [threads] * folds, rounds / rates[threads]
    last = max((number for number in rates if number * left <= most), key=lambda number: rates[number])
    return [threads] * (folds - left) + [last] * left, rounds / rates[threads] + 1 / rates[last]


def _steps_a_second(learner: Learner, threads: int) -> float:
    """Of training on one batch again and again; the fastest of a few steps, which other programs disturb least."""
    torch.set_num_threads(threads)
    set_mode(learner, learner.params.model.freeze_epochs)  # the backbone too: most epochs train it
    goal = objective.make(learner.params, learner.data.class_counts)
    order = loader.epoch_order(learner.params, learner.data, learner.fold, 0)
    batch = next(loader.training(learner.params, learner.data, learner.fold, 0, order, learner.augment))
    seconds = []
    for number in range(WARM_UP + TIMED):
        began = time.perf_counter()
        step(learner, goal, batch, 0.0, number)
        seconds.append(time.perf_counter() - began)
    return 1 / min(seconds[WARM_UP:])
