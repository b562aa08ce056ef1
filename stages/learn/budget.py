"""Time: how much of it a training may take, and how far the schedule must be by now to end in time.

The time that is left is shared evenly over the trainings that are left (folds x repeats), after taking off what comes
behind them: the submission's predictions, and the start-up of each process. Within a training the schedule's share of the
way follows the steps; where the clock is further on, it follows the clock, so that the learning rate has come down when
the time is up, whatever the speed turns out to be (a budgeted schedule, Li, Yumer & Ramanan 2020, arXiv:1905.04753, with
time in place of iterations).
"""

import datetime
import time
from dataclasses import dataclass

import psutil

from stages.errors import UserError
from stages.learn.checkpoint import Header
from stages.params import Params

PAUSE = 60.0  # seconds between two processes of one run beyond which somebody had interrupted it
MARGIN = 0.02  # of the time left
TAIL = 6.0  # seconds: oof-ensemble's bootstrap, reading and writing


@dataclass
class Clock:
    """The time of one training, in seconds of time.time()."""

    limit: str  # in words, as a checkpoint records it
    deadline: float  # of the whole run
    begins: float
    trainings: int  # that are left, this one included
    startup: float  # of a process, DVC's part included
    answers: int  # predictions that the submission takes: eval photos x views x trainings
    gone: float = 0.0  # share of the schedule that was gone at `begins`
    validation: float = 0.0  # seconds of a validation pass
    rate: float = 0.0  # photos a second in validation; 0: not known yet

    def seconds(self) -> float:
        """What this training may take from `begins`, its last validation included."""
        left = (self.deadline - self.begins) * (1 - MARGIN)
        tail = TAIL + 2 * self.startup + (self.answers / self.rate if self.rate else 0.0)
        return (left - tail - (self.trainings - 1) * self.startup) / self.trainings

    def share(self) -> float:
        """Share of the schedule that must be gone by now, 0..1."""
        span = self.seconds() - self.validation
        gone = 1.0 if span <= 0 else min(1.0, (time.time() - self.begins) / span)
        return self.gone + (1 - self.gone) * gone

    def validated(self, seconds: float, photos: int) -> None:
        """Take note of how long a validation pass took."""
        self.validation, self.rate = seconds, photos / seconds


def process_began() -> float:
    """When this process began, time.time()."""
    return float(psutil.Process().create_time())


def used(run: str, known: list[Header], began: float) -> float:
    """Seconds that the run had used at `began`: its newest checkpoint's, and the gap from there if that is short.

    A checkpoint written since `began`, by this process or one beside it, has a gap below 0.
    """
    own = [header for header in known if header.run == run]
    if not own:
        return 0.0
    gap = began - own[0].saved
    return max(0.0, own[0].used + (gap if gap < PAUSE else 0.0))


def deadline(
    params: Params, until: datetime.datetime | None, used_before: float, began: float
) -> tuple[str, float] | None:
    """The limit in words and its moment, time.time(); None where neither budget.minutes nor `until` sets one."""
    if until is not None:
        return f"until {until:%Y-%m-%d %H:%M}", until.timestamp()
    if params.budget.minutes:
        return f"{params.budget.minutes:g} minutes", began + params.budget.minutes * 60 - used_before
    return None


def parse_until(text: str, now: datetime.datetime) -> datetime.datetime:
    """`18:00` (the next time it is that late) or `2026-11-24 18:00`. Raises UserError."""
    try:
        moment = datetime.time.fromisoformat(text)
    except ValueError:
        try:
            chosen = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise UserError(f"--until {text}: is no time; write 18:00, or 2026-01-31 18:00") from None
        if chosen <= now:
            raise UserError(f"--until {text}: has passed; name a moment to come") from None
        return chosen
    chosen = datetime.datetime.combine(now.date(), moment)
    return chosen if chosen > now else chosen + datetime.timedelta(days=1)
