"""Trainings as processes of this machine: the engine that folds, refit and screen use."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import connection
from pathlib import Path
from typing import Any

from stages.base import cores
from stages.parallel import training_process
from stages.parallel.engine import ENDS, Message, Training
from stages.parallel.training_process import ENDED_BY_THE_SYSTEM, Order, Worker, how_it_ended


@dataclass
class LocalProcesses:
    """An Engine; what a training says comes through a pipe of its own."""

    retries: int = 0
    at_work: dict[int, tuple[Worker, Any]] = field(
        default_factory=dict
    )  # by id() of the training: process, event that stops it

    @cached_property
    def context(self) -> Any:
        return training_process.context()

    def slots(self, order: Order) -> int:
        return max(1, cores.available() // order.cores)

    def submit(self, order: Order) -> Training:
        training, stop = Training(order), self.context.Event()
        self.at_work[id(training)] = training_process.start(self.context, order, stop), stop
        return training

    def wait(self, running: Sequence[Training], seconds: float) -> list[Message]:
        """One message of each that has any."""
        ready = set(connection.wait([self._worker(training).pipe for training in running], timeout=seconds))
        return [self._hear(training) for training in running if self._worker(training).pipe in ready]

    def _hear(self, training: Training) -> Message:
        worker = self._worker(training)
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):  # it has ended, one way or another
            code = worker.exit_code()
            kind, value = "lost" if code in ENDED_BY_THE_SYSTEM else "failed", how_it_ended(code)
        if kind == "full":
            kind = "failed"
        if kind in ENDS:
            worker.exit_code()
            del self.at_work[id(training)]
        return Message(training, kind, value)

    def cancel(self, running: Sequence[Training]) -> None:
        for training in running:
            self.at_work[id(training)][1].set()

    def log(self, training: Training) -> Path | None:
        return None

    def close(self, running: Sequence[Training]) -> None:
        self.cancel(running)
        for training in running:
            self._worker(training).pipe.close()  # nobody listens any more: none shall wait for that
            self._worker(training).exit_code()

    def _worker(self, training: Training) -> Worker:
        return self.at_work[id(training)][0]
