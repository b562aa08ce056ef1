"""Trainings side by side, and ends that nobody chose."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import folds
from stages.parallel import training_process
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
