"""Trainings that take turns in one process, as on a GPU whose steps are captured. The list of GPUs is faked, the processes are
real.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from stages import train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import load_npz, write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import folds
from stages.learn import captured_step, checkpoint
from stages.learn.training_terms import Terms
from stages.parallel import side_by_side, training_process
from stages.parallel.engine import Message
from stages.parallel.gpus import Gpus
from stages.parallel.local_processes import LocalProcesses
from stages.parallel.side_by_side import Plan
from stages.parallel.training_process import Order, Work
from stages.params.schema import Params
from tests.conftest import HANGS, small

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")


@pytest.fixture(autouse=True)
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_step, "wanted", lambda params: True)


def note(params: Params, talk: Talk, number: int, terms: Terms) -> None:
    """In a training's place: which process it is, and what it was told of its time."""
    told = {"process": os.getpid(), "taken_up": terms.taken_up, "imported": terms.imported, "now": time.monotonic()}
    Path(f"saw{number}.json").write_text(json.dumps(told))


def stumble(params: Params, talk: Talk, number: int, terms: Terms) -> None:
    """As `note`; number 1 fails, and number 3 is killed by the system the first time, once it has said something."""
    note(params, talk, number, terms)
    if number == 1:
        raise UserError("it cannot be learnt")
    if number == 3 and not Path("killed").exists():
        Path("killed").touch()
        talk.say("it begins")
        os.kill(os.getpid(), signal.SIGKILL)


def saw(number: int, what: str = "process") -> Any:
    return json.loads(Path(f"saw{number}.json").read_text())[what]


def plan(train: Callable[..., None], count: int, jobs: int = 1, gpus: tuple[str, ...] = ("0",)) -> Plan:
    numbers = list(range(count))
    work = Work(train, {number: f"note {number}" for number in numbers}, "notes", "note")
    return Plan(numbers, jobs, dict.fromkeys(numbers, 1), work=work, gpus=gpus)


def test_trainings_of_a_gpu_take_turns_in_one_process_and_none_is_left(project: Path) -> None:
    side_by_side.run(small(), SILENT, plan(note, 3))
    assert len({saw(number) for number in range(3)}) == 1
    assert not psutil.pid_exists(saw(0))


def test_one_that_sets_for_good_what_the_next_one_would_not_leaves_it_a_new_process(project: Path) -> None:
    """As candidates of a screening with another precision: accelerate keeps a process's first."""
    own = {1: small(loss="focal"), 2: small(train={"mixed_precision": "bf16"})}
    asked = plan(note, 3)
    assert asked.work is not None
    side_by_side.run(small(), SILENT, replace(asked, work=replace(asked.work, params=own)))
    assert saw(0) == saw(1) != saw(2)


def test_each_gpu_has_a_process_of_its_own(project: Path) -> None:
    side_by_side.run(small(), SILENT, plan(note, 4, jobs=2, gpus=("0", "1")))
    assert len({saw(number) for number in range(4)}) == 2


def test_on_a_cpu_and_without_captured_steps_each_has_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side_by_side.run(small(), SILENT, plan(note, 2, gpus=()))
    assert saw(0) != saw(1)
    monkeypatch.setattr(captured_step, "wanted", lambda params: False)
    side_by_side.run(small(), SILENT, plan(note, 2))
    assert saw(0) != saw(1)


def test_the_time_of_a_later_one_begins_when_it_is_taken_up(project: Path) -> None:
    side_by_side.run(small(), SILENT, plan(note, 2))
    assert 0 < saw(0, "taken_up") < saw(0, "now") < saw(1, "taken_up") < saw(1, "now")
    assert saw(1, "now") - saw(1, "taken_up") < 1
    assert saw(1, "imported") >= saw(0, "imported") > 0  # what a process that starts later takes is known to both


def test_one_that_fails_and_one_that_is_killed_leave_the_others_to_new_processes(project: Path) -> None:
    said: list[str] = []
    with pytest.raises(
        UserError, match=r"^note 1: it cannot be learnt; done and kept: note 0, note 2, note 3, note 4; "
    ):
        side_by_side.run(small(), Talk(said.append), plan(stumble, 5))
    assert saw(0) == saw(1) != saw(2) != saw(3) == saw(4)
    assert sum("note 3: the system ended its process" in line and "in a new one" in line for line in said) == 1


@pytest.fixture
def engine() -> Iterator[LocalProcesses]:
    made = LocalProcesses(gpus=Gpus(("",)))  # as it is seen: "0" would be warned of where there is none
    yield made
    made.close([])


def done(engine: LocalProcesses, order: Order) -> list[Message]:
    """What is heard of a training, until it has ended."""
    training, heard, until = engine.submit(order), [], time.monotonic() + HANGS
    while not (heard and heard[-1].kind in ("done", "failed", "stopped", "lost")) and time.monotonic() < until:
        heard += engine.wait([training], 1.0)
    return heard


def order(number: int, folder: Path, **changes: Any) -> Order:
    work = Work(note, {0: "note 0", 1: "note 1"}, "notes", "note")
    return Order(folder, small(**changes), number, work, Terms(), [signal.SIGINT])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_one_that_ends_while_it_waits_is_replaced_in_silence(
    project: Path, engine: LocalProcesses, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    done(engine, order(0, project))
    os.kill(saw(0), number)
    assert [message.kind for message in done(engine, order(1, project))] == ["done"]
    assert saw(1) != saw(0)
    assert "Traceback" not in capfd.readouterr().err


def test_one_that_has_nothing_to_do_is_let_go_of(project: Path, engine: LocalProcesses) -> None:
    done(engine, order(0, project))
    engine.wait([], 0)
    assert not psutil.wait_procs([psutil.Process(saw(0))] if psutil.pid_exists(saw(0)) else [], timeout=HANGS)[1]


@pytest.mark.parametrize("changes", [{"train": {"mixed_precision": "bf16"}}, {"train": {"deterministic": True}}])
def test_a_process_takes_none_that_sets_other_things_for_good(
    project: Path, engine: LocalProcesses, changes: dict[str, Any]
) -> None:
    done(engine, order(0, project))
    done(engine, order(1, project, **changes))
    assert saw(0) != saw(1)
    done(engine, order(0, project, loss="focal", **changes))
    assert saw(0) == saw(1)


def test_one_that_was_asked_to_stop_takes_no_other(project: Path, engine: LocalProcesses) -> None:
    first = engine.submit(order(0, project))
    heard = engine.wait([first], HANGS)
    assert [message.kind for message in heard] == ["done"]
    engine.idle[0].stop.set()
    done(engine, order(1, project))
    assert saw(0) != saw(1)


@pytest.fixture
def settled(project: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The folds of a project take turns on a made-up GPU, and compute on the CPU."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml", "threads": {"0": 1, "1": 1}, "device": "cpu"})
    monkeypatch.setattr(folds, "gpus_here", lambda params: ("0",))
    monkeypatch.setattr(folds, "in_turn", lambda params: True)
    return small(train={"epochs": 1}, parallel={"jobs": 1}, augment={"pipeline": "light", "mixup": 0.2})


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The folds for which a process was started."""
    found: list[int] = []
    start = training_process.start

    def noted(context: Any, order: Order, stop: Any) -> training_process.Worker:
        found.append(order.number)
        return start(context, order, stop)

    monkeypatch.setattr(training_process, "start", noted)
    return found


def outputs(fold: int) -> tuple[bytes, list[Any]]:
    with paths.oof_logits(fold).open("rb") as file:
        arrays = load_npz(file, ["photo", "selected", "last"])
    return paths.weights(fold, 0).read_bytes(), [array.tolist() for array in arrays.values()]


def test_folds_of_one_process_come_out_as_each_alone(settled: Params, processes: list[int]) -> None:
    folds.run(settled, SILENT, only=[1, 0])
    assert processes == [1]
    together = [outputs(fold) for fold in (0, 1)]
    for fold in (0, 1):
        train.run(settled, SILENT, fold, Terms(fresh=True))
        assert outputs(fold) == together[fold]


def test_dvc_has_all_folds_trained_by_the_process_of_the_first_and_writes_them_later(
    settled: Params, processes: list[int]
) -> None:
    assert folds.ahead(settled, SILENT, 0, False, None)
    assert processes == [0]
    assert all(header.finished for header in checkpoint.headers())
    assert {header.fold for header in checkpoint.headers()} == {0, 1}
    assert paths.oof_logits(0).exists()
    assert not paths.history(1).exists()
    assert not folds.ahead(settled, SILENT, 1, False, None)  # its own stage writes what is there
    assert processes == [0]
    train.run(settled, SILENT, 1)
    taken = outputs(1)
    assert folds.ahead(settled.model_copy(update={"seed": 1}), SILENT, 1, False, None)
    train.run(settled, SILENT, 1, Terms(fresh=True))
    assert outputs(1) == taken


@pytest.mark.slow
def test_folds_in_turn_share_a_time_limit_evenly(settled: Params, processes: list[int]) -> None:
    params = settled.model_copy(
        update={
            "train": settled.train.model_copy(update={"epochs": 10_000}),
            "budget": settled.budget.model_copy(update={"minutes": 0.6}),
        }
    )
    began = time.monotonic()
    folds.run(params, SILENT)
    assert time.monotonic() - began < 0.6 * 60
    assert processes == [0]
    found = {header.fold: header for header in checkpoint.headers()}
    assert all(found[fold].finished and found[fold].limit == "0.6 minutes" for fold in (0, 1))
    seconds = {fold: pd.read_csv(paths.history(fold))["seconds"].sum() for fold in (0, 1)}
    assert 0.5 < seconds[0] / seconds[1] < 2
