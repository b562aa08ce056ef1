"""Trainings in processes of their own: progress, ends that nobody chose, and where their sockets lie."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import folds
from stages.parallel import progress_display, sockets, training_process
from stages.parallel.progress_display import Bar, Reporter
from stages.params.schema import Params
from tests.conftest import ROOT, small

posix = pytest.mark.skipif(os.name != "posix", reason="signals and sockets of Unix")


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


def test_an_end_is_told_as_what_it_was() -> None:
    assert "lack of memory" in training_process.how_it_ended(-9)
    assert "lack of memory" in training_process.how_it_ended(255)  # the process that forks the workers was killed
    assert training_process.how_it_ended(-11) == "its process was ended by signal 11"
    assert training_process.how_it_ended(1) == "its process ended with code 1"


class Shown:
    """What a progress display was asked for: where each began, and how far it came."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self.at = 0

    def track(self, items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
        self.began.append((done, total))
        for self.at, item in enumerate(items, done):
            yield item


def test_a_display_begins_where_the_trainings_are() -> None:
    shown = Shown()
    bar = Bar(Talk(track=shown.track), "epochs", [0, 1], epochs=10)
    bar.begins(0, 0.5)
    bar.begins(1, 1.0)
    assert shown.began == [(0, 20), (5, 20), (15, 20)]
    bar.move(0, 0.8)
    assert shown.at == 18


def test_a_worker_tells_where_it_begins_and_what_share_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_display, "TELL_EVERY", 0.0)
    told: list[tuple[str, float]] = []

    class Pipe:
        def send(self, message: tuple[str, float]) -> None:
            told.append(message)

    reporter = Reporter(Pipe(), repeats=2, epochs=10)  # type: ignore[arg-type]
    list(reporter.track(range(2), 4, "", done=2))
    list(reporter.track(range(4), 4, ""))
    shares = [0.25, 0.375, 0.5, 0.5, 0.625, 0.75, 0.875, 1.0]
    assert told == [("begins" if number in (0, 3) else "share", share) for number, share in enumerate(shares)]


STARTED = """
import multiprocessing, os, sys, tempfile
from stages.parallel import sockets
if __name__ == "__main__":
    before = tempfile.gettempdir()
    assert sockets.placed()
    process = multiprocessing.get_context("forkserver").Process(target=os._exit, args=(7,))
    process.start()
    process.join()
    print(process.exitcode, tempfile.gettempdir() == before, tempfile.mkdtemp().startswith(before))
"""


@posix
@pytest.mark.parametrize("length", [10, 91, 200])
def test_processes_start_whatever_the_length_of_tmpdir_which_other_files_keep_to(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("t" * max(1, length - len(str(tmp_path)) - 1))
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    Path(tmp_path / "started.py").write_text(STARTED)
    words = [sys.executable, str(tmp_path / "started.py")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "True", "True"]
    assert [path.name for path in folder.iterdir() if path.name.startswith("pymp-")] == []


@posix
def test_sockets_lie_in_the_first_folder_that_is_short_and_there(tmp_path: Path) -> None:
    long = tmp_path / ("t" * 100)
    long.mkdir()
    assert sockets.short_folder([str(long), str(tmp_path / "gone"), "/tmp"]) == "/tmp"
    assert sockets.short_folder([str(long)]) is None
    assert sockets.fits("x" * (103 - 32))
    assert not sockets.fits("x" * (103 - 31))


@posix
def test_without_a_place_for_sockets_processes_are_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_process.sockets, "placed", lambda: False)
    assert training_process.context().get_start_method() == "spawn"
