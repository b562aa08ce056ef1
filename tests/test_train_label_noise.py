"""Training with label_noise: once a fold, told in its outputs, the same after a cut, and within the time there is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import train
from stages.base import paths
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import refit, screen, submit_now
from stages.by_hand.screen import Choice
from stages.data.fold_data import open_fold
from stages.learn import checkpoint, inner_models, noise_robust, time_limit
from stages.learn.checkpoint import headers
from stages.learn.training_terms import Terms
from stages.parallel.side_by_side import Plan
from stages.params.schema import Params
from stages.records import run_record
from tests.by_hand.test_refit import fold_history
from tests.conftest import ENVIRONMENT, HANGS, ROOT, small
from tests.learn import doubting


@pytest.fixture(autouse=True)
def settled(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    monkeypatch.setattr(noise_robust, "find", doubting.find)
    return project


def noisy(action: str = "drop", **more: Any) -> Params:
    return small(label_noise={"action": action}, **more)


def outputs() -> dict[str, bytes]:
    """What of fold 0 must come out the same, whatever cut it off."""
    found = {path.name: path.read_bytes() for path in (paths.weights(0), paths.oof_logits(0), paths.suspects(0))}
    history = pd.read_csv(paths.history(0)).drop(columns=["seconds", "photos_per_second"])
    return found | {"history": history.to_csv().encode()}


def metrics() -> dict[str, float]:
    found: dict[str, float] = json.loads(paths.train_metrics(0).read_text())
    return found


def test_without_it_the_table_of_suspects_is_a_header_and_metrics_name_none() -> None:
    train.run(small(), SILENT, 0)
    assert paths.suspects(0).read_text() == "file,given,suggested,score,action\n"
    assert not set(metrics()) & {"suspects", "estimated_wrong"}
    assert {header.fold for header in headers()} == {0}


def test_suspects_are_sought_once_for_all_repeats_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    params = noisy(train={"epochs": 2, "repeats": 2})
    said: list[str] = []
    train.run(params, Talk(said.append), 0)
    table, side = pd.read_csv(paths.suspects(0)), open_fold(params, 0)
    assert len(table) == doubting.MOST == metrics()["suspects"]
    assert metrics()["estimated_wrong"] == pytest.approx(1 / len(side.train))
    assert metrics()["train_photos"] == len(side.train) - doubting.MOST
    assert metrics()["val_photos"] == len(side.val)
    assert table["score"].is_monotonic_decreasing
    assert (table["action"] == "drop").all()
    photos = pd.read_csv(paths.PHOTOS).set_index("file").loc[table["file"]]
    names = [side.task.class_names[label] for label in photos["label"]]
    assert table["given"].tolist() == names
    inner = [line for line in said if "inner model" in line]
    assert len(inner) == 4  # two epochs each, once
    assert inner[0].startswith("fold 0, inner model 1 of 2: epoch 1/2 val_nll ")
    told = [line for line in said if "training photos have a label" in line]
    assert len(told) == 1
    assert not [header for header in headers() if header.fold < 0]  # their weights are of no more use
    history = pd.read_csv(paths.history(0))
    drawn = history[[f"drawn_{number}" for number in range(18)]].sum(axis=1)
    assert (drawn == len(side.train) - doubting.MOST).all()
    with np.load(paths.oof_logits(0)) as arrays:  # scored on the labels given
        right = arrays["last"].argmax(-1) == side.labels[arrays["photo"]]
    last = history[history["epoch"] == 2].sort_values("repeat")
    assert last["val_acc"].to_numpy() == pytest.approx(right.mean(1))


@pytest.mark.slow
def test_switched_off_again_no_suspect_is_left_in_the_outputs() -> None:
    train.run(noisy(), SILENT, 0)
    train.run(small(), SILENT, 0)
    assert len(pd.read_csv(paths.suspects(0))) == 0
    assert "suspects" not in metrics()


class Stopped:
    """An interrupt that comes at its number-th question, and stands."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.slow
@pytest.mark.parametrize("asked", [2, 15, 28])  # in the first inner model, in the second, and after both
def test_a_training_that_is_cut_off_anywhere_comes_to_the_same_bytes(asked: int) -> None:
    params = noisy("smooth", train={"epochs": 4, "batch_size": 32})
    train.run(params, SILENT, 0, Terms(fresh=True))
    whole = outputs()
    for path in paths.CHECKPOINTS.glob("*"):
        path.unlink()
    with pytest.raises(KeyboardInterrupt):
        train.run(params, SILENT, 0, Terms(stop=Stopped(asked)))
    assert headers()
    train.run(params, SILENT, 0)
    assert outputs() == whole


def test_while_inner_models_train_there_is_nothing_to_submit_but_the_commonest_class() -> None:
    with pytest.raises(KeyboardInterrupt):
        train.run(noisy(train={"epochs": 6}), SILENT, 0, Terms(stop=Stopped(6)))
    assert any(header.fold < 0 and header.epoch for header in headers())
    assert not submit_now.sources(noisy())


def test_checkpoints_of_inner_models_go_with_their_run() -> None:
    for seed in (1, 2, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            train.run(noisy(seed=seed), SILENT, 0, Terms(stop=Stopped(2)))
    assert len({header.run for header in headers()}) == 1 + checkpoint.KEPT_OF_OTHER_RUNS


@pytest.mark.slow
def test_the_time_that_inner_models_take_is_shared_with_what_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folds of one training each; an inner model, on half of the photos, takes half of one."""
    clocks: list[tuple[str, time_limit.Clock]] = []
    make = time_limit.Timing.clock

    def noted(self: time_limit.Timing, *values: Any) -> Any:
        clock = make(self, *values)
        assert clock is not None
        clocks.append((str(values[1].name), clock))
        return clock

    monkeypatch.setattr(time_limit.Timing, "clock", noted)
    params = noisy(budget={"minutes": 60.0})
    train.run(params, SILENT, None)
    # Of fold 0: two inner models, of fold 1: two more, and two trainings; then less and less.
    assert [clock.trainings for _, clock in clocks] == pytest.approx([4.0, 3.5, 3.0, 2.0, 1.5, 1.0])
    assert all(clock.limit == "60 minutes" for _, clock in clocks)


@pytest.mark.slow
def test_an_inner_model_gets_its_share_of_the_time_and_is_shortened_by_it() -> None:
    params = noisy(train={"epochs": 2000}, budget={"minutes": 0.25})
    began = time.time()
    train.run(params, SILENT, 0)
    assert time.time() - began < 15 * 1.5
    found = inner_models._read(_search_of(params))
    assert found is not None
    assert found.limit == "0.25 minutes"
    assert len(pd.read_csv(paths.history(0))) < 2000


def _search_of(params: Params) -> inner_models.Search:
    run = run_record.mark_of(paths.train_run(0))
    keeper = checkpoint.Keeper(str(run), 0, 0, params.train.epochs, 600.0, asked="0.25 minutes")
    return inner_models.Search(0, 0.003, keeper, SILENT)


@pytest.mark.slow
def test_a_refit_looks_among_all_photos_once_for_all_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    params = noisy(refit={"seeds": 2}, parallel={"jobs": 1})
    fold_history([0.1, 0.2], params)
    said: list[str] = []
    found = refit.run(params, Talk(said.append))
    assert found["train_photos"] == len(pd.read_csv(paths.PHOTOS)) - doubting.MOST
    assert sum("inner model" in line for line in said) == 4
    assert next(line for line in said if "training photos have a label" in line).startswith("refit: 20 of 168 training")
    assert not [header for header in headers() if header.fold < 0]


@pytest.mark.slow
def test_a_screening_tries_it_as_any_other_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(params: Params, talk: Talk, plan: Plan) -> None:
        assert plan.work
        for number in plan.wanted:
            plan.work.train(params, talk, number, Terms())

    monkeypatch.setattr(screen.side_by_side, "run", run)
    found = screen.run(small(), Choice(("label_noise.action=drop",), replicates=100), SILENT)
    rows = {row["change"]: row for row in found["rows"]}
    assert rows["label_noise.action=drop"]["fault"] == ""
    assert rows["label_noise.action=drop"]["macro_f1"] >= 0
    assert not list(paths.CHECKPOINTS.glob("-*"))


KILLED = """
import sys
from stages import train
from stages.base.talk import SILENT
from stages.learn import noise_robust
from stages.params.load import load
from tests.learn import doubting
noise_robust.find = doubting.find
train.run(load(), SILENT, 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("action", ["drop", "weight", "smooth"])
def test_killed_in_an_inner_model_and_after_it_comes_to_the_same_bytes(settled: Path, action: str) -> None:
    params = noisy(
        action, train={"epochs": 12, "batch_size": 16}, checkpoint={"minutes": 0.0005}, parallel={"threads": 1}
    )
    paths.PARAMS.write_text(json.dumps(params.model_dump(mode="json")))

    def start() -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", KILLED]
        return subprocess.Popen(words, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)})

    assert start().wait(HANGS) == 0
    whole = outputs()
    for path in paths.CHECKPOINTS.glob("*"):
        path.unlink()
    for at in (
        lambda: any(one.fold < 0 and one.epoch >= 2 for one in headers()),
        lambda: any(one.fold == 0 for one in headers()),
    ):
        process = start()
        while not at() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(HANGS)
    assert start().wait(HANGS) == 0
    assert outputs() == whole
