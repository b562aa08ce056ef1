"""Trainings side by side, under one progress display (progress_display.py): what folds, refit, screen and `cluster run` share.

Where they run is an engine's affair (engine.py); by itself, each in a process of this machine. A training that fails leaves
the others running. One whose process the system ended, most likely for memory, or whose machine is gone, goes on from its
checkpoint: on this machine with fewer at a time, on a cluster elsewhere, a few times.
"""

import datetime
import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.learn import interrupt
from stages.learn.training_terms import Terms
from stages.parallel.engine import ENDS, Engine, Message, Training
from stages.parallel.gpus import Gpus
from stages.parallel.local_processes import LocalProcesses
from stages.parallel.progress_display import TELL_EVERY, Bar
from stages.parallel.training_process import Order, Work
from stages.params.schema import Params

TOO_LATE = "the time was up before it could begin"
FEWER = "train fewer at a time (parallel.jobs), lower train.batch_size, or give it more memory"


@dataclass(frozen=True)
class Plan:
    """What is to be trained on this machine, by fold or by its number in `work`, and how many at a time."""

    wanted: list[int]
    jobs: int
    threads: dict[int, int]  # of each of them
    ahead: tuple[int, ...] = ()  # those that use the room that is left, into checkpoints only
    work: Work | None = None  # None: folds are trained
    fresh: bool = False
    until: datetime.datetime | None = None
    gpus: tuple[str, ...] = ()  # that they are dealt out to
    grows: bool = False  # to as many as the GPUs have room for
    to_the_end: bool = False  # those ahead too

    def needed(self, params: Params) -> list[int]:
        """Those that must be trained to their end: under a time limit those ahead always, since all share the time."""
        limited = not self.work and (self.until is not None or params.budget.minutes > 0)
        return [*self.wanted, *self.ahead] if limited or self.to_the_end else self.wanted

    def label(self, needed: list[int]) -> str:
        """Of the progress display."""
        several = f"{len(needed)} {self.work.several if self.work else 'folds'}, {self.jobs} at a time"
        one = self.work.names[needed[0]] if self.work else f"fold {needed[0]}"
        return f"epochs of {several if len(needed) > 1 else one}"


@dataclass
class Crew:
    """The trainings that an engine is at, what waits for room, and how many there are at a time."""

    engine: Engine
    orders: dict[int, Order]
    wanted: list[int]  # whose outcome is asked for
    needed: list[int]  # all is done once these have ended
    waiting: deque[int]
    jobs: int | None  # None: as many as the engine has room for
    grows: bool = False
    shares: bool = (
        False  # the time that is left is shared out here; else trainings find out from each other's checkpoints
    )
    trainings: dict[int, Training] = field(default_factory=dict)
    losses: Counter[int] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    stopping: bool = False

    def running(self) -> list[Training]:
        return [training for training in self.trainings.values() if not training.outcome]

    def ended(self) -> bool:
        """Whether all has that is needed."""
        return all(number in self.trainings and self.trainings[number].outcome for number in self.needed)

    def stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            self.engine.cancel(self.running())


def run(params: Params, talk: Talk, plan: Plan) -> None:
    """Keep plan.jobs processes at work until all that is needed has ended, then stop what still runs.

    A training that has more threads than the least of them takes the room of several. Raises UserError if one of
    plan.wanted failed, once all others are done; KeyboardInterrupt, once all have written a checkpoint, if a person asked.
    """
    needed, every = plan.needed(params), [*plan.wanted, *plan.ahead]
    orders = {number: _order(params, plan, number) for number in every}
    engine = LocalProcesses(gpus=Gpus(plan.gpus) if plan.gpus else None)
    crew = Crew(engine, orders, plan.wanted, needed, deque(every), plan.jobs, plan.grows)
    _train(crew, talk, plan.label(needed))
    report([crew.trainings[number] for number in plan.wanted])


def run_on(engine: Engine, orders: Sequence[Order], talk: Talk, jobs: int | None = None) -> list[Training]:
    """Train all that is ordered on an engine, `jobs` at a time (None: as many as it has room for); how each has ended, in order.

    Whose outcome is `done` has its finished checkpoints in out/checkpoints of its order's folder; `report` says what is to be
    said of the others. Under a time limit each gets its share of what is left of it, by how many there is room for; what has
    not begun when terms.until comes is given up. The engine is closed at the end. Raises KeyboardInterrupt, once all have
    written a checkpoint, if a person asked; UserError where the engine is gone, or has no machine for what waits.
    """
    numbers = list(range(len(orders)))
    crew = Crew(engine, dict(enumerate(orders)), numbers, numbers, deque(numbers), jobs, shares=True)
    _train(crew, talk, f"epochs of {f'{len(numbers)} trainings' if len(numbers) > 1 else orders[0].name}")
    return [crew.trainings[number] for number in numbers]


def report(trainings: Sequence[Training], advice: str = FEWER) -> None:
    """Raise UserError that names the trainings that are not done, if any. advice: on those that were lost."""
    failed = [training for training in trainings if training.outcome != "done"]
    if not failed:
        return
    if not any(training.outcome == "lost" for training in failed):
        if len(trainings) == 1:
            raise UserError(failed[0].error)
        advice = "mend it"
    told = "; ".join(f"{training.order.name}: {training.error}" for training in failed)
    done = [training.order.short for training in trainings if training.outcome == "done"]
    kept = f"done and kept: {', '.join(done)}" if done else "none is done"
    raise UserError(f"{told}; {kept}; {advice}, and run the same command again")


def _train(crew: Crew, talk: Talk, label: str) -> None:
    """Until all that is needed has ended, and what still ran then has stopped."""
    with interrupt.noted() as asked:
        bar = Bar(talk, label, {number: sum(crew.orders[number].epochs) for number in crew.needed})
        try:
            while True:
                if asked() or crew.ended():
                    crew.stop()
                _give_up_late(crew)
                _start_waiting(crew)
                if not crew.running():
                    break
                _listen(crew, bar, talk)
        finally:  # also where nobody hears what is said any more
            crew.engine.close(crew.running())
        bar.end()
        if asked():
            kept = [training.error for training in crew.trainings.values() if training.outcome == "stopped"]
            raise KeyboardInterrupt("; ".join(kept) or "all that was begun is done")


def _give_up_late(crew: Crew) -> None:
    """What waits for room when its time is up has come too late; what runs keeps to its time itself."""
    for number in [number for number in crew.waiting if crew.shares and _late(crew.orders[number])]:
        crew.waiting.remove(number)
        crew.trainings[number] = Training(crew.orders[number], "failed", TOO_LATE)
    if crew.shares and not crew.stopping:
        crew.engine.cancel([one for one in crew.running() if not one.began and _late(one.order)])


def _late(order: Order) -> bool:
    until = order.terms.until
    return until is not None and time.time() >= until.timestamp()


def _start_waiting(crew: Crew) -> None:
    """Start those that wait, as many as there is room for. Where there will never be any, they have failed; UserError if
    nothing had begun before."""
    try:
        while crew.waiting and not crew.stopping and _room(crew, crew.orders[crew.waiting[0]]):
            order = _timed(crew, crew.orders[crew.waiting[0]])
            crew.trainings[crew.waiting.popleft()] = crew.engine.submit(order)
    except UserError as error:
        if not crew.trainings:
            raise
        while crew.waiting:
            number = crew.waiting.popleft()
            crew.trainings[number] = Training(crew.orders[number], "failed", str(error))


def _room(crew: Crew, order: Order) -> bool:
    running = crew.running()
    if crew.jobs is None:
        return len(running) < crew.engine.slots(order)
    taken = sum(training.order.cores for training in running)
    return not taken or taken + order.cores <= crew.jobs * min(one.cores for one in crew.orders.values())


def _timed(crew: Crew, order: Order) -> Order:
    """With the time that it may take, where there is a limit."""
    terms = replace(order.terms, jobs=crew.jobs or 1)
    if crew.shares:
        at_a_time = max(1, crew.jobs or crew.engine.slots(order))
        rounds = math.ceil(len(crew.waiting) / at_a_time)
        terms = replace(terms, rounds=rounds, used=time.monotonic() - crew.began)
    return replace(order, terms=terms)


def _listen(crew: Crew, bar: Bar, talk: Talk) -> None:
    """Take what is heard of those that run."""
    running = crew.running()
    numbers = {id(training): number for number, training in crew.trainings.items()}
    for message in crew.engine.wait(running, TELL_EVERY):
        number, training = numbers[id(message.training)], message.training
        if number in crew.needed:
            _show(number, message, bar, talk)
        if message.kind in ENDS:
            training.outcome, training.error = message.kind, message.value
            # By _give_up_late. Else a signal reached it before this process looked: a terminal sends it to all of them.
            if message.kind == "stopped" and crew.shares and not crew.stopping and _late(training.order):
                training.outcome, training.error = "failed", TOO_LATE
        if message.kind == "begins":
            training.began = True
        if message.kind == "kept":
            training.kept = message.value
        if message.kind == "lost" and not crew.stopping:
            _again(crew, number, len(running), talk)
        if message.kind == "peak" and crew.grows and crew.jobs:
            crew.jobs = max(crew.jobs, min(crew.engine.slots(training.order), len(crew.wanted)))


def _show(number: int, message: Message, bar: Bar, talk: Talk) -> None:
    kind, value = message.kind, message.value
    if kind == "say":
        of = message.training.order.experiment
        talk.say(f"{of}: {value}" if of else value)
    elif kind == "begins":
        bar.begins(number, value)
    elif kind == "share":
        bar.move(number, value)
    elif kind in ENDS and kind != "lost":
        bar.move(number, 1.0 if kind != "stopped" else 0.0)


def _again(crew: Crew, number: int, running: int, talk: Talk) -> None:
    """Have a training that was lost wait for room once more, unless that has no sense."""
    training = crew.trainings[number]
    crew.losses[number] += 1
    where = f"it goes on {f'from {training.kept}' if training.kept else 'later'}"
    if crew.engine.retries:
        if crew.losses[number] > crew.engine.retries:
            return
        talk.say(
            f"{training.order.name}: {training.error}; {where} (loss {crew.losses[number]} of {crew.engine.retries})"
        )
        crew.waiting.appendleft(number)
    elif running > 1 and crew.jobs:
        crew.jobs, crew.grows = max(1, min(crew.jobs, running - 1)), False
        talk.say(f"{training.order.name}: {training.error}; {where}, now {crew.jobs} at a time")
        crew.waiting.append(number)
    else:
        return
    del crew.trainings[number]
    if training.kept:  # its first checkpoint has taken the place of what was to be forgotten
        order = crew.orders[number]
        crew.orders[number] = replace(order, terms=replace(order.terms, fresh=False))


def _order(params: Params, plan: Plan, number: int) -> Order:
    own = number in plan.wanted
    later = len(plan.needed(params)) - len(plan.wanted)
    terms = Terms(fresh=plan.fresh and own, until=plan.until, outputs=own, jobs=plan.jobs, later=later)
    params = plan.work.params.get(number, params) if plan.work else params
    return Order(Path.cwd(), params, number, plan.work, terms, interrupt.heeded(), cores=plan.threads[number])
