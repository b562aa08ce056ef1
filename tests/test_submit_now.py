"""There is always a valid submission, and it says what it is made of."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages import paths, submit_now, train
from stages.errors import UserError
from stages.files import write_json
from stages.learn import checkpoint, model, predict
from stages.talk import SILENT, Talk
from tests.conftest import ENVIRONMENT, ROOT, small


@pytest.fixture
def ready(project: Path) -> Path:
    """A project in which training may begin."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    return project


def valid(images: int = 42) -> pd.DataFrame:
    """The submission, after checking what a contest checks."""
    table = pd.read_csv(paths.NOW_SUBMISSION)
    assert list(table.columns) == ["ImageID", "ans"]
    assert table["ImageID"].tolist() == pd.read_csv(paths.EVAL_CSV)["ImageID"].tolist()
    assert table["ans"].between(0, 17).all()
    assert len(table) == images
    return table


class Stop(Exception):
    pass


def interrupted(fold: int, epochs: int, of: int = 8) -> None:
    """Train a fold until so many epochs are complete."""

    def say(line: str) -> None:
        if f"epoch {epochs + 1:>2}/{of}" in line:
            raise Stop  # the checkpoint of the epochs before is written

    with pytest.raises(Stop):
        train.run(small(train={"epochs": of}), Talk(say), fold)


def test_without_any_model_every_answer_is_the_most_common_class(ready: Path) -> None:
    made = submit_now.run(small(), SILENT)
    labels = pd.read_csv(paths.PHOTOS)["label"]
    assert set(valid()["ans"]) == {int(labels.value_counts().idxmax())}
    assert made["models"] == []
    assert made["folds_missing"] == [0, 1]


def test_before_prepare_too(ready: Path) -> None:
    for path in (paths.EVAL, paths.EVAL_PIXELS, paths.PHOTOS, paths.PIXELS):
        path.unlink()
    submit_now.run(small(), SILENT)
    valid()


def test_finished_folds_and_running_ones_join(ready: Path) -> None:
    params = small(train={"epochs": 8})
    interrupted(0, 3)
    made = submit_now.run(params, SILENT)
    assert [source["state"] for source in made["models"]] == ["epoch 3 of 8"]
    train.run(params, SILENT, 1)
    made = submit_now.run(params, SILENT)
    states = {source["fold"]: source["state"] for source in made["models"] + made["left_out"]}
    assert states == {0: "epoch 3 of 8", 1: "finished"}
    valid()
    made_of = json.loads(paths.NOW_SOURCES.read_text())
    assert made_of["answers"] == 42


def test_a_fold_that_has_hardly_begun_is_left_out_and_a_finished_one_never(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(small(), SILENT, 1)
    interrupted(0, 1)
    for folds_f1, kept in ((0.9, [1]), (0.0, [0, 1])):
        monkeypatch.setattr(submit_now, "_finished_f1", lambda fold, f1=folds_f1: f1)
        assert [source.fold for source in submit_now.sources((0, 1)) if source.used] == kept


def test_its_answers_are_those_of_the_model_in_the_checkpoint(ready: Path) -> None:
    interrupted(0, 3)
    submit_now.run(small(tta={"views": ["identity"]}), SILENT)
    (source,) = submit_now.sources((0, 1))
    assert source.state == "epoch 3 of 8"
    net = checkpoint.model_of(Path(source.file))
    pixels = np.load(paths.EVAL_PIXELS)
    expected = next(iter(predict.of_views(net, pixels, np.arange(len(pixels)), ("identity",), small()))).argmax(1)
    assert (valid()["ans"].to_numpy() == expected).all()


def test_photos_are_decoded_again_for_a_model_of_another_size(ready: Path) -> None:
    train.run(small(), SILENT, 0)
    other = small(image={"height": 48, "width": 40, "margin": 4})
    submit_now.run(other, SILENT)
    first = valid()["ans"].tolist()
    submit_now.run(small(), SILENT)
    assert first == valid()["ans"].tolist()


def test_a_damaged_model_is_left_out(ready: Path) -> None:
    for fold in (0, 1):
        train.run(small(), SILENT, fold)
    paths.weights(0).write_bytes(paths.weights(0).read_bytes()[:3000])
    said: list[str] = []
    made = submit_now.run(small(), Talk(said.append))
    assert [source["fold"] for source in made["models"]] == [1]
    assert "is damaged" in said[-1]
    assert model.load(paths.weights(1))
    valid()


def test_without_a_list_of_eval_photos_it_says_what_is_missing(ready: Path) -> None:
    paths.EVAL.unlink()
    paths.EVAL_CSV.unlink()
    with pytest.raises(UserError, match=r"data/eval/info.csv: not found"):
        submit_now.run(small(), SILENT)


def test_it_works_while_training_runs_in_another_process(ready: Path) -> None:
    params = small(train={"epochs": 500})
    (ready / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    words = [sys.executable, "-m", "cli.main", "train", "--fold", "0"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        waited = time.monotonic()
        while not any(paths.CHECKPOINTS.glob("0-0-*.ckpt")):
            assert time.monotonic() - waited < 120
            time.sleep(0.05)
        for _ in range(3):
            made = submit_now.run(params, SILENT)
            assert made["models"][0]["state"].endswith(" of 500")
            valid()
        assert running.poll() is None
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
