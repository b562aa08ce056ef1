"""Params and models come back with git and DVC, pixel caches do not: no command may join those of two runs."""

from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import command, lay_out

REFUSED = (("tta-predict",), ("tta-search", "--view", "hflip"), ("train", "--fold", "0"), ("refit",), ("lr-find",))


@pytest.mark.slow
def test_pixels_of_another_crop_are_refused_and_submit_now_decodes_its_own(prepared: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    lay_out(project, prepared, train={"epochs": 6}, lr=0.01)
    params = project / "params.yaml"
    command(project, "dvc", "repro", "-q")
    commit(project, "whole photos")
    whole = answers(project, "tta-predict")

    command(project, "dvc", "exp", "run", "-q", "--temp", "-n", "crop", "-S", "image.face=0.5")
    command(project, "dvc", "exp", "apply", "-q", "crop")
    assert "face: 0.5" in params.read_text()
    crop = answers(project, "tta-predict")
    assert crop != whole
    refuses(project, "image.face: 1.0, and 0.5 is asked for")
    command(project, "maskcli", "submit-now")
    assert answers(project, "submit-now") == crop

    command(project, "dvc", "repro", "-q")  # makes the cache of the crop
    commit(project, "crop")
    command(project, "maskcli", "submit-now")
    assert answers(project, "submit-now") == crop

    command(project, "git", "checkout", "-q", "HEAD~1")
    command(project, "dvc", "checkout", "-q")
    assert answers(project, "tta-predict") == whole
    refuses(project, "image.face: 0.5, and 1.0 is asked for")
    command(project, "maskcli", "submit-now")
    assert answers(project, "submit-now") == whole
    command(project, "maskcli", "prepare")
    assert command(project, "dvc", "status", "-q").returncode == 0
    command(project, "maskcli", "tta-predict")
    assert answers(project, "tta-predict") == whole


def commit(project: Path, message: str) -> None:
    command(project, "git", "add", "-A")
    command(project, "git", "commit", "-qm", message)


def answers(project: Path, stage: str) -> list[int]:
    found: list[int] = pd.read_csv(project / "out" / stage / "submission.csv")["ans"].tolist()
    return found


def refuses(project: Path, difference: str) -> None:
    for words in REFUSED:
        line = command(project, "maskcli", *words, code=2).stderr.splitlines()[-1]
        assert difference in line
        assert line.endswith("run `maskcli prepare` again")
