"""How long the processor takes to give a GPU a training step: where that is longer than the step, the GPU waits."""

import statistics
import time

import rates

from stages.learn import objective
from stages.learn.learner import Learner, set_mode
from stages.learn.step import learn

STEPS = 300
# Captured steps given before the GPU is waited for. Once its queue is full (1,024 kernels) who gives waits on its processor's
# time, so kernel by kernel it is one.
AT_ONCE = 4


def milliseconds(learner: Learner, seconds: float) -> dict[str, float]:
    """CPU time of a step, medians of at most STEPS steps and about so many seconds: `thread`, of the one that trains, and
    `process`, of autograd's too, for which it waits.
    """
    goal = objective.make(learner.params, learner.data.task, learner.data.class_counts)
    batch = rates.resident(learner, learner.params.train.batch_size)
    number = 1 if learner.captured is None else AT_ONCE
    set_mode(learner, 0)
    found: list[tuple[float, float]] = []
    ends = time.monotonic() + seconds
    while len(found) < STEPS // number and (time.monotonic() < ends or len(found) < 2):
        rates.wait()
        thread, process = time.thread_time(), time.process_time()
        for seed in range(number):
            learn(learner, goal, batch, seed)
        found.append(((time.thread_time() - thread) / number, (time.process_time() - process) / number))
    rates.wait()
    means = [round(1000 * statistics.median(one), 3) for one in zip(*found[1:], strict=True)]
    return dict(zip(("thread", "process"), means, strict=True))
