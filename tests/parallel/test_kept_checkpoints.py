"""Which checkpoints are a training's own, and how far they are, without torch."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages import train
from stages.base import paths
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.learn.training_terms import Terms
from stages.parallel import kept_checkpoints
from stages.parallel.training_process import Order
from tests.conftest import small
from tests.parallel.copied_checkout import Copied


def order(fold: int, repeat: int | None = None) -> Order:
    return Order(Path(), small(), fold, None, Terms(repeat=repeat), [])


def test_a_fold_has_those_of_all_its_repeats_and_of_the_models_before_it(tmp_path: Path) -> None:
    names = ("1-0-a.ckpt", "1-1-a.ckpt", "-2-0-a.npz", "-2-3-a.ckpt", "11-0-a.ckpt", "2-0-a.ckpt", ".1-0-a.5.tmp.ckpt")
    for name in (*names, "1.lock", "1-repeat-0.lock"):
        (tmp_path / name).touch()
    assert [path.name for path in kept_checkpoints.of(order(1), tmp_path)] == sorted(names[:4])
    assert [path.name for path in kept_checkpoints.of(order(1, repeat=1), tmp_path)] == ["1-1-a.ckpt"]
    (tmp_path / "1-1-b.ckpt").touch()
    of_run = replace(order(1, repeat=1), checkout=Copied(tmp_path, run="b"))
    assert [path.name for path in kept_checkpoints.of(of_run, tmp_path)] == ["1-1-b.ckpt"]


def test_how_far_a_checkpoint_is_stands_in_its_header(project: Path) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003})

    def say(line: str) -> None:
        if "epoch  2/3" in line:
            raise StopIteration

    with pytest.raises(StopIteration):
        train.run(small(train={"epochs": 3}), Talk(say), 0)
    (path,) = kept_checkpoints.of(order(0), paths.CHECKPOINTS)
    cut_off = kept_checkpoints.progress(path)
    train.run(small(train={"epochs": 3}), SILENT, 0)
    finished = kept_checkpoints.progress(path)
    assert cut_off == (False, 2, 0)
    assert kept_checkpoints.in_words(cut_off) == "epoch 2"
    assert finished > cut_off > kept_checkpoints.NONE
    path.write_bytes(b"nothing of the kind")
    assert kept_checkpoints.progress(path) == kept_checkpoints.progress(Path("gone.ckpt")) == kept_checkpoints.NONE
