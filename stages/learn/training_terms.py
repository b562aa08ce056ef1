"""What is asked of a process that trains, beside what is learnt. Without torch: it is written where processes are started."""

import datetime
from dataclasses import dataclass

from stages.learn.interrupt import Interrupt, no_interrupt


@dataclass(frozen=True)
class Terms:
    """As a person asks for a training, unless the process is one of several."""

    fresh: bool = False  # begin anew where there is a checkpoint
    until: datetime.datetime | None = (
        None  # all folds are done by then, as with budget.minutes; the schedule is shortened
    )
    outputs: bool = True  # False: a finished checkpoint is left, and nothing else
    jobs: int = 1  # folds trained side by side, which share the time
    repeat: int | None = None  # of train.repeats, only this one, into its checkpoint; None: all
    rounds: int | None = (
        None  # trainings in turn that are left where it runs, this one included; None: by the checkpoints
    )
    used: float | None = None  # seconds that its run has used before it under budget.minutes; None: by the checkpoints
    later: int = 0  # processes that will start after them, to write what checkpoints hold
    imported: float = 0.0  # seconds of imports before this process was forked
    taken_up: float | None = (
        None  # time.monotonic() when a process that does several in turn took it up; None: it has a process of its own
    )
    stop: Interrupt = no_interrupt  # asked at every step, as Ctrl-C is


BY_ITSELF = Terms()
