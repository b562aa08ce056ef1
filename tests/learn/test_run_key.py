"""The run key: the same for the same run, another for any other."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import prepare
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.learn import run_key
from stages.params.schema import Params
from stages.records import run_record
from tests.conftest import ROOT, contest_axes, small

LR = 0.003


def key_of(params: Params, lr: float) -> str:
    return run_key.record(params, lr).run


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"loss": "focal"},
        {"sampler": "sqrt"},
        {"train": {"epochs": 3}},
        {"image": {"margin": 3}},
        {"axes": contest_axes(30, 58)},
        {"schedule": {"name": "constant"}},
        {"augment": {"hflip": 0.4}},
    ],
)
def test_another_run_has_another_key(project: Path, change: dict[str, Any]) -> None:
    assert key_of(small(**change), LR) != key_of(small(), LR)


def test_the_key_covers_data_and_learning_rate_and_nothing_that_does_not_matter(project: Path) -> None:
    key = key_of(small(), LR)
    other = small(tta={"views": ["identity"]}, losses={"focal": {"gamma": 1.0}}, budget={"minutes": 3.0})
    assert key_of(other, LR) == key
    assert key_of(small(), LR * 1.01) != key
    for path in (paths.PHOTOS, paths.FOLDS, paths.TASK):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert key_of(small(), LR) != key, path
        path.write_bytes(content)
    pixels_of(paths.PIXELS, small(image={"face": 0.9}))
    assert key_of(small(), LR) != key


def pixels_of(path: Path, params: Params) -> None:
    """Put another params' cache, a valid one, in the place of the one at `path`, and leave all else as it was."""
    kept = {other: other.read_bytes() for other in paths.PIXELS.parent.iterdir() if other.stem != path.stem}
    prepare.run(params, SILENT)
    for other, content in kept.items():
        other.write_bytes(content)


def test_a_flipped_bit_in_a_pixel_cache_is_seen_before_anything_is_learnt_from_it(project: Path) -> None:
    """Its size and time stand still, as where a disk or a copy has failed."""
    times = paths.PIXELS.stat()
    with paths.PIXELS.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 8]))
    os.utime(paths.PIXELS, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UserError, match=r"pixels.npy: is not what prepare wrote .*; run `maskcli prepare` again"):
        key_of(small(), LR)


def test_with_pseudo_labels_the_key_covers_them_and_the_eval_photos(project: Path) -> None:
    Path("labels.csv").write_text("fold,ImageID,label,confidence,split\n")
    params = small(pseudo={"labels": "labels.csv"})
    key = key_of(params, LR)
    assert key != key_of(small(), LR)
    Path("labels.csv").write_text("fold,ImageID,label,confidence,split\n\n")
    assert key_of(params, LR) != key
    key = key_of(params, LR)
    pixels_of(paths.EVAL_PIXELS, small(image={"face": 0.9}))
    assert key_of(params, LR) != key


def test_the_key_covers_the_starting_weights_and_not_the_time_limit_but_the_record_names_both(project: Path) -> None:
    Path("mine.pth").write_bytes(b"one")
    params = small(model={"weights": "mine.pth"}, budget={"minutes": 3.0})
    found = run_key.record(params, LR)
    assert found.params["model"]["weights"] == "mine.pth"
    assert found.params["budget"] == {"minutes": 3.0}
    assert found.run == key_of(small(model={"weights": "mine.pth"}), LR)
    Path("mine.pth").write_bytes(b"two")
    assert found.run != key_of(params, LR)


def test_the_record_names_the_params_that_dvc_trains_again_for() -> None:
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]
    beside = {"folds", "pseudo.labels"}  # dependencies, by way of folds.csv and of the file named
    assert set(stage["params"]) - {"losses.${loss}"} == set(run_record.TRAINING) - beside
    assert {"out/kfold/folds.csv", "${pseudo.labels}", "${model.weights}"} <= set(stage["deps"])


def test_the_code_that_finds_wrong_labels_counts_where_they_are_looked_for() -> None:
    def files(action: str) -> set[str]:
        found = run_key.code(small(label_noise={"action": action}))
        return {path.relative_to(ROOT).as_posix() for path in found}

    assert files("drop") - files("none") == set(run_key.OF_LABEL_NOISE)
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]
    assert set(run_key.OF_LABEL_NOISE) <= set(stage["deps"])


def test_the_key_covers_all_code_that_learns_whatever_folder_it_lies_in(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in run_key.code(small())}
    learning = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages/learn").rglob("*.py")}
    assert learning | {"stages/train.py", "stages/data/task_and_classes.py", "stages/judge/metrics.py"} <= files
    inner = Path("learn/inner/deeper.py").absolute()
    inner.parent.mkdir(parents=True)
    inner.write_text("one")
    monkeypatch.setattr(run_key, "CODE", (str(Path("learn").absolute()),))
    key = key_of(small(), LR)
    inner.write_text("two")
    assert key_of(small(), LR) != key
    monkeypatch.setattr(run_key, "CODE", ("stages/learn", "stages/that_was_moved.py"))
    with pytest.raises(FileNotFoundError, match="that_was_moved"):
        key_of(small(), LR)
