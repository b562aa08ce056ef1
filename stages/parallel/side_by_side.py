"""Trainings side by side, each in a process of its own (training_process.py), under one progress display
(progress_display.py): what folds, refit and screen share.

A training that fails leaves the others running. One whose process the system ended, most likely for memory, goes on from
its checkpoint, with fewer at a time.
"""

import datetime
from collections import deque
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from stages.base import cores
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.learn import interrupt, short_training
from stages.learn.training_terms import Terms
from stages.parallel import training_process
from stages.parallel.progress_display import TELL_EVERY, Bar
from stages.parallel.training_process import ENDED_BY_THE_SYSTEM, Order, Work, Worker, how_it_ended
from stages.params.schema import Params

ROOM = 1.2  # of a training's peak GPU memory: what each further one on the same GPU needs to have free
CUDA_CONTEXT = 600 * 2**20  # bytes that a process takes of a GPU beside what torch allocates, about
CORES_ON_A_GPU = 2  # one that launches kernels, one that makes batches


@dataclass(frozen=True)
class Plan:
    """What is to be trained, by fold or by its number in `work`, and how many at a time."""

    wanted: list[int]
    jobs: int
    threads: dict[int, int]  # of each of them
    ahead: tuple[int, ...] = ()  # those that use the room that is left, into checkpoints only
    work: Work | None = None  # None: folds are trained
    fresh: bool = False
    until: datetime.datetime | None = None
    grows: bool = False  # on a GPU, to as many as its memory has room for

    def needed(self, params: Params) -> list[int]:
        """Those that must be trained to their end: under a time limit those ahead too, since all share the time."""
        limited = not self.work and (self.until is not None or params.budget.minutes > 0)
        return [*self.wanted, *self.ahead] if limited else self.wanted

    def label(self, needed: list[int]) -> str:
        """Of the progress display."""
        several = f"{len(needed)} {self.work.several if self.work else 'folds'}, {self.jobs} at a time"
        one = self.work.names[needed[0]] if self.work else f"fold {needed[0]}"
        return f"epochs of {several if len(needed) > 1 else one}"


def fits(free: int, peak: int, trainings: int, available: int) -> int:
    """Trainings that one GPU can do at a time, where one has peaked at `peak` bytes and `free` bytes are left."""
    return max(1, min(trainings, 1 + int(free // (ROOM * (peak + CUDA_CONTEXT))), available // CORES_ON_A_GPU))


@dataclass
class Crew:
    """The workers of a plan, what waits for one, and how many work at a time."""

    plan: Plan
    needed: list[int]
    context: Any
    stop: Any  # an event that all workers see
    waiting: deque[int]
    jobs: int
    grows: bool
    workers: dict[int, Worker] = field(default_factory=dict)

    def running(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if not worker.outcome]


def run(params: Params, talk: Talk, plan: Plan) -> None:
    """Keep plan.jobs workers at work until all that is needed has ended, then stop what still runs.

    A training that has more threads than the least of them takes the room of several. Raises UserError if one of
    plan.wanted failed, once all others are done; KeyboardInterrupt, once all have written a checkpoint, if a person asked.
    """
    with interrupt.noted() as asked:
        context = training_process.context()
        needed, waiting = plan.needed(params), deque([*plan.wanted, *plan.ahead])
        crew = Crew(plan, needed, context, context.Event(), waiting, plan.jobs, plan.grows)
        epochs = params.train.epochs if plan.work else sum(short_training.epochs_in_turn(params))
        bar = Bar(talk, plan.label(needed), needed, epochs)
        try:
            while True:
                if asked() or all(number in crew.workers and crew.workers[number].outcome for number in needed):
                    crew.stop.set()
                _start_waiting(crew, params)
                if not crew.running():
                    break
                _listen(crew, bar, talk)
        finally:  # also where nobody hears what is said any more
            _end(crew)
        bar.end()
        if asked():
            kept = [worker.error for worker in crew.workers.values() if worker.outcome == "stopped"]
            raise KeyboardInterrupt("; ".join(kept) or "all that was begun is done")
    _report([crew.workers[number] for number in plan.wanted])


def _start_waiting(crew: Crew, params: Params) -> None:
    """Start those that wait, as many as there is room for."""
    while crew.waiting and not crew.stop.is_set() and _room(crew, crew.waiting[0]):
        order = _order(params, crew, crew.waiting.popleft())
        crew.workers[order.number] = training_process.start(crew.context, order, crew.stop)


def _room(crew: Crew, number: int) -> bool:
    threads = crew.plan.threads
    taken = sum(threads[worker.number] for worker in crew.running())
    return not taken or taken + threads[number] <= crew.jobs * min(threads.values())


def _listen(crew: Crew, bar: Bar, talk: Talk) -> None:
    """Take a message of each worker that has one. Where the system has ended one of several, fewer work from now on."""
    running = crew.running()
    for worker in _ready(running):
        peak = _hear(worker, bar if worker.number in crew.needed else None, talk)
        if worker.killed and len(running) > 1 and not crew.stop.is_set():
            crew.jobs, crew.grows = max(1, min(crew.jobs, len(running) - 1)), False
            talk.say(f"{worker.order.name}: {worker.error}; it goes on later, now {crew.jobs} at a time")
            crew.waiting.append(worker.number)
            del crew.workers[worker.number]
        if peak and crew.grows:
            crew.jobs = max(crew.jobs, fits(_gpu_free(), peak, len(crew.plan.wanted), cores.available()))


def _end(crew: Crew) -> None:
    """Have all workers that still run write their checkpoints, and wait for that."""
    crew.stop.set()
    for worker in crew.running():
        if worker.pipe is not None:
            worker.pipe.close()  # nobody listens any more: none shall wait for that
        worker.exit_code()


def _order(params: Params, crew: Crew, number: int) -> Order:
    plan, own = crew.plan, number in crew.plan.wanted
    later = len(crew.needed) - len(plan.wanted)
    terms = Terms(fresh=plan.fresh and own, until=plan.until, outputs=own, jobs=crew.jobs, later=later)
    return Order(Path.cwd(), params, number, plan.work, terms, interrupt.heeded())


def _report(workers: list[Worker]) -> None:
    """Raise UserError that names the trainings that are not done, if any."""
    failed = [worker for worker in workers if worker.outcome != "done"]
    if not failed:
        return
    advice = "mend it"
    if any(worker.killed for worker in failed):
        advice = "train fewer at a time (parallel.jobs), lower train.batch_size, or give it more memory"
    elif len(workers) == 1:
        raise UserError(failed[0].error)
    told = "; ".join(f"{worker.order.name}: {worker.error}" for worker in failed)
    done = [
        worker.order.name if worker.order.work else str(worker.number) for worker in workers if worker.outcome == "done"
    ]
    kept = f"done and kept: {', '.join(done)}" if done else "none is done"
    raise UserError(f"{told}; {kept}; {advice}, and run the same command again")


def _ready(running: list[Worker]) -> list[Worker]:
    found = set(connection.wait([worker.pipe for worker in running], timeout=TELL_EVERY))
    return [worker for worker in running if worker.pipe in found]


def _hear(worker: Worker, bar: Bar | None, talk: Talk) -> int:
    """Take one message of a worker; returns its peak GPU memory in bytes where it tells that, else 0."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):  # it has ended, one way or another
        code = worker.exit_code()
        if not worker.outcome:
            worker.outcome, worker.killed = "failed", code in ENDED_BY_THE_SYSTEM
            worker.error = how_it_ended(code)
        return 0
    if kind == "say" and bar:
        talk.say(value)
    elif kind == "begins" and bar:
        bar.begins(worker.number, value)
    elif kind == "share" and bar:
        bar.move(worker.number, value)
    elif kind in ("done", "stopped", "failed"):
        worker.outcome, worker.error = kind, value
        worker.exit_code()
        if bar:
            bar.move(worker.number, 1.0 if kind != "stopped" else 0.0)
    return int(value) if kind == "peak" else 0


def _gpu_free() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0])
