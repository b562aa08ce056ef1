"""What goes on around a training: it tells how far it is, keeps checkpoints, follows a time limit and obeys an interrupt.

All of it is one thing, `Around`, which `fit` is handed and turns to at four moments: before the first step, after every
step, after every epoch, and at the end. What is learnt does not depend on it, but where a time limit shortens the schedule.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np

from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.learn import finite, loader, processes
from stages.learn.checkpoint import Keeper
from stages.learn.interrupt import TOGETHER, Interrupt, no_interrupt
from stages.learn.learner import Learner
from stages.learn.progress import Progress, impatient, over
from stages.learn.time_limit import Clock
from stages.learn.validation import time_prediction
from stages.params.schema import Params

CHECK_EVERY = 50  # steps between looks at the loss for NaN; each look makes a GPU wait


def _nothing(progress: Progress) -> None:
    return None


@dataclass
class Around:
    """Of one training. Each part may be left out: by itself training is silent and leaves no trace."""

    talk: Talk = SILENT
    keeper: Keeper | None = None  # writes a checkpoint after every epoch, now and then within one, and before it stops
    clock: Clock | None = None  # where there is a time limit
    interrupt: Interrupt = no_interrupt  # asked at the same steps by all processes that share the batches
    on_epoch: Callable[[Progress], None] = _nothing  # told of every epoch, once its checkpoint is written or underway
    steps: int = 0  # of an epoch
    ticks: Iterator[int] = field(default_factory=lambda: iter(()))  # of the progress display

    @property
    def name(self) -> str:
        """What is trained, in words: fold 0."""
        return self.keeper.name if self.keeper else "training"

    def kept(self) -> str:
        """What is left of a training that fails, as the end of a line."""
        keeper = self.keeper
        self._settle()
        if not keeper or not keeper.kept or keeper.fold < 0:  # of an inner model nothing is submitted
            return ""
        return f"; epoch {keeper.kept} is kept in {keeper.path} for `maskcli submit-now`"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """However training ends in here, no checkpoint is written after that."""
        try:
            yield
        finally:
            self._settle()

    def _settle(self) -> None:
        """Wait for the newest checkpoint; whether it can be written is no matter any more."""
        if self.keeper:
            with suppress(UserError):
                self.keeper.settle()

    def resume(self, learner: Learner) -> Progress:
        """The progress of the training's checkpoint, its state put into the learner; an empty one where there is none."""
        return self.keeper.load(learner, self.talk) if self.keeper else Progress()

    def begin(self, learner: Learner, progress: Progress) -> None:
        """Show how far training is; under a time limit, see how fast photos are predicted here."""
        self.steps = len(loader.training_split(learner.data.train, learner.params, processes.place()[1]))
        total, done = learner.params.train.epochs * self.steps, len(progress.history) * self.steps + len(progress.seen)
        self.ticks = iter(self.talk.track(range(done, total), total, f"train {self.name}", done))
        if self.keeper and learner.accelerator.device.type != "cpu":
            self.keeper.beside = True
        if self.clock:
            self.clock.gone = progress.share if progress.limit else len(progress.history) / learner.params.train.epochs
        if self.clock and not self.clock.rate:
            self.clock.predicted(*time_prediction(learner))

    def after_step(self, learner: Learner, progress: Progress, lr: float) -> None:
        """Look at the clock, at the loss now and then, write a checkpoint where one is due, obey an interrupt."""
        next(self.ticks, None)
        self._hurry(learner, progress)
        asked = self.interrupt()
        due = self._due(learner)
        if asked or due or len(progress.seen) % CHECK_EVERY == 1:
            finite.check_losses(progress, CHECK_EVERY, lr, self.kept)
        if asked or due:
            self._save(learner, progress)
        if asked:
            raise self._interrupted(learner, progress)

    def after_epoch(self, learner: Learner, progress: Progress, validating: float) -> None:
        """The same after an epoch, whose validation took `validating` seconds; decides whether it was the last."""
        if self.clock:
            self.clock.predicted(
                len(learner.data.val) // processes.place()[1], validating
            )  # as one predicts the submission
            self._hurry(learner, progress)
        if self.keeper and self.clock:
            self.keeper.rate = self.clock.rate
        progress.finished = over(progress, learner.params)
        self._save(learner, progress)  # before anything is told of the epoch: what tells may fail
        self.on_epoch(progress)
        if self.interrupt() and not progress.finished:
            raise self._interrupted(learner, progress)

    def end(self, learner: Learner, progress: Progress) -> None:
        """Say why training ended before its last epoch, where it did by itself; close the progress display."""
        self._close(learner.params, progress)

    def finished(self, params: Params, photos: int) -> Progress | None:
        """The progress of a training on so many photos that has finished before, shown as such; None where it has not. Nothing
        of it has to be learnt, so no learner is needed.
        """
        progress = self.keeper.finished(self.talk) if self.keeper else None
        if progress is not None:
            steps = params.train.epochs * len(loader.training_split(np.arange(photos), params, processes.place()[1]))
            self.ticks = iter(self.talk.track(range(0), steps, f"train {self.name}", steps))
            self._close(params, progress)
        return progress

    def _close(self, params: Params, progress: Progress) -> None:
        if impatient(progress, params):
            epochs, patience = len(progress.history), params.train.patience
            self.talk.say(f"{self.name}: stopped after epoch {epochs}: {patience} epochs brought nothing better")
        for _ in self.ticks:
            pass

    def _hurry(self, learner: Learner, progress: Progress) -> None:
        """Let the schedule follow the clock from when steps alone would not reach its end in time."""
        if not self.clock:
            return
        by_steps = (len(progress.history) + len(progress.seen) / self.steps) / learner.params.train.epochs
        clock = self.clock
        # One clock for all processes.
        slow, by_time = processes.of_main(lambda: (bool(progress.limit) or clock.too_slow(by_steps), clock.share()))
        if slow and by_time > by_steps:
            progress.limit = clock.limit
            progress.share = max(progress.share, by_time)

    def _due(self, learner: Learner) -> bool:
        """Whether it is time for a checkpoint, by the clock of the process that writes it."""
        keeper = self.keeper
        if keeper is None or (processes.several() and learner.updates % TOGETHER):
            return False
        return processes.of_main(keeper.due)

    def _save(self, learner: Learner, progress: Progress) -> None:
        """Write the checkpoint; the others wait, as their next step would not for as long as a disk may take."""
        if self.keeper:
            self.keeper.save(learner, progress)
            processes.wait()

    def _interrupted(self, learner: Learner, progress: Progress) -> KeyboardInterrupt:
        """What ends training once its checkpoint is written: the first of several processes to end would end them all."""
        if self.keeper:
            self.keeper.settle()
        processes.wait()
        return self.keeper.interrupted(progress) if self.keeper else KeyboardInterrupt()
