"""folds: train several folds side by side, each in a process of its own, under one progress display.

A fold comes out as if it had been trained alone: everything random follows from (seed, fold, epoch, step), and its number
of threads, which rounding follows, is that of lr-find whatever runs beside it. A fold that fails leaves the others running.
"""

import datetime
import multiprocessing
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stages import cores, settled
from stages.errors import UserError
from stages.learn import interrupt
from stages.params import Params
from stages.talk import Talk

TELL_EVERY = 0.2  # seconds between two reports of a fold's progress
ROOM = 1.2  # of a fold's peak GPU memory: what each further fold on the same GPU needs to have free
CUDA_CONTEXT = 600 * 2**20  # bytes that a process takes of a GPU beside what torch allocates, about
CORES_A_GPU_FOLD = 2  # one that launches kernels, one that makes batches


@dataclass
class Worker:
    """A process that trains one fold."""

    fold: int
    process: BaseProcess
    pipe: connection.Connection
    outcome: str = ""  # done, stopped or failed
    error: str = ""  # one line


@dataclass(frozen=True)
class Order:
    """What a worker is asked to do."""

    folder: Path  # to work in
    params: Params
    fold: int
    fresh: bool
    until: datetime.datetime | None
    jobs: int
    later: int  # processes that will start after this one's folds, for their outputs
    outputs: bool


def run(
    params: Params,
    talk: Talk,
    jobs: int | None = None,
    only: Sequence[int] | None = None,
    fresh: bool = False,
    until: datetime.datetime | None = None,
) -> None:
    """Train the folds `only` (None: all), `jobs` at a time (None: as parallel.jobs says); a finished one costs nothing.

    Raises UserError, once all others are done, if a fold failed. Ctrl-C leaves a checkpoint of each running fold.
    """
    wanted = list(params.folds) if only is None else list(dict.fromkeys(only))
    unknown = sorted(set(wanted) - set(params.folds))
    if unknown:
        raise UserError(f"--only {unknown[0]}: params.yaml has folds {list(params.folds)}; name some of them")
    # Under a time limit the first fold, which would reckon with none beside it, would get the least.
    grows = not _limited(params, until) and _on_gpu(params) and jobs is None and params.parallel.jobs == "auto"
    _side_by_side(params, talk, wanted, [], jobs or number_of_jobs(params), fresh, until, grows)


def ahead(params: Params, talk: Talk, fold: int, fresh: bool, until: datetime.datetime | None) -> bool:
    """Train one fold, and on the cores that it leaves free the others, as far as they come, into out/checkpoints.

    With a time limit the others are trained to their end, so that all share the time as in `run`, and the processes that
    take them from their checkpoints have it ready. False, and nothing done, where there is no room for more than one fold.
    """
    jobs = number_of_jobs(params)
    if jobs == 1 or fold not in params.folds:
        return False
    start = params.folds.index(fold)
    others = [*params.folds[start + 1 :], *params.folds[:start]]
    _side_by_side(params, talk, [fold], others, min(jobs, len(others) + 1), fresh, until, False)
    return True


def number_of_jobs(params: Params) -> int:
    """parallel.jobs; for auto, on a CPU as many folds as have cores, on a GPU one, until its memory use is known."""
    if params.parallel.jobs != "auto":
        return params.parallel.jobs
    return 1 if _on_gpu(params) else max(1, cores.available() // min(_threads(params).values()))


def _limited(params: Params, until: datetime.datetime | None) -> bool:
    return until is not None or params.budget.minutes > 0


def fits(free: int, peak: int, folds: int, available: int) -> int:
    """Folds that one GPU can train at a time, where one of them has peaked at `peak` bytes and `free` bytes are left."""
    return max(1, min(folds, 1 + int(free // (ROOM * (peak + CUDA_CONTEXT))), available // CORES_A_GPU_FOLD))


def _threads(params: Params) -> dict[int, int]:
    """Threads of each fold."""
    found = settled.read(params)
    return {fold: settled.threads(found, fold, params) for fold in params.folds}


def _on_gpu(params: Params) -> bool:
    """As lr-find found it; each training sees whether that holds here (`settled.check_device`)."""
    return settled.read(params).device not in ("", "cpu")


def _side_by_side(
    params: Params,
    talk: Talk,
    wanted: list[int],
    ahead: list[int],
    jobs: int,
    fresh: bool,
    until: datetime.datetime | None,
    grows: bool,
) -> None:
    """Keep `jobs` workers at work until all `wanted` folds have ended, with a time limit those that train `ahead` too; then
    stop what still runs.

    A fold that has more threads than the least of them takes the room of several.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else looking for a GPU would forbid forking later
    context: Any = multiprocessing.get_context(_start_method())
    if _start_method() == "forkserver":
        context.set_forkserver_preload(["stages.preloaded"])
    stop = context.Event()
    waiting = deque([*wanted, *ahead])
    needed = [*wanted, *ahead] if _limited(params, until) else wanted
    later = len(needed) - len(wanted)
    room_of = _threads(params)
    least = min(room_of.values())
    workers: dict[int, Worker] = {}
    bar = Bar(params, talk, needed, jobs)
    with interrupt.noted() as asked:
        while True:
            if asked() or all(fold in workers and workers[fold].outcome for fold in needed):
                stop.set()
            while waiting and not stop.is_set():
                taken = sum(room_of[worker.fold] for worker in _running(workers))
                if taken and taken + room_of[waiting[0]] > jobs * least:
                    break
                fold = waiting.popleft()
                own = fold in wanted
                order = Order(Path.cwd(), params, fold, fresh and own, until, jobs, later, outputs=own)
                workers[fold] = _start(context, order, stop)
            if not _running(workers):
                break
            for worker in _ready(_running(workers)):
                peak = _hear(worker, bar if worker.fold in needed else None, talk)
                if peak and grows:
                    jobs = max(jobs, fits(_gpu_free(), peak, len(wanted), cores.available()))
        bar.end()
        if asked():
            raise KeyboardInterrupt
    _report([workers[fold] for fold in wanted])


def _report(workers: list[Worker]) -> None:
    """Raise UserError that names the folds that are not done, if any."""
    failed = [worker for worker in workers if worker.outcome != "done"]
    if not failed:
        return
    if len(workers) == 1:
        raise UserError(failed[0].error)
    told = "; ".join(f"fold {worker.fold}: {worker.error}" for worker in failed)
    done = [str(worker.fold) for worker in workers if worker.outcome == "done"]
    kept = f"done and kept: {', '.join(done)}" if done else "no fold is done"
    raise UserError(f"{told}; {kept}; mend it and run the same command again")


def _start_method() -> str:
    """forkserver where there is one: all imports are made once, and a fold's process starts in a moment."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def _start(context: Any, order: Order, stop: Any) -> Worker:
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(order, there, stop), name=f"maskcli fold {order.fold}")
    process.start()
    there.close()
    return Worker(order.fold, process, here)


def _running(workers: dict[int, Worker]) -> list[Worker]:
    return [worker for worker in workers.values() if not worker.outcome]


def _ready(running: list[Worker]) -> list[Worker]:
    found = set(connection.wait([worker.pipe for worker in running], timeout=TELL_EVERY))
    return [worker for worker in running if worker.pipe in found]


def _hear(worker: Worker, bar: "Bar | None", talk: Talk) -> int:
    """Take one message of a worker; returns its peak GPU memory in bytes where it tells that, else 0."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):  # it has ended, one way or another
        worker.process.join()
        if not worker.outcome:
            worker.outcome, worker.error = "failed", _how_it_ended(worker.process.exitcode)
        return 0
    if kind == "say" and bar:
        talk.say(value)
    elif kind == "share" and bar:
        bar.move(worker.fold, value)
    elif kind in ("done", "stopped", "failed"):
        worker.outcome, worker.error = kind, value
        worker.process.join()
        if bar:
            bar.move(worker.fold, 1.0 if kind != "stopped" else 0.0)
    return int(value) if kind == "peak" else 0


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was killed (signal {-code}), by lack of memory perhaps; use fewer --jobs"
    return f"its process ended with code {code}"


def _gpu_free() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0])


class Bar:
    """One progress display over all wanted folds, in epochs."""

    def __init__(self, params: Params, talk: Talk, wanted: list[int], jobs: int) -> None:
        self.epochs = params.train.epochs * params.train.repeats
        self.shares = dict.fromkeys(wanted, 0.0)
        total = self.epochs * len(wanted)
        folds = f"{len(wanted)} folds, {jobs} at a time" if len(wanted) > 1 else f"fold {wanted[0]}"
        self.ticks: Iterator[int] = iter(talk.track(range(total), total, f"epochs of {folds}"))
        self.shown = 0
        next(self.ticks, None)  # shows the display; a tick is counted when the next one is asked for

    def move(self, fold: int, share: float) -> None:
        self.shares[fold] = max(self.shares[fold], share)
        epochs = int(sum(self.shares.values()) * self.epochs + 1e-6)
        while self.shown < epochs:
            self.shown += 1
            next(self.ticks, None)

    def end(self) -> None:
        close = getattr(self.ticks, "close", None)
        if close:
            close()


def work(order: Order, pipe: connection.Connection, stop: Any) -> None:
    """The worker's whole life: train the fold, and tell the parent how it goes."""
    os.chdir(order.folder)
    reporter = Reporter(pipe, order.params.train.repeats, order.params.train.epochs)
    warnings.showwarning = reporter.warn
    orphaned = threading.Event()
    threading.Thread(target=_note_orphaned, args=(orphaned,), daemon=True).start()
    try:
        from stages import preloaded
        from stages.learn.budget import process_began

        preloaded.run(
            order.params,
            Talk(say=reporter.say, track=reporter.track),
            order.fold,
            order.fresh,
            order.until,
            jobs=order.jobs,
            later=order.later,
            imported=preloaded.seconds_before(process_began()),
            outputs=order.outputs,
            stop=lambda: orphaned.is_set() or stop.is_set(),
        )
    except UserError as error:
        reporter.tell("failed", str(error))
    except KeyboardInterrupt:
        reporter.tell("stopped", "was interrupted")
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        reporter.tell(
            "failed",
            f"unexpected {type(error).__name__}: {text}; run `maskcli --debug train --fold {order.fold}` for the traceback",
        )
    else:
        reporter.tell("done", "")


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

    def track(self, items: Iterable[Any], total: int, label: str) -> Iterator[Any]:
        """Tell what share of the fold is done: each repeat tracks its steps once."""
        told = 0.0
        for number, item in enumerate(items):
            yield item
            now = time.monotonic()
            if now - told >= TELL_EVERY:
                told = now
                self.tell("share", (self.repeat + (number + 1) / total) / self.repeats)
                if (number + 1) * self.epochs > total:  # an epoch and its validation are behind
                    self._tell_peak()
        self.repeat += 1

    def _tell_peak(self) -> None:
        import torch

        if torch.cuda.is_available() and not self.told_peak:
            self.told_peak = True
            self.tell("peak", torch.cuda.max_memory_reserved())
