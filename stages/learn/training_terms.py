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
    later: int = 0  # processes that will start after them, to write what checkpoints hold
    imported: float = 0.0  # seconds of imports before this process was forked
    stop: Interrupt = no_interrupt  # asked at every step, as Ctrl-C is


BY_ITSELF = Terms()
