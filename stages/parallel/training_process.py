"""A process for a training, or for several in turn: how it is started, what it does from its first line to its last, and how
it ended.
"""

import errno
import faulthandler
import gc
import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from stages.base import memory, openmp
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.learn import interrupt, short_training
from stages.learn.training_terms import Terms
from stages.parallel import sockets
from stages.parallel.progress_display import Reporter
from stages.params.schema import Params

Train = Callable[[Params, Talk, int, Terms], None]  # trains a fold, a seed or the like, by its number
# SIGKILL; 255 is all that is known of a process when the one that forked it has been killed.
ENDED_BY_THE_SYSTEM = (-9, 255)
LOOK_EVERY = 1.0  # seconds between two looks of a process that has nothing to do at whether it is to end
NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EIO, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else []))


@dataclass(frozen=True)
class Work:
    """What is trained where that is not the folds of params.yaml, once each."""

    train: Train
    names: Mapping[int, str]  # of each, by its number, as `refit seed 0`
    several: str  # what they are called, as `refit seeds`
    command: str  # that trains them
    params: Mapping[int, Params] = field(default_factory=dict)  # of those that have their own


class Checkout(Protocol):
    """The project as the head has it, for a machine that has not (checkout.py); travels there by pickle."""

    @property
    def run(self) -> str:
        """The key of the run that is trained in it."""
        ...

    def made(self, root: Path, say: Callable[[str], None]) -> Path:
        """The project's folder below `root` on the machine that this is called on, made there unless it is.

        It appears whole or not at all, also where several processes ask for it at once; `say` hears what takes long. Raises
        UserError, in one line, where it cannot be made.
        """
        ...


@dataclass(frozen=True)
class Order:
    """What a worker is asked to do."""

    folder: Path  # to work in; on another machine the checkout's takes its place, and checkpoints come back to this one
    params: Params
    number: int  # of the fold, or in the work
    work: Work | None  # None: a fold is trained
    terms: Terms
    signals: list[signal.Signals]  # that ask it to stop
    checkout: Checkout | None = None  # needed where it is trained on another machine
    cores: int = 1  # that are set aside for it there
    experiment: str = ""  # whose fold it is, where there are several
    gpu: str = ""  # the only one that it sees, as CUDA_VISIBLE_DEVICES names it; empty: as this process
    output: Path | None = None  # where what its libraries print goes; None: where the parent's goes
    stays: bool = False  # once it is done, its process waits for another order

    @property
    def name(self) -> str:
        of = "" if self.terms.repeat is None else f" repeat {self.terms.repeat}"
        own = self.work.names[self.number] if self.work else f"fold {self.number}{of}"
        return f"{self.experiment} {own}".strip()

    @property
    def short(self) -> str:
        """Its name in a list of others."""
        return self.name if self.work or self.experiment else self.name.removeprefix("fold ")

    @property
    def epochs(self) -> tuple[int, ...]:
        """Of each training that it takes, one after the other."""
        own = self.params.train.epochs
        return (own,) if self.work or self.terms.repeat is not None else short_training.epochs_in_turn(self.params)

    @property
    def command(self) -> str:
        return self.work.command if self.work else f"train --fold {self.number}"


@dataclass
class Worker:
    """A process that does what it was ordered."""

    order: Order  # the newest
    process: BaseProcess | None = None  # None: it could not be started
    pipe: Any = None
    stop: Any = None  # event that asks it to end with a checkpoint
    orders: int = 1  # that it was given
    heard: bool = False  # anything since the newest

    def take(self, order: Order) -> bool:
        """Give it another order, once the last is done; False where it is no more."""
        try:
            self.pipe.send(order)
        except OSError:
            return False
        self.order, self.orders, self.heard = order, self.orders + 1, False
        return True

    def exit_code(self) -> int | None:
        """How its process has ended, waiting for that; 255 where it has not begun."""
        if self.process is None or self.process.pid is None:
            return 255
        self.process.join()
        return self.process.exitcode


def context() -> Any:
    """Where a process for a training comes from: forked from a server that has made all imports, so that it starts in a moment.

    The server goes on when a signal that asks to stop is sent to all processes, as a terminal sends it: it waits for those
    it has forked. Without such servers (Windows), or where no path for their sockets is short enough, processes are
    started anew.
    """
    openmp.sleep_soon()
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else looking for a GPU would forbid forking later
    if "forkserver" not in multiprocessing.get_all_start_methods() or not sockets.placed():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["stages.parallel.preloaded"])
    # The server would start it, and that lets SIGINT and SIGTERM come though they are held back (CPython 3.11 at least).
    resource_tracker.ensure_running()
    with interrupt.held(interrupt.heeded()), _of_what_is_installed():
        forkserver.ensure_running()
    return made


@contextmanager
def _of_what_is_installed() -> Iterator[None]:
    """Python started in here imports what is installed, as this program does, no folder `stages` where it starts."""
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def start(context: Any, order: Order, stop: Any) -> Worker:
    """Start a worker's process; `stop`: an event that asks it to end with a checkpoint."""
    here, there = context.Pipe(duplex=order.stays)
    process = context.Process(target=work, args=(order, there, stop), name=f"maskcli {order.name}")
    with suppress(
        EOFError, ConnectionError
    ):  # the server that forks it was killed; who listens finds that it has ended
        process.start()
    there.close()
    return Worker(order, process, here, stop)


def as_in_a_new_one(before: Order, after: Order) -> bool:
    """Whether a process that has done one order may do another: what it has set for good (accelerate's precision, cuBLAS's
    workspace, the kernels that cuDNN has tried, imported plugins) is what that one sets too.
    """

    def for_good(order: Order) -> Any:
        return order.folder, order.gpu, order.output, order.stays, order.params.train, order.params.plugins

    return bool(for_good(before) == for_good(after))


def how_it_ended(code: int | None) -> str:
    """Why a training's process is no more, where it could not say so itself."""
    if code in ENDED_BY_THE_SYSTEM:
        there = memory.in_words(memory.total())
        return f"the system ended its process, most likely for lack of memory (there is room for {there})"
    if code is not None and code < 0:
        return f"its process was ended by signal {-code}"
    return f"its process ended with code {code}"


def work(order: Order | None, pipe: connection.Connection, stop: Any) -> None:
    """A process's whole life: do what it was ordered, tell the parent how it goes, and wait for more where the order says so."""
    gc.freeze()  # what it was forked with lives to its end: looking through it for garbage would only copy its pages
    orphaned, turn = threading.Event(), Turn()
    threading.Thread(target=_note_orphaned, args=(orphaned,), daemon=True).start()
    with interrupt.noted() as asked:

        def ends() -> bool:
            return orphaned.is_set() or stop.is_set() or asked()

        while order:
            done = _do(order, Reporter(pipe, order.epochs), ends, turn)
            if not done or not order.stays or not _let_go():
                break
            order = _another(pipe, ends)
            turn = turn.next()


@dataclass(frozen=True)
class Turn:
    """Where a training stands among those of its process."""

    number: int = 0
    taken_up: float = field(default_factory=time.monotonic)
    start: float = 0.0  # seconds that the process took to its first one, imports included

    def next(self) -> "Turn":
        from stages.learn.time_limit import process_began
        from stages.parallel import preloaded

        start = self.start if self.number else max(self.taken_up, preloaded.ENDED) - process_began()
        return Turn(self.number + 1, time.monotonic(), start)


def _do(order: Order, reporter: Reporter, ends: interrupt.Interrupt, turn: Turn) -> bool:
    """Do what was ordered, and tell the parent how it went; whether it is done."""
    os.chdir(order.folder)
    if order.gpu:  # before CUDA is first asked for anything
        os.environ["CUDA_VISIBLE_DEVICES"] = order.gpu
    if order.output:
        _print_to(order.output)
    warnings.showwarning = reporter.warn
    try:
        interrupt.let_come(order.signals)
        _train(order, reporter, ends, turn)
    except UserError as error:
        reporter.tell("full" if _no_room(error) else "failed", str(error))
    except KeyboardInterrupt as error:
        reporter.tell("stopped", str(error) or f"{order.name} had not begun")
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        if order.output:
            traceback.print_exc()
        reporter.tell(
            "failed",
            f"unexpected {type(error).__name__}: {text}; run `maskcli --debug {order.command}` for the traceback",
        )
    else:
        reporter.tell("done", "")
        return True
    return False


def _train(order: Order, reporter: Reporter, stop: interrupt.Interrupt, turn: Turn) -> None:
    from stages.learn.time_limit import process_began
    from stages.parallel import preloaded

    terms = replace(order.terms, imported=preloaded.seconds_before(process_began()) + turn.start, stop=stop)
    if order.stays:
        terms = replace(terms, taken_up=turn.taken_up if turn.number else process_began())
    train = order.work.train if order.work else preloaded.run
    train(order.params, Talk(say=reporter.say, track=reporter.track), order.number, terms)


def _let_go() -> bool:
    """Give back what a training held, so that the next one finds the GPU as in a new process; False where the GPU answers no
    more, as after an error of its own.
    """
    import torch

    from stages.learn import device_memory

    gc.collect()
    try:
        device_memory.release()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
    except RuntimeError:
        return False
    return True


def _another(pipe: connection.Connection, ends: interrupt.Interrupt) -> Order | None:
    """The next order; None once there will be none, or this process is to end."""
    with suppress(EOFError, OSError):  # the parent needs this process no more
        while not ends():
            if pipe.poll(LOOK_EVERY) and not ends():
                order: Order = pipe.recv()
                return order
    return None


def _no_room(error: UserError) -> bool:
    """Whether it is the disk that failed, which another machine's may not."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in NO_ROOM


def _print_to(path: Path) -> None:
    """Have all that this process prints, also in C++, go to the end of a file."""
    with path.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    faulthandler.enable()


def _note_orphaned(orphaned: threading.Event) -> None:
    """A worker whose parent was killed writes its checkpoint and ends, as after Ctrl-C."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        orphaned.set()
