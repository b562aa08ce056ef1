"""Trainings side by side, and ends that nobody chose."""

import datetime
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import folds
from stages.learn.training_terms import Terms
from stages.parallel import side_by_side, training_process
from stages.parallel.engine import Message, Training
from stages.parallel.training_process import Order
from stages.params.schema import Params
from tests.conftest import small

posix = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")


@pytest.fixture
def settled(project: Path) -> Params:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml", "threads": {"0": 1, "1": 1}, "device": "cpu"})
    return small(train={"epochs": 3}, parallel={"jobs": 2, "threads": 1})


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The process id of each fold's worker, as they are started."""
    found: dict[int, int] = {}
    start = training_process.start

    def noted(context: Any, order: training_process.Order, stop: Any) -> training_process.Worker:
        worker = start(context, order, stop)
        assert worker.process is not None
        found[order.number] = worker.process.pid or 0
        return worker

    monkeypatch.setattr(training_process, "start", noted)
    return found


@posix
def test_a_fold_that_the_system_kills_goes_on_with_fewer_at_a_time_and_comes_out_the_same(
    settled: Params, processes: dict[int, int]
) -> None:
    folds.run(settled, SILENT)
    undisturbed = [paths.weights(fold).read_bytes() for fold in (0, 1)]
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "fold 1 epoch  1/3" in line and sum("fold 1 epoch" in one for one in said) == 1:
            os.kill(processes[1], signal.SIGKILL)

    folds.run(settled, Talk(say), fresh=True)
    assert sum(line.startswith("fold 1: the system ended its process, most likely for lack") for line in said) == 1
    assert any(line.endswith("it goes on later, now 1 at a time") for line in said)
    assert [paths.weights(fold).read_bytes() for fold in (0, 1)] == undisturbed


@posix
def test_a_fold_that_the_system_kills_while_it_is_alone_ends_in_a_line_that_says_what_to_set(
    settled: Params, processes: dict[int, int]
) -> None:
    def say(line: str) -> None:
        if "fold 1 epoch  1/3" in line:
            os.kill(processes[1], signal.SIGKILL)

    with pytest.raises(UserError) as raised:
        folds.run(settled, Talk(say), jobs=1)
    told = str(raised.value)
    assert told.startswith("fold 1: the system ended its process, most likely for lack of memory (there is room for ")
    assert "; done and kept: 0; train fewer at a time (parallel.jobs), lower train.batch_size" in told
    assert paths.oof_logits(0).exists()


@posix
def test_workers_end_where_nobody_hears_what_they_say(settled: Params, processes: dict[int, int]) -> None:
    def say(line: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        folds.run(settled.model_copy(update={"train": settled.train.model_copy(update={"epochs": 500})}), Talk(say))
    for process in processes.values():
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@dataclass
class Scripted:
    """An engine that runs nothing: of each fold, what is said of it every time that it is submitted."""

    scripts: dict[int, list[list[tuple[str, Any]]]]
    room: int = 2
    retries: int = 2
    submitted: list[Order] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    closed: bool = False

    def slots(self, order: Order) -> int:
        return self.room

    def submit(self, order: Order) -> Training:
        assert self.scripts[order.number] or order.number not in [one.number for one in self.submitted], (
            "submitted too often"
        )
        self.submitted.append(order)
        return Training(order)

    def wait(self, running: Sequence[Training], seconds: float) -> list[Message]:
        """The next part of the first script that has any; what is at its end stops if it was asked to."""
        for training in running:
            number = training.order.number
            if self.scripts[number]:
                return [Message(training, *one) for one in self.scripts[number].pop(0)]
            if number in self.cancelled:
                return [Message(training, "stopped", f"fold {number} had not begun")]
        return []

    def cancel(self, running: Sequence[Training]) -> None:
        self.cancelled += [training.order.number for training in running]

    def log(self, training: Training) -> Path | None:
        return None

    def close(self, running: Sequence[Training]) -> None:
        self.closed = True


def ordered(folds: Sequence[int], **terms: Any) -> list[Order]:
    return [Order(Path.cwd(), small(train={"epochs": 2}), fold, None, Terms(**terms), []) for fold in folds]


LOST = [("begins", 0.0), ("say", "fold 0 epoch  1/2"), ("kept", "epoch 1"), ("lost", "its machine is gone")]
DONE = [("begins", 0.5), ("done", "")]


def test_what_is_lost_goes_on_elsewhere_a_few_times_and_does_not_begin_anew() -> None:
    engine, said = Scripted({0: [LOST, LOST, DONE], 1: [DONE]}), []
    ended = side_by_side.run_on(engine, ordered([0, 1], fresh=True), Talk(said.append))
    assert [training.outcome for training in ended] == ["done", "done"]
    assert [order.terms.fresh for order in engine.submitted if order.number == 0] == [True, False, False]
    assert "fold 0: its machine is gone; it goes on from epoch 1 (loss 1 of 2)" in said
    assert engine.closed


def test_what_is_lost_too_often_is_told_beside_what_is_done() -> None:
    engine = Scripted({0: [LOST, LOST, LOST], 1: [DONE]})
    ended = side_by_side.run_on(engine, ordered([0, 1]), SILENT)
    assert [training.outcome for training in ended] == ["lost", "done"]
    with pytest.raises(UserError, match=r"^fold 0: its machine is gone; done and kept: 1; see its machines, and run"):
        side_by_side.report(ended, "see its machines")


def test_the_time_that_is_left_is_shared_over_the_rounds_that_are_left() -> None:
    engine = Scripted({fold: [DONE] for fold in range(5)})
    until = datetime.datetime.now().astimezone() + datetime.timedelta(hours=1)
    side_by_side.run_on(engine, ordered(range(5), until=until), SILENT)
    assert [order.terms.rounds for order in engine.submitted] == [3, 2, 2, 1, 1]
    assert all(order.terms.used is not None for order in engine.submitted)


def test_what_has_not_begun_when_its_time_is_up_is_given_up_and_the_rest_goes_on() -> None:
    until = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=0.3)
    engine = Scripted({0: [[("begins", 0.0)]], 1: [], 2: []})
    cancel = engine.cancel

    def cancelled(running: Sequence[Training]) -> None:
        cancel(running)
        if 1 in engine.cancelled and not engine.scripts[0]:
            engine.scripts[0] = [DONE]  # what has begun keeps to its time itself

    engine.cancel = cancelled  # type: ignore[method-assign]
    ended = side_by_side.run_on(engine, ordered([0, 1, 2], until=until), SILENT)
    assert [training.outcome for training in ended] == ["done", "failed", "failed"]
    assert {training.error for training in ended[1:]} == {"the time was up before it could begin"}
    assert 0 not in engine.cancelled


def test_what_a_signal_stopped_before_this_process_looked_says_where_it_is_kept() -> None:
    engine = Scripted({0: [[("begins", 0.0), ("stopped", "fold 0 is kept at epoch 1")]], 1: [DONE]})
    ended = side_by_side.run_on(engine, ordered([0, 1]), SILENT)
    assert [(training.outcome, training.error) for training in ended] == [
        ("stopped", "fold 0 is kept at epoch 1"),
        ("done", ""),
    ]
