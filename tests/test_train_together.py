"""Two programs in one folder: who trains a fold is said, and nothing is written under another's hands."""

import shutil
from pathlib import Path

import filelock
import pytest

from stages import train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.learn import checkpoint
from stages.learn.training_terms import Terms
from stages.params.schema import Params
from tests.conftest import small


@pytest.fixture
def settled(project: Path) -> Params:
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    return small(train={"epochs": 3})


def test_a_training_whose_outputs_dvc_removes_says_so_and_leaves_its_checkpoint(settled: Params) -> None:
    train.run(settled, SILENT, 0)
    undisturbed = paths.weights(0).read_bytes()

    def say(line: str) -> None:
        if "epoch  1/3" in line:
            shutil.rmtree(paths.TRAIN / "0")  # as `dvc repro` does before it runs the stage

    with pytest.raises(UserError, match=r"^out/train/0: was removed while fold 0 was trained, as `dvc repro` does"):
        train.run(settled, Talk(say), 0, Terms(fresh=True))
    assert not paths.history(0).exists()  # what DVC's own training will write is left to it
    assert checkpoint.headers()[0].epoch >= 1
    said: list[str] = []
    train.run(settled, Talk(said.append), 0)
    assert any(line.startswith("fold 0: goes on from") for line in said)
    assert paths.weights(0).read_bytes() == undisturbed


def test_outputs_that_another_process_wrote_meanwhile_are_not_written_again(settled: Params) -> None:
    train.run(settled, SILENT, 0)
    run = checkpoint.headers()[0].run
    written = {path: path.stat().st_mtime_ns for path in (paths.TRAIN / "0").rglob("*")}
    lock = filelock.FileLock(paths.CHECKPOINTS / "0.lock")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        lock.release()

    lock.acquire()
    holder = {"process": 4711, "run": run, "command": "maskcli train --fold 0 --ahead"}
    write_json(paths.CHECKPOINTS / "0.holder.json", holder)
    train.run(settled, Talk(say), 0)
    assert said[0].startswith(
        "fold 0: process 4711 (maskcli train --fold 0 --ahead) is training it already; waiting for"
    )
    assert said[1] == "fold 0: is done, its outputs in out/train/0 stand as that process wrote them"
    assert {path: path.stat().st_mtime_ns for path in (paths.TRAIN / "0").rglob("*")} == written


def test_outputs_that_the_other_process_did_not_finish_are_written(settled: Params) -> None:
    train.run(settled, SILENT, 0)
    run = checkpoint.headers()[0].run
    paths.oof_logits(0).unlink()
    lock = filelock.FileLock(paths.CHECKPOINTS / "0.lock")
    lock.acquire()
    write_json(paths.CHECKPOINTS / "0.holder.json", {"process": 4711, "run": run})
    train.run(settled, Talk(lambda line: lock.release()), 0)
    assert paths.oof_logits(0).exists()


def test_training_all_folds_says_first_that_it_does(settled: Params) -> None:
    said: list[str] = []
    train.run(settled, Talk(said.append), None)
    assert said[0].startswith("train: folds 0, 1, one after the other; `maskcli folds` trains them side by side")


def test_repeats_that_are_trained_apart_come_out_as_one_after_the_other(settled: Params) -> None:
    params = settled.model_copy(update={"train": settled.train.model_copy(update={"repeats": 2})})
    said: list[str] = []
    for repeat in (1, 0):
        train.run(params, Talk(said.append), 0, Terms(repeat=repeat))
    assert [line.split()[1] for line in said if " epoch " in line] == ["0.1"] * 3 + ["0.0"] * 3
    assert not paths.TRAIN.exists()
    said.clear()
    train.run(params, Talk(said.append), 0)
    assert sum("goes on from" in line and "(finished)" in line for line in said) == 2
    apart = [paths.weights(0, repeat).read_bytes() for repeat in (0, 1)]
    train.run(params, SILENT, 0, Terms(fresh=True))
    assert [paths.weights(0, repeat).read_bytes() for repeat in (0, 1)] == apart
    assert apart[0] != apart[1]
