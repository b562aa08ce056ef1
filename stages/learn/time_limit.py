"""Time: how much of it a training may take, and how far the schedule must be by now to end in time.

The time that is left is shared evenly over the trainings that are left (folds x repeats), after taking off what comes
behind them: the submission's predictions, and the start-up of each process. Within a training the schedule's share of the
way follows the steps; where these would not be done in time, it follows the clock, so that the learning rate has come down
when the time is up, whatever the speed turns out to be (a budgeted schedule, Li, Yumer & Ramanan 2020, arXiv:1905.04753,
with time in place of iterations).
"""

import datetime
import math
import re
import time
from dataclasses import dataclass

import psutil

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv
from stages.data.fold_data import FoldData
from stages.learn.checkpoint import Header, Keeper
from stages.learn.short_training import inner_cost
from stages.learn.training_terms import Terms
from stages.params.schema import Params

PAUSE = 60.0  # seconds between two processes of one run beyond which somebody had interrupted it, at least
GAP = 3.0  # seconds between two stages, DVC's work, until one has been seen
MARGIN = 0.02  # of the time left
TAIL = 6.0  # seconds of oof-ensemble and tta-predict besides their predictions
TAIL_A_PHOTO = 0.001  # more of them for each training photo: the decision rule and the bootstrap
LOOK_AFTER = 0.05  # of a training's time: before that, speed is not judged
JUST_PASSED = datetime.timedelta(hours=6)


@dataclass
class Clock:
    """The time of one training, in seconds of time.monotonic(): a clock that is set meanwhile changes none of it, but for a
    deadline that a person has named by that clock.
    """

    limit: str  # in words, as a checkpoint records it
    deadline: float  # of the whole run
    begins: float
    trainings: float  # that are left, this one included, in the time that this one takes
    processes: int  # that are still to start for them
    startup: float  # of a process, DVC's part included
    photos: int  # training photos
    answers: int  # predictions that the submission takes: eval photos x views x trainings
    validated_photos: int  # of this training's validation side
    gone: float = 0.0  # share of the schedule that was gone at `begins`
    rate: float = 0.0  # photos a second in prediction; 0: not known yet
    first: tuple[float, float] | None = None  # moment and share after the first step
    until: float | None = None  # time.time() of the deadline, where it was named as a time of day

    def seconds(self) -> float:
        """What this training may take from `begins`, its last validation included."""
        ends = self.deadline if self.until is None else time.monotonic() + self.until - time.time()
        left = (ends - self.begins) * (1 - MARGIN)
        tail = TAIL + TAIL_A_PHOTO * self.photos + 2 * self.startup + (self.answers / self.rate if self.rate else 0.0)
        return (left - tail - self.processes * self.startup) / self.trainings

    def share(self) -> float:
        """Share of the schedule that must be gone by now, 0..1."""
        span = self._span()
        gone = 1.0 if span <= 0 else min(1.0, (time.monotonic() - self.begins) / span)
        return self.gone + (1 - self.gone) * gone

    def too_slow(self, by_steps: float) -> bool:
        """Whether training at the speed so far would not be done in time; `by_steps` is the share gone after a step.

        The first step, which warms up, does not count, and neither does the time before it.
        """
        now, span = time.monotonic(), self._span()
        if self.first is None:
            self.first = now, by_steps
            return span <= 0
        since, steps = now - self.first[0], by_steps - self.first[1]
        if now - self.begins < LOOK_AFTER * span:
            return False
        return steps <= 0 or (1 - by_steps) * since / steps > self.begins + span - now

    def predicted(self, photos: int, seconds: float) -> None:
        """Take note of how long the prediction of so many photos took."""
        if photos:
            self.rate = photos / seconds

    def _span(self) -> float:
        """Seconds from `begins` to the last step."""
        return self.seconds() - (self.validated_photos / self.rate if self.rate else 0.0)


@dataclass(frozen=True)
class Timing:
    """What the time of a process's trainings is reckoned from."""

    terms: Terms
    began: float  # time.monotonic() of the process
    startup: float  # seconds from there to the first step, imports before it was forked included
    together: bool  # no fold has a process to start, with all that is imported

    def keeper(self, params: Params, run: str, fold: int, repeat: int, known: list[Header]) -> Keeper:
        """Of a training's checkpoint, which records the time that its run has used; `known`: all checkpoints there are."""
        limit = asked(params, self.terms.until)
        return Keeper(
            run,
            fold,
            repeat,
            params.train.epochs,
            params.checkpoint.minutes * 60,
            asked=limit,
            used=self._used(run, limit, known, pause(params)),
            began=self.began,
            rate=next((header.rate for header in known if header.run == run and header.rate), 0.0),
        )

    def _used(self, run: str, limit: str, known: list[Header], pause: float) -> float:
        if self.terms.used is not None:
            return self.terms.used
        return 0.0 if self.terms.fresh else used(run, limit, known, self.began, pause)

    def clock(
        self, params: Params, keeper: Keeper, data: FoldData, known: list[Header], inner: int = 0
    ) -> Clock | None:
        """The time that the keeper's training may take: what is left, shared over the trainings that are left.

        inner: models that say which labels are wrong (inner_models.py) that are still to be trained before it; those of folds
        that have not begun count too. None where there is no limit.
        """
        if not keeper.asked:
            return None
        own = [header for header in known if header.run == keeper.run]
        finished = {
            (header.fold, header.repeat)
            for header in own
            if header.finished and (not self.terms.fresh or header.tick > self.began)
        }
        everything = {(fold, repeat) for fold in params.folds for repeat in range(params.train.repeats)}
        left = (everything - finished) | {(keeper.fold, keeper.repeat)}
        begun = {header.fold for header in own if not self.terms.fresh or header.tick > self.began}
        waiting = len({fold for fold, _ in left if fold != keeper.fold} - begun)
        turns = self.terms.rounds or math.ceil((waiting + 1) / self.terms.jobs)
        inner += params.label_noise.folds * (turns - 1)
        gap = self.began - own[0].tick if own else GAP
        return Clock(
            limit=keeper.asked,
            deadline=self.began + params.budget.minutes * 60 - keeper.used,
            begins=time.monotonic(),
            trainings=self._in_turn(params, keeper.fold, left) + inner * inner_cost(params),
            processes=self.terms.later if self.together else len({fold for fold, _ in left}) - 1,
            startup=self.startup + (gap if 0 < gap < PAUSE else 0.0),
            photos=len(data.labels),
            answers=len(read_csv(paths.EVAL, "prepare")) * len(params.tta.views) * len(everything),
            validated_photos=len(data.val),
            rate=keeper.rate,
            until=self.terms.until.timestamp() if self.terms.until else None,
        )

    def _in_turn(self, params: Params, fold: int, left: set[tuple[int, int]]) -> int:
        """Trainings that come one after the other in the time that is left, of those (fold, repeat) that are left."""
        if self.terms.rounds is None:
            return math.ceil(len(left) / self.terms.jobs)
        if self.terms.repeat is not None:
            return self.terms.rounds
        return sum(one == fold for one, _ in left) + (self.terms.rounds - 1) * params.train.repeats


def process_began() -> float:
    """When this process began, time.monotonic()."""
    return time.monotonic() - max(0.0, time.time() - float(psutil.Process().create_time()))


def used(run: str, asked: str, known: list[Header], began: float, pause: float) -> float:
    """Seconds that the run had used at `began` (time.monotonic()) under the limit `asked`: its newest checkpoint's, and the gap
    if short. `known`: as checkpoint.headers gives them.

    The gap holds DVC's work between two stages, and after a crash what was trained since the checkpoint; one of over
    `pause` seconds was an interruption, which does not count. A checkpoint written since `began`, by this process or one
    beside it, has a gap below 0.
    """
    own = [header for header in known if header.run == run and header.asked == asked]
    if not own:
        return 0.0
    gap = began - own[0].tick
    return max(0.0, own[0].used + (gap if gap < pause else 0.0))


def pause(params: Params) -> float:
    """Seconds without a checkpoint beyond which nobody was training."""
    return max(PAUSE, params.checkpoint.minutes * 60 + 30)


def asked(params: Params, until: datetime.datetime | None) -> str:
    """The time limit in words, as checkpoints record it; empty where neither budget.minutes nor `until` sets one."""
    if until is not None:
        return f"until {until:%Y-%m-%d %H:%M}"
    return f"{params.budget.minutes:g} minutes" if params.budget.minutes else ""


def in_words(until: datetime.datetime, now: datetime.datetime) -> str:
    """The moment with its date and zone, and the time left until then."""
    minutes = math.ceil((until - now).total_seconds() / 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    left = [f"{days} d"] * (days > 0) + [f"{hours} h"] * (days + hours > 0) + [f"{minutes % 60} min"]
    return f"until {until:%a %Y-%m-%d %H:%M} {_zone(until)}: {' '.join(left)} from now"


def _zone(moment: datetime.datetime) -> str:
    """As KST (UTC+09:00)."""
    offset = f"UTC{moment.isoformat()[-6:]}"
    name = moment.tzname() or ""
    return offset if name.startswith(("UTC+", "UTC-", "+", "-")) or not name else f"{name} ({offset})"


def parse_until(text: str, now: datetime.datetime) -> datetime.datetime:
    """`18:00` (today, or tomorrow where that is long gone) or `2026-11-24 18:00`, of this machine's zone unless it names
    another (`18:00+09:00`); the result and `now` are of this machine's. Raises UserError.

    A time that has just passed is refused: the same command, given once more after a crash, must not mean tomorrow.
    """
    text = re.sub(r"(^| )(\d:)", r"\g<1>0\2", text)  # people write 3:00
    try:
        moment = datetime.time.fromisoformat(text)
    except ValueError:
        try:
            chosen = _here(datetime.datetime.fromisoformat(text), text)
        except (ValueError, OverflowError, OSError):  # the last two: years that this machine's clock does not know
            raise UserError(f"--until {text}: is no time; write 18:00, 18:00+09:00, or 2026-01-31 18:00") from None
        if chosen <= now:
            raise UserError(
                f"--until {text}: has passed ({_said(chosen)}; it is {_said(now)}); name a moment to come"
            ) from None
        return chosen
    today = now.astimezone(moment.tzinfo).date()  # there
    days = [datetime.datetime.combine(today + datetime.timedelta(days=number), moment) for number in (-1, 0, 1)]
    coming = _here(next(day for day in days if day.astimezone() > now), text)
    if now - max(day.astimezone() for day in days if day.astimezone() <= now) < JUST_PASSED:
        raise UserError(f"--until {text}: has passed; write the date too, as {coming:%Y-%m-%d %H:%M}")
    return coming


def _here(moment: datetime.datetime, text: str) -> datetime.datetime:
    """The same moment by this machine's clock; of a time that it shows twice, the first. Raises UserError for one that it
    leaves out.
    """
    chosen = moment.astimezone()
    if moment.tzinfo is None and chosen.replace(tzinfo=None) != moment:
        raise UserError(f"--until {text}: the clocks leave out {moment:%H:%M} on {moment:%Y-%m-%d}; name another time")
    return chosen


def _said(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} {_zone(moment)}"
