"""Ctrl-C and SIGTERM during training: noted, so that the running step ends whole and a checkpoint is written."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Interrupt = Callable[[], bool]  # whether somebody asked to stop


def no_interrupt() -> bool:
    return False


@contextmanager
def noted() -> Iterator[Interrupt]:
    """Yield a function that says whether SIGINT or SIGTERM has come; a second one acts at once, as Ctrl-C does.

    Outside the main thread, where Python lets nobody handle signals, they act as ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield no_interrupt
        return
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
