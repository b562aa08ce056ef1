"""One progress display over trainings in several processes: what each of them tells, and what the parent shows."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from stages.base import gpu
from stages.base.talk import Talk

TELL_EVERY = 0.2  # seconds between two reports of a training's progress


@dataclass
class Reporter:
    """A worker's side of the pipe to its parent, as a Talk wants it."""

    pipe: connection.Connection
    epochs: tuple[int, ...]  # of each training that it does, one after the other
    place: int = 0  # of the one it is at
    told_peak: bool = False

    def tell(self, kind: str, value: Any) -> None:
        with suppress(OSError):  # the parent is gone
            self.pipe.send((kind, value))

    def say(self, line: str) -> None:
        self.tell("say", line)

    def warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        self.say(f"warning: {message}")

    def track(self, items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
        """Tell what share of the trainings is done, by their epochs: each tracks its steps once."""
        told, epochs = 0.0, self.epochs[self.place]
        self.tell("begins", self._share(done / total))
        for number, item in enumerate(items, done + 1):
            yield item
            now = time.monotonic()
            if now - told >= TELL_EVERY:
                told = now
                self.tell("share", self._share(number / total))
                if number * epochs > total:  # an epoch and its validation are behind
                    self._tell_peak()
        self.place += 1

    def _share(self, part: float) -> float:
        """Share of all that is done at a part of the training it is at."""
        return (sum(self.epochs[: self.place]) + part * self.epochs[self.place]) / sum(self.epochs)

    def _tell_peak(self) -> None:
        # Not where a GPU is merely there: one that is broken, or left alone, must not be asked.
        if gpu.usable() and not self.told_peak:
            import torch

            self.told_peak = True
            self.tell("peak", (torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[0]))


class Bar:
    """The parent's display, in epochs of all trainings together. epochs: of each, by its number; `label`: what they are."""

    def __init__(self, talk: Talk, label: str, epochs: Mapping[int, int]) -> None:
        self.talk, self.label, self.epochs = talk, label, epochs
        self.shares = dict.fromkeys(epochs, 0.0)
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
        return int(sum(share * self.epochs[number] for number, share in self.shares.items()) + 1e-6)

    def _show(self) -> None:
        total, self.shown = sum(self.epochs.values()), self._epochs()
        self.ticks: Iterator[int] = iter(self.talk.track(range(self.shown, total), total, self.label, self.shown))
        next(self.ticks, None)  # shows the display; a tick is counted when the next one is asked for
