"""Trainings side by side, each in a process of its own, under one progress display: what folds and refit share.

A training that fails leaves the others running. One whose process the system ended, most likely for memory, goes on from
its checkpoint, with fewer at a time.
"""

import datetime
import gc
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stages.base import cores, memory
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.learn import interrupt
from stages.parallel import sockets
from stages.params.schema import Params

TELL_EVERY = 0.2  # seconds between two reports of a training's progress
ROOM = 1.2  # of a training's peak GPU memory: what each further one on the same GPU needs to have free
CUDA_CONTEXT = 600 * 2**20  # bytes that a process takes of a GPU beside what torch allocates, about
CORES_ON_A_GPU = 2  # one that launches kernels, one that makes batches
# SIGKILL; 255 is all that is known of a process when the one that forked it has been killed.
ENDED_BY_THE_SYSTEM = (-9, 255)


@dataclass(frozen=True)
class Plan:
    """What is to be trained, by fold or, for a refit, by seed, and how many at a time."""

    wanted: list[int]
    jobs: int
    threads: dict[int, int]  # of each of them
    ahead: tuple[int, ...] = ()  # those that use the room that is left, into checkpoints only
    refit: bool = False
    fresh: bool = False
    until: datetime.datetime | None = None
    grows: bool = False  # on a GPU, to as many as its memory has room for

    def needed(self, params: Params) -> list[int]:
        """Those that must be trained to their end: under a time limit those ahead too, since all share the time."""
        limited = not self.refit and (self.until is not None or params.budget.minutes > 0)
        return [*self.wanted, *self.ahead] if limited else self.wanted


@dataclass(frozen=True)
class Order:
    """What a worker is asked to do."""

    folder: Path  # to work in
    params: Params
    number: int  # of the fold, or of the refit's seed
    refit: bool
    fresh: bool
    until: datetime.datetime | None
    jobs: int
    later: int  # processes that will start after this one's folds, for their outputs
    outputs: bool
    signals: list[signal.Signals]  # that ask it to stop

    @property
    def name(self) -> str:
        return f"refit seed {self.number}" if self.refit else f"fold {self.number}"

    @property
    def command(self) -> str:
        return "refit" if self.refit else f"train --fold {self.number}"


@dataclass
class Worker:
    """A process that does what it was ordered."""

    order: Order
    process: BaseProcess | None = None  # None: it could not be started
    pipe: Any = None
    outcome: str = ""  # done, stopped or failed
    error: str = ""  # one line
    killed: bool = False  # by the system

    @property
    def number(self) -> int:
        return self.order.number


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
        context = _context()
        needed, waiting = plan.needed(params), deque([*plan.wanted, *plan.ahead])
        crew = Crew(plan, needed, context, context.Event(), waiting, plan.jobs, plan.grows)
        bar = Bar(params, talk, plan, needed)
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
        crew.workers[order.number] = _start(crew.context, order, crew.stop)


def _room(crew: Crew, number: int) -> bool:
    threads = crew.plan.threads
    taken = sum(threads[worker.number] for worker in crew.running())
    return not taken or taken + threads[number] <= crew.jobs * min(threads.values())


def _listen(crew: Crew, bar: "Bar", talk: Talk) -> None:
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
        _exit_code(worker.process)


def _order(params: Params, crew: Crew, number: int) -> Order:
    plan, own = crew.plan, number in crew.plan.wanted
    return Order(
        Path.cwd(),
        params,
        number,
        plan.refit,
        fresh=plan.fresh and own,
        until=plan.until,
        jobs=crew.jobs,
        later=len(crew.needed) - len(plan.wanted),
        outputs=own,
        signals=interrupt.heeded(),
    )


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
    done = [str(worker.number) for worker in workers if worker.outcome == "done"]
    kept = f"done and kept: {', '.join(done)}" if done else f"no {'seed' if workers[0].order.refit else 'fold'} is done"
    raise UserError(f"{told}; {kept}; {advice}, and run the same command again")


def _context() -> Any:
    """Where a process for a training comes from: forked from a server that has made all imports, so that it starts in a moment.

    The server goes on when a signal that asks to stop is sent to all processes, as a terminal sends it: it waits for those
    it has forked. Without such servers (Windows), or where no path for their sockets is short enough, processes are
    started anew.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else looking for a GPU would forbid forking later
    if "forkserver" not in multiprocessing.get_all_start_methods() or not sockets.placed():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.parallel.preloaded"])
    with interrupt.held(interrupt.heeded()):
        forkserver.ensure_running()
    return context


def _start(context: Any, order: Order, stop: Any) -> Worker:
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(order, there, stop), name=f"maskcli {order.name}")
    with suppress(EOFError, ConnectionError):  # the server that forks it was killed; `_hear` finds that it has ended
        process.start()
    there.close()
    return Worker(order, process, here)


def _ready(running: list[Worker]) -> list[Worker]:
    found = set(connection.wait([worker.pipe for worker in running], timeout=TELL_EVERY))
    return [worker for worker in running if worker.pipe in found]


def _hear(worker: Worker, bar: "Bar | None", talk: Talk) -> int:
    """Take one message of a worker; returns its peak GPU memory in bytes where it tells that, else 0."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):  # it has ended, one way or another
        code = _exit_code(worker.process)
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
        _exit_code(worker.process)
        if bar:
            bar.move(worker.number, 1.0 if kind != "stopped" else 0.0)
    return int(value) if kind == "peak" else 0


def _exit_code(process: BaseProcess | None) -> int | None:
    """How a process has ended, waiting for that; 255 where it has not begun."""
    if process is None or process.pid is None:
        return 255
    process.join()
    return process.exitcode


def how_it_ended(code: int | None) -> str:
    """Why a training's process is no more, where it could not say so itself."""
    if code in ENDED_BY_THE_SYSTEM:
        there = memory.in_words(memory.total())
        return f"the system ended its process, most likely for lack of memory (there is room for {there})"
    if code is not None and code < 0:
        return f"its process was ended by signal {-code}"
    return f"its process ended with code {code}"


def _gpu_free() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0])


class Bar:
    """One progress display over all that is needed, in epochs."""

    def __init__(self, params: Params, talk: Talk, plan: Plan, needed: list[int]) -> None:
        self.talk = talk
        self.epochs = params.train.epochs * (1 if plan.refit else params.train.repeats)
        self.shares = dict.fromkeys(needed, 0.0)
        what, one = ("refit seeds", "refit seed") if plan.refit else ("folds", "fold")
        several = f"{len(needed)} {what}, {plan.jobs} at a time"
        self.label = f"epochs of {several if len(needed) > 1 else f'{one} {needed[0]}'}"
        self._show()

    def begins(self, number: int, share: float) -> None:
        """A training begins, or goes on, at `share`: so does the display, so that its speed is that of work that is done now."""
        if share > self.shares[number] or not self.shown:
            self.shares[number] = max(self.shares[number], share)
            self.end()
            self._show()

    def move(self, number: int, share: float) -> None:
        self.shares[number] = max(self.shares[number], share)
        while self.shown < self._epochs():
            self.shown += 1
            next(self.ticks, None)

    def end(self) -> None:
        close = getattr(self.ticks, "close", None)
        if close:
            close()

    def _epochs(self) -> int:
        return int(sum(self.shares.values()) * self.epochs + 1e-6)

    def _show(self) -> None:
        total, self.shown = self.epochs * len(self.shares), self._epochs()
        self.ticks: Iterator[int] = iter(self.talk.track(range(self.shown, total), total, self.label, self.shown))
        next(self.ticks, None)  # shows the display; a tick is counted when the next one is asked for


def work(order: Order, pipe: connection.Connection, stop: Any) -> None:
    """The worker's whole life: do what it was ordered, and tell the parent how it goes."""
    gc.freeze()  # what it was forked with lives to its end: looking through it for garbage would only copy its pages
    os.chdir(order.folder)
    repeats = 1 if order.refit else order.params.train.repeats
    reporter = Reporter(pipe, repeats, order.params.train.epochs)
    warnings.showwarning = reporter.warn
    orphaned = threading.Event()
    threading.Thread(target=_note_orphaned, args=(orphaned,), daemon=True).start()
    try:
        with interrupt.noted() as asked:
            interrupt.let_come(order.signals)
            _train(order, reporter, lambda: orphaned.is_set() or stop.is_set() or asked())
    except UserError as error:
        reporter.tell("failed", str(error))
    except KeyboardInterrupt as error:
        reporter.tell("stopped", str(error) or f"{order.name} had not begun")
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        reporter.tell(
            "failed",
            f"unexpected {type(error).__name__}: {text}; run `maskcli --debug {order.command}` for the traceback",
        )
    else:
        reporter.tell("done", "")


def _train(order: Order, reporter: "Reporter", stop: interrupt.Interrupt) -> None:
    talk = Talk(say=reporter.say, track=reporter.track)
    if order.refit:
        from stages.by_hand import refit

        refit.train_seed(order.params, talk, order.number, stop)
        return
    from stages.learn.budget import process_began
    from stages.parallel import preloaded

    preloaded.run(
        order.params,
        talk,
        order.number,
        order.fresh,
        order.until,
        jobs=order.jobs,
        later=order.later,
        imported=preloaded.seconds_before(process_began()),
        outputs=order.outputs,
        stop=stop,
    )


def _note_orphaned(orphaned: threading.Event) -> None:
    """A worker whose parent was killed writes its checkpoint and ends, as after Ctrl-C."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        orphaned.set()


@dataclass
class Reporter:
    """A worker's side of the pipe to its parent, as a Talk wants it."""

    pipe: connection.Connection
    repeats: int
    epochs: int
    repeat: int = 0
    told_peak: bool = False

    def tell(self, kind: str, value: Any) -> None:
        with suppress(OSError):  # the parent is gone
            self.pipe.send((kind, value))

    def say(self, line: str) -> None:
        self.tell("say", line)

    def warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        self.say(f"warning: {message}")

    def track(self, items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
        """Tell what share of the training is done: each repeat tracks its steps once."""
        told = 0.0
        self.tell("begins", (self.repeat + done / total) / self.repeats)
        for number, item in enumerate(items, done + 1):
            yield item
            now = time.monotonic()
            if now - told >= TELL_EVERY:
                told = now
                self.tell("share", (self.repeat + number / total) / self.repeats)
                if number * self.epochs > total:  # an epoch and its validation are behind
                    self._tell_peak()
        self.repeat += 1

    def _tell_peak(self) -> None:
        import torch

        if torch.cuda.is_available() and not self.told_peak:
            self.told_peak = True
            self.tell("peak", torch.cuda.max_memory_reserved())
