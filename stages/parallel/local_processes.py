"""Trainings as processes of this machine: the engine that folds, refit and screen use.

On a CPU each has a process of its own. On a GPU a training whose steps are captured as CUDA graphs fills the card by itself, so
they go one after the other, and a process that has done one takes the next: imports, CUDA's context and the kernels that
cuDNN compiles, seconds each, are there already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing import connection
from pathlib import Path
from typing import Any

from stages.base import cores
from stages.parallel import training_process
from stages.parallel.engine import ENDS, Message, Training
from stages.parallel.gpus import Gpus
from stages.parallel.training_process import ENDED_BY_THE_SYSTEM, Order, Worker, how_it_ended


@dataclass
class LocalProcesses:
    """An Engine; what a training says comes through a pipe of its process."""

    retries: int = 0
    gpus: Gpus | None = None  # that trainings are dealt out to; None: they compute on the CPU
    at_work: dict[int, Worker] = field(default_factory=dict)  # by id() of the training
    idle: list[Worker] = field(default_factory=list)  # that wait for another order
    leaving: list[Worker] = field(default_factory=list)  # that were told to end

    @cached_property
    def context(self) -> Any:
        return training_process.context()

    def slots(self, order: Order) -> int:
        return self.gpus.slots() if self.gpus else max(1, cores.available() // order.cores)

    def submit(self, order: Order) -> Training:
        if self.gpus:
            # Not at the top: it imports torch, which those that only start trainings on the CPU do not need.
            from stages.learn import captured_step

            order = replace(order, gpu=self.gpus.take(), stays=captured_step.wanted(order.params))
        training = Training(order)
        self.at_work[id(training)] = self._kept(order) or self._new(order)
        return training

    def wait(self, running: Sequence[Training], seconds: float) -> list[Message]:
        """One message of each that has any."""
        while self.idle:  # all that waited has been submitted
            self._dismiss(self.idle.pop())
        ready = set(connection.wait([self._worker(training).pipe for training in running], timeout=seconds))
        heard = [self._hear(training) for training in running if self._worker(training).pipe in ready]
        return [message for message in heard if message]

    def _new(self, order: Order) -> Worker:
        return training_process.start(self.context, order, self.context.Event())

    def _kept(self, order: Order) -> Worker | None:
        """A process that is kept for this GPU and has been given the order; None where none is.

        One that would do it otherwise than a new one, or is no more, makes room.
        """
        for worker in [worker for worker in self.idle if worker.order.gpu == order.gpu]:
            self.idle.remove(worker)
            fits = not worker.stop.is_set() and training_process.as_in_a_new_one(worker.order, order)
            if fits and worker.take(order):
                return worker
            self._dismiss(worker)
            worker.exit_code()
        return None

    def _dismiss(self, worker: Worker) -> None:
        worker.pipe.close()
        self.leaving.append(worker)

    def _hear(self, training: Training) -> Message | None:
        worker = self._worker(training)
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):  # it has ended, one way or another
            if worker.orders > 1 and not worker.stop.is_set():
                return self._in_a_new_one(training, worker)
            code = worker.exit_code()
            kind, value = "lost" if code in ENDED_BY_THE_SYSTEM else "failed", how_it_ended(code)
        worker.heard = True
        if kind == "full":
            kind = "failed"
        gpu = training.order.gpu
        if self.gpus and gpu and kind == "peak" and not training.order.stays:
            self.gpus.measured(gpu, *value)
        if kind in ENDS:
            self._ended(training, worker, kind)
        return Message(training, kind, value)

    def _ended(self, training: Training, worker: Worker, kind: str) -> None:
        if training.order.stays and kind == "done" and not worker.stop.is_set():
            self.idle.append(worker)
        else:
            worker.pipe.close()  # else one that has not seen that it is to stop would wait for an order
            worker.exit_code()
        if self.gpus and training.order.gpu:
            self.gpus.leave(training.order.gpu)
        del self.at_work[id(training)]

    def _in_a_new_one(self, training: Training, worker: Worker) -> Message | None:
        """Start a training again whose process has ended without a word, where others had been in that process before: it may
        be what they left that ended it.
        """
        worker.pipe.close()
        told = how_it_ended(worker.exit_code())
        self.at_work[id(training)] = self._new(training.order)
        if not worker.heard:  # it was gone before it could take the order
            return None
        return Message(training, "say", f"{training.order.name}: {told}; it goes on in a new one")

    def cancel(self, running: Sequence[Training]) -> None:
        for training in running:
            self._worker(training).stop.set()

    def log(self, training: Training) -> Path | None:
        return None

    def close(self, running: Sequence[Training]) -> None:
        self.cancel(running)
        # Nobody listens any more: none shall wait for that.
        for worker in [*self.idle, *(self._worker(training) for training in running)]:
            self._dismiss(worker)
        for worker in self.leaving:
            worker.exit_code()

    def _worker(self, training: Training) -> Worker:
        return self.at_work[id(training)]
