import signal
import subprocess
import time
from typing import Any

import filelock
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml

from stages import lr_find, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import load_npz, read_json, write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import folds
from stages.learn import captured_step, checkpoint, time_limit
from stages.learn.time_limit import Clock
from stages.learn.training_terms import Terms
from stages.parallel import preloaded
from stages.parallel.engine import Message, Training
from stages.parallel.local_processes import LocalProcesses
from stages.parallel.side_by_side import Plan
from stages.parallel.training_process import Order
from stages.params.schema import Params
from tests.conftest import ENVIRONMENT, HANGS, small


@pytest.fixture
def settled(project: object) -> Params:
    """Params for one epoch of two folds, the learning rate settled; the project is the working folder."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml", "threads": {"0": 1, "1": 1}, "device": "cpu"})
    return small(train={"epochs": 1}, parallel={"jobs": 2})


def oof(fold: int) -> dict[str, np.ndarray]:
    with paths.oof_logits(fold).open("rb") as file:
        return load_npz(file, ["photo", "selected", "last"])


def test_a_failing_fold_leaves_the_other_and_both_come_out_as_one_by_one(settled: Params) -> None:
    paths.CHECKPOINTS.mkdir(parents=True)
    write_json(paths.CHECKPOINTS / "1.holder.json", {"process": 1, "run": "another"})
    with (
        filelock.FileLock(paths.CHECKPOINTS / "1.lock"),
        pytest.raises(UserError, match=r"^fold 1: .* trains fold 1 with other params.*; done and kept: 0; mend it"),
    ):
        folds.run(settled, SILENT)
    assert not paths.oof_logits(1).exists()
    said: list[str] = []
    folds.run(settled, Talk(say=said.append))
    assert any(line.startswith("fold 0: goes on from") for line in said)
    together = [(oof(fold), paths.weights(fold, 0).read_bytes()) for fold in (0, 1)]
    for fold in (0, 1):
        train.run(settled, SILENT, fold, Terms(fresh=True))
        arrays, weights = together[fold]
        assert all((arrays[name] == array).all() for name, array in oof(fold).items())
        assert paths.weights(fold, 0).read_bytes() == weights


def test_training_ahead_leaves_checkpoints_only(settled: Params) -> None:
    assert folds.ahead(settled, SILENT, 1, False, None)
    assert paths.oof_logits(1).exists()
    assert not paths.history(0).exists()
    said: list[str] = []
    train.run(settled, Talk(say=said.append), 0)
    assert any(line.startswith("fold 0: goes on from") for line in said)
    assert paths.oof_logits(0).exists()


def test_nothing_is_trained_ahead_where_there_is_no_room(settled: Params) -> None:
    assert not folds.ahead(small(), SILENT, 0, False, None)  # one core: OMP_NUM_THREADS is 1 in tests
    assert not paths.TRAIN.exists()


def test_under_a_time_limit_all_folds_share_it_and_are_trained_to_their_end(settled: Params) -> None:
    params = small(train={"epochs": 10_000}, budget={"minutes": 0.6}, parallel={"jobs": 2})
    assert folds.ahead(params, SILENT, 1, False, None)
    assert paths.oof_logits(1).exists()
    assert not paths.history(0).exists()
    found = {header.fold: header for header in checkpoint.headers()}
    assert all(found[fold].finished and found[fold].limit == "0.6 minutes" for fold in (0, 1))
    assert all(0 < found[fold].epoch < 10_000 for fold in (0, 1))  # how far it came is the machine's affair
    train.run(params, SILENT, 0)  # what its own stage does: no training is left
    assert len(pd.read_csv(paths.history(0))) == found[0].epoch


def test_time_is_set_aside_for_the_processes_that_write_what_was_trained_ahead(
    settled: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Clock] = []

    def clock(**values: Any) -> Clock:
        made.append(Clock(**values))
        return made[-1]

    monkeypatch.setattr(time_limit, "Clock", clock)
    params = small(train={"epochs": 1}, budget={"minutes": 5})
    for later in (0, 4):
        train.run(params, SILENT, 0, Terms(fresh=True, jobs=2, later=later, imported=100.0))
    # In turn in one process: none is still to start for the other fold, and time counts from when it was taken up.
    taken_up = time.monotonic()
    train.run(params, SILENT, 0, Terms(fresh=True, jobs=1, later=4, imported=100.0, taken_up=taken_up))
    assert [one.processes for one in made] == [0, 4, 4]
    assert [one.trainings for one in made] == [1, 1, 2]
    assert all(one.startup > 100 for one in made)
    assert made[-1].startup < 150
    assert made[-1].deadline == pytest.approx(taken_up + 5 * 60)


def test_imports_made_before_a_process_began_count_for_its_start() -> None:
    assert preloaded.seconds_before(preloaded.ENDED + 1) == preloaded.ENDED - preloaded.BEGAN > 0
    assert preloaded.seconds_before(preloaded.BEGAN - 1) == 0


def test_a_fold_named_twice_is_trained_once(settled: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def submit(engine: LocalProcesses, order: Order) -> Training:
        started.append(order.number)
        return Training(order, outcome="done")

    monkeypatch.setattr(LocalProcesses, "submit", submit)
    folds.run(settled, SILENT, only=[1, 1])
    assert started == [1]


def test_jobs_follow_cores_and_threads(settled: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds.cores, "available", lambda: 8)
    assert folds.number_of_jobs(small()) == 8
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 3, "1": 4}, "device": "cpu"})
    assert folds.number_of_jobs(small()) == 2
    assert folds.number_of_jobs(small(parallel={"jobs": 5})) == 5
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 8, "1": 8}, "device": "cuda"})
    assert folds.number_of_jobs(small()) == 1


@pytest.mark.parametrize(
    ("device", "captured", "grows"),
    [("cuda", True, False), ("cuda", False, True), ("mps", True, True), ("cpu", True, False)],
)
def test_a_gpu_takes_more_than_one_only_where_one_alone_does_not_fill_it(
    settled: Params, monkeypatch: pytest.MonkeyPatch, device: str, captured: bool, grows: bool
) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 1, "1": 1}, "device": device})
    monkeypatch.setattr(captured_step, "wanted", lambda params: captured)
    plans: list[Plan] = []
    monkeypatch.setattr(folds.side_by_side, "run", lambda params, talk, plan: plans.append(plan))
    folds.run(small(), SILENT)
    assert [(plan.grows, plan.jobs) for plan in plans] == [(grows, 1)]
    plans.clear()
    assert folds.ahead(small(), SILENT, 0, False, None) is (device == "cuda" and captured)
    assert [(plan.wanted, plan.needed(small()), plan.grows) for plan in plans] == [([0], [0, 1], False)] * len(plans)


@pytest.fixture
def running(settled: Params, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The folds that run at each look; from one look to the next the longest-running one ends. No process is started."""
    monkeypatch.setattr(folds.cores, "available", lambda: 2)
    seen: list[list[int]] = []

    def wait(engine: LocalProcesses, running: list[Training], seconds: float) -> list[Message]:
        seen.append([training.order.number for training in running])
        return [Message(running[0], "done")]

    monkeypatch.setattr(LocalProcesses, "submit", lambda engine, order: Training(order))
    monkeypatch.setattr(LocalProcesses, "wait", wait)
    monkeypatch.setattr(LocalProcesses, "cancel", lambda engine, running: None)
    return seen


def test_a_fold_with_all_cores_waits_until_it_is_alone(running: list[list[int]]) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 1, "1": 1, "2": 2}, "device": "cpu"})
    folds.run(small(folds=[0, 1, 2], parallel={"jobs": 2}), SILENT)
    assert running == [[0, 1], [1], [2]]


def test_folds_trained_ahead_begin_until_the_first_has_ended_and_all_of_them_under_a_time_limit(
    running: list[list[int]],
) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 1, "1": 1, "2": 1}, "device": "cpu"})
    assert folds.ahead(small(folds=[0, 1, 2], parallel={"jobs": 2}), SILENT, 1, False, None)
    assert running == [[1, 2], [2]]
    running.clear()
    assert folds.ahead(small(folds=[0, 1, 2], parallel={"jobs": 2}, budget={"minutes": 1}), SILENT, 1, False, None)
    assert running == [[1, 2], [2, 0], [0]]


def test_lr_find_takes_no_more_threads_than_params_allow(project: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    lr_find.run(small(parallel={"threads": 3}), SILENT)
    assert asked[0] == 3
    assert read_json(paths.LR_CHOSEN, "lr-find", "lr")["threads"] == {"0": 3, "1": 3}


def test_an_unknown_fold_is_refused(settled: Params) -> None:
    with pytest.raises(UserError, match=r"--only 7: params\.yaml has folds"):
        folds.run(settled, SILENT, only=[7])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_run_leaves_checkpoints_and_no_processes(
    settled: Params, number: signal.Signals
) -> None:
    long = settled.model_copy(update={"train": settled.train.model_copy(update={"epochs": 10_000})})
    paths.PARAMS.write_text(yaml.safe_dump(long.model_dump(mode="json"), sort_keys=False))
    running = subprocess.Popen(["maskcli", "folds"], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while len({header.fold for header in checkpoint.headers()}) < 2 and running.poll() is None:
        time.sleep(0.2)
    workers = psutil.Process(running.pid).children(recursive=True)
    assert len(workers) >= 2
    before = {header.fold: (header.epoch, header.step) for header in checkpoint.headers()}
    running.send_signal(number)
    running.wait(HANGS)
    assert not psutil.wait_procs(workers, timeout=HANGS)[1]
    after = {header.fold: (header.epoch, header.step) for header in checkpoint.headers()}
    assert set(after) == {0, 1}
    assert all(after[fold] >= before[fold] for fold in after)
    if number == signal.SIGINT:
        assert running.returncode == 130
