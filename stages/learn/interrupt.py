"""Ctrl-C and its kin during training: noted, so that the running step ends whole and a checkpoint is written.

SIGINT is Ctrl-C, SIGTERM what systems send before they kill, SIGHUP a lost terminal, SIGUSR1 Slurm's warning before its time
limit (`sbatch --signal`).
"""

import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

Interrupt = Callable[[], bool]  # whether somebody asked to stop
TOGETHER = 10  # steps between two looks of processes at each other
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # Windows has the first two


def no_interrupt() -> bool:
    return False


def heeded() -> list[signal.Signals]:
    """The signals that ask this process to stop: those of NAMES that it was not started to ignore, as under nohup."""
    known = [signal.Signals[name] for name in NAMES if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def noted() -> Iterator[Interrupt]:
    """Yield a function that says whether a signal of `heeded` has come; a second Ctrl-C acts at once.

    A second one of the others says no more than the first: a lost terminal sends several. Outside the main thread, where
    Python lets nobody handle signals, they act as ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield no_interrupt
        return
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in heeded()}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def agreed(asked: Interrupt) -> Interrupt:
    """`asked` of any of several processes that share the batches: all say yes at the same step.

    All must ask at the same steps; they look at each other every TOGETHER times.
    """
    from stages.learn import processes  # imports torch, which those that only start trainings do not need

    if not processes.several():
        return asked
    calls = itertools.count(1)

    def agreed() -> bool:
        return next(calls) % TOGETHER == 0 and any(processes.of_all(asked()))

    return agreed


@contextmanager
def held(numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Hold signals back until the end of the block; processes started in it hold them for good (`let_come`)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_come(numbers: Sequence[signal.Signals]) -> None:
    """Let signals come that a process holds back since it began."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
