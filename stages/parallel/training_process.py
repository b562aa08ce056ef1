"""A process for one training: how it is started, what it does from its first line to its last, and how it ended."""

import gc
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from stages.base import memory
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


@dataclass(frozen=True)
class Work:
    """What is trained where that is not the folds of params.yaml, once each."""

    train: Train
    names: Mapping[int, str]  # of each, by its number, as `refit seed 0`
    several: str  # what they are called, as `refit seeds`
    command: str  # that trains them


class Checkout(Protocol):
    """The project as the head has it, for a machine that has not (checkout.py); travels there by pickle."""

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
    experiment: str = ""  # whose fold it is, where there are several

    @property
    def name(self) -> str:
        of = "" if self.terms.repeat is None else f" repeat {self.terms.repeat}"
        own = self.work.names[self.number] if self.work else f"fold {self.number}{of}"
        return f"{self.experiment} {own}".strip()

    @property
    def command(self) -> str:
        return self.work.command if self.work else f"train --fold {self.number}"


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
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else looking for a GPU would forbid forking later
    if "forkserver" not in multiprocessing.get_all_start_methods() or not sockets.placed():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["stages.parallel.preloaded"])
    with interrupt.held(interrupt.heeded()):
        forkserver.ensure_running()
    return made


def start(context: Any, order: Order, stop: Any) -> Worker:
    """Start a worker's process; `stop`: an event that asks all workers to end with a checkpoint."""
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(order, there, stop), name=f"maskcli {order.name}")
    with suppress(
        EOFError, ConnectionError
    ):  # the server that forks it was killed; `side_by_side` finds that it has ended
        process.start()
    there.close()
    return Worker(order, process, here)


def how_it_ended(code: int | None) -> str:
    """Why a training's process is no more, where it could not say so itself."""
    if code in ENDED_BY_THE_SYSTEM:
        there = memory.in_words(memory.total())
        return f"the system ended its process, most likely for lack of memory (there is room for {there})"
    if code is not None and code < 0:
        return f"its process was ended by signal {-code}"
    return f"its process ended with code {code}"


def work(order: Order, pipe: connection.Connection, stop: Any) -> None:
    """The process's whole life: do what it was ordered, and tell the parent how it goes."""
    gc.freeze()  # what it was forked with lives to its end: looking through it for garbage would only copy its pages
    os.chdir(order.folder)
    own = order.params.train.epochs
    reporter = Reporter(pipe, (own,) if order.work else short_training.epochs_in_turn(order.params))
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


def _train(order: Order, reporter: Reporter, stop: interrupt.Interrupt) -> None:
    from stages.learn.time_limit import process_began
    from stages.parallel import preloaded

    terms = replace(order.terms, imported=preloaded.seconds_before(process_began()), stop=stop)
    train = order.work.train if order.work else preloaded.run
    train(order.params, Talk(say=reporter.say, track=reporter.track), order.number, terms)


def _note_orphaned(orphaned: threading.Event) -> None:
    """A worker whose parent was killed writes its checkpoint and ends, as after Ctrl-C."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        orphaned.set()
