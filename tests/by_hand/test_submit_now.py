"""There is always a valid submission, and it says what it is made of."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from cli.commands import against_the_clock
from stages import prepare, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import submit_now
from stages.data.task_and_classes import CONTEST
from stages.learn import checkpoint, model, predict
from tests.conftest import ENVIRONMENT, ROOT, small
from tests.learn import plugged


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


def interrupted(fold: int, epochs: int, of: int = 8, lr: float = 0.003) -> None:
    """Train a fold until so many epochs are complete."""

    def say(line: str) -> None:
        if f"epoch {epochs:>2}/{of}" in line:
            raise Stop  # the checkpoint of this epoch is written before it is told of

    with pytest.raises(Stop):
        train.run(small(train={"epochs": of}, lr=lr), Talk(say), fold)


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
    paths.EVAL.write_text("half a li")
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
    interrupted(0, 1, of=2)
    for folds_f1, kept in ((0.9, [1]), (0.0, [0, 1])):
        monkeypatch.setattr(submit_now, "_finished_f1", lambda fold, f1=folds_f1: f1)
        made = submit_now.run(small(), SILENT)
        assert [source["fold"] for source in made["models"]] == kept
    monkeypatch.setattr(submit_now, "_finished_f1", lambda fold: 0.9)
    (weak,) = submit_now.run(small(), SILENT)["left_out"]
    assert "below 0.8 of the finished models' median val_f1 0.9000" in weak["reason"]


def header(fold: int, repeat: int, val_f1: float, run: str, saved: float) -> checkpoint.Header:
    return checkpoint.Header(run, fold, repeat, 3, 8, 0, False, "", val_f1, "", 0.0, 0.0, saved)


def test_a_finished_model_whose_metrics_are_not_written_yet_does_not_lower_the_bar(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three repeats two are finished: their fold's metrics.json comes after the last."""
    for fold, repeat in ((0, 0), (0, 1), (1, 0)):
        paths.models(fold).mkdir(parents=True, exist_ok=True)
        paths.weights(fold, repeat).touch()
    write_json(paths.train_metrics(1), {"val_f1": 0.6})
    monkeypatch.setattr(checkpoint, "headers", lambda: [header(0, 2, 0.3, "", 1.0)])
    found = submit_now.sources(small(train={"repeats": 3}))
    assert [(source.fold, source.repeat, source.val_f1, source.used) for source in found] == [
        (0, 0, None, True),
        (0, 1, None, True),
        (0, 2, 0.3, False),  # with two zeros in the median it would join
        (1, 0, 0.6, True),
    ]


def test_a_run_that_has_just_begun_does_not_displace_the_better_model_of_another(ready: Path) -> None:
    interrupted(0, 3)
    write_json(paths.LR_CHOSEN, {"lr": 1e-5})
    interrupted(0, 1, lr=1e-5)  # another run
    newest, older = sorted(checkpoint.headers(), key=lambda found: -found.saved)
    assert (newest.epoch, older.epoch) == (1, 3)
    (used,) = submit_now.run(small(), SILENT)["models"]
    best = max(newest, older, key=lambda found: found.val_f1)
    assert used["file"] == str(paths.checkpoint(0, 0, best.run))
    assert used["state"] == "epoch 3 of 8, of another run than the newest"


def test_models_of_another_method_are_left_out_and_named(ready: Path) -> None:
    """A submission of two methods is one that no OOF score is of."""
    for fold in (0, 1):
        train.run(small(), SILENT, fold)
    submit_now.run(small(), SILENT)
    of_ce = valid()["ans"].tolist()
    train.run(small(loss="focal"), SILENT, 0)
    said: list[str] = []
    made = submit_now.run(
        small(loss="focal"), Talk(said.append)
    )  # ce has more folds: its checkpoint of fold 0 is still there
    assert [source["state"].partition(",")[0] for source in made["models"]] == ["epoch 2 of 2", "finished"]
    assert valid()["ans"].tolist() == of_ce
    assert [source["reason"] for source in made["left_out"]] == [
        "was trained with loss: focal (the others: ce): one submission would mix two methods"
    ]
    assert said == ["submit-now: the models were trained with loss: ce (params.yaml now: focal)"]
    for path in paths.CHECKPOINTS.glob("*.ckpt"):
        path.unlink()
    for params, kept in (
        (small(loss="focal"), [0]),
        (small(), [1]),
    ):  # of equal numbers those that params.yaml asks for
        made = submit_now.run(params, SILENT)
        assert [source["fold"] for source in made["models"]] == kept
        assert made["folds_missing"] == [1 - kept[0]]


def whole(pixels: np.ndarray) -> predict.Asked:
    return predict.Asked(CONTEST, pixels, np.arange(len(pixels)), ("identity",))


def test_its_answers_are_those_of_the_model_in_the_checkpoint(ready: Path) -> None:
    interrupted(0, 3)
    submit_now.run(small(tta={"views": ["identity"]}), SILENT)
    (source,) = submit_now.sources(small())
    assert source.state == "epoch 3 of 8"
    net = checkpoint.model_of(Path(source.file))
    pixels = np.load(paths.EVAL_PIXELS)
    expected = next(iter(predict.of_views(net, whole(pixels), small()))).argmax(1)
    assert (valid()["ans"].to_numpy() == expected).all()


def test_photos_are_decoded_again_for_a_model_of_another_size(ready: Path) -> None:
    train.run(small(), SILENT, 0)
    other = small(image={"height": 48, "width": 40, "margin": 4})
    submit_now.run(other, SILENT)
    first = valid()["ans"].tolist()
    submit_now.run(small(), SILENT)
    assert first == valid()["ans"].tolist()


def test_photos_are_decoded_again_where_the_cache_has_another_crop_than_the_model(ready: Path) -> None:
    """As after `dvc exp apply` of a run of another image.face: the caches are still those of the run before."""
    cropped = small(image={"face": 0.5}, tta={"views": ["identity"]})
    prepare.run(cropped, SILENT)
    train.run(cropped, SILENT, 0)
    pixels = np.load(paths.EVAL_PIXELS)
    expected = predict.of_views(model.load(paths.weights(0)), whole(pixels), cropped)
    prepare.run(small(), SILENT)
    other = np.load(paths.EVAL_PIXELS)
    assert (other.shape, (other == pixels).all()) == (pixels.shape, False)
    for params in (cropped, small(tta={"views": ["identity"]})):
        said: list[str] = []
        submit_now.run(params, Talk(said.append))
        assert (valid()["ans"].to_numpy() == expected[0].argmax(1)).all()
        told = ["submit-now: the models were trained with image.face: 0.5 (params.yaml now: 1.0)"] * (
            params is not cropped
        )
        assert sorted(said) == [
            "submit-now: decodes the eval photos again: out/prepare/eval_pixels.npy: was made with image.face: 1.0, "
            "and 0.5 is asked for; run `maskcli prepare` again",
            *told,
        ]


def test_photos_are_decoded_again_where_one_was_replaced(ready: Path) -> None:
    train.run(small(), SILENT, 0)
    first, second = (paths.EVAL_IMAGES / name for name in pd.read_csv(paths.EVAL)["ImageID"][:2])
    shutil.copyfile(second, first)
    said: list[str] = []
    submit_now.run(small(), Talk(said.append))
    answers = valid()["ans"]
    assert answers[0] == answers[1]
    assert said[0].startswith(f"submit-now: decodes the eval photos again: {first}: is not the photo that prepare read")


def test_a_damaged_model_is_replaced_by_its_checkpoint_or_left_out_with_the_reason(
    ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in (0, 1):
        train.run(small(), SILENT, fold)
    answers = submit_now.run(small(), SILENT)
    expected = valid()["ans"].tolist()
    assert [source["state"] for source in answers["models"]] == ["finished", "finished"]
    paths.weights(0).write_bytes(paths.weights(0).read_bytes()[:3000])
    made = submit_now.run(small(), SILENT)
    assert [source["state"] for source in made["models"]] == ["epoch 2 of 2", "finished"]
    assert valid()["ans"].tolist() == expected  # the checkpoint holds the same weights
    for path in paths.CHECKPOINTS.glob("0-0-*.ckpt"):
        path.unlink()
    capsys.readouterr()
    against_the_clock.submit_now()
    told = capsys.readouterr().out
    made = json.loads(paths.NOW_SOURCES.read_text())
    assert [source["fold"] for source in made["models"]] == [1]
    (left_out,) = made["left_out"]
    assert left_out["file"] == str(paths.weights(0))
    assert "is damaged" in left_out["reason"]
    assert "left out     fold 0, finished, val_f1" in told
    assert "0.safetensors: is damaged" in " ".join(told.split())
    assert "spoil" not in told


def test_a_checkpoint_of_other_code_is_left_out_and_the_rest_goes_on(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(0, 1, of=2)
    train.run(small(), SILENT, 1)

    def older(path: Path) -> Any:
        raise TypeError("Architecture.__init__() missing 1 required positional argument: 'margin'")

    monkeypatch.setattr(checkpoint, "model_of", older)
    monkeypatch.setattr(submit_now, "LEAST", 0.0)
    made = submit_now.run(small(), SILENT)
    assert [source["fold"] for source in made["models"]] == [1]
    assert [source["reason"] for source in made["left_out"]] == [
        "TypeError: Architecture.__init__() missing 1 required positional argument: 'margin'"
    ]
    valid()


@pytest.mark.parametrize("kind", ["models", "losses"])
def test_a_plugin_that_cannot_be_imported_costs_no_model_that_does_without(ready: Path, kind: str) -> None:
    for fold in (0, 1):
        train.run(small(), SILENT, fold)
    submit_now.run(small(), SILENT)
    expected = valid()["ans"].tolist()
    Path("mine.py").write_text("def half(:")
    said: list[str] = []
    made = submit_now.run(small(plugins={kind: "mine.py"}), Talk(said.append))
    assert [source["state"] for source in made["models"]] == ["finished", "finished"]
    assert valid()["ans"].tolist() == expected
    assert said[0].startswith("submit-now: goes on without it: mine.py line 1: is not valid Python")


def test_where_no_model_can_answer_any_more_an_earlier_submission_stays(ready: Path) -> None:
    params = plugged.place()
    train.run(params, SILENT, 0)
    made = submit_now.run(params, SILENT)
    earlier = [path.read_bytes() for path in (paths.NOW_SUBMISSION, paths.NOW_SOURCES)]
    Path("nets.py").write_text("def half(:")
    with pytest.raises(UserError, match=f"no model can answer now .*by {len(made['models'])} model.s. that could"):
        submit_now.run(params, SILENT)
    shutil.rmtree(paths.TRAIN)
    shutil.rmtree(paths.CHECKPOINTS, ignore_errors=True)
    with pytest.raises(UserError, match=r"no model can answer now; out/submit-now/submission.csv stays, by"):
        submit_now.run(params, SILENT)
    assert [path.read_bytes() for path in (paths.NOW_SUBMISSION, paths.NOW_SOURCES)] == earlier
    paths.NOW_SUBMISSION.unlink()
    assert submit_now.run(params, SILENT)["models"] == []


def test_a_loss_that_cannot_be_imported_costs_no_model_of_ones_own(ready: Path) -> None:
    params = plugged.place()
    for fold in params.folds:
        train.run(params, SILENT, fold)
    Path("mine.py").write_text("def half(:")
    made = submit_now.run(params, SILENT)
    assert [source["state"] for source in made["models"]] == ["finished", "finished"]


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried to allocate 20 MiB.", "CUDA error: out of memory"])
def test_where_the_gpu_is_full_it_predicts_on_the_cpu(
    ready: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    for fold in (0, 1):
        train.run(small(), SILENT, fold)
    submit_now.run(small(), SILENT)
    expected = valid()["ans"].tolist()
    predict_views, asked = predict.of_views, []

    def full(net: Any, wanted: Any, params: Any, batch: int, device: Any) -> Iterator[Any]:
        asked.append((batch, device))
        if device is None:
            raise (torch.OutOfMemoryError if "allocate" in message else RuntimeError)(message)
        yield from predict_views(net, wanted, params, batch, device)

    monkeypatch.setattr(predict, "of_views", full)
    said: list[str] = []
    made = submit_now.run(small(train={"batch_size": 24}), Talk(said.append))
    assert [source["state"] for source in made["models"]] == ["finished", "finished"]
    cpu = torch.device("cpu")
    assert asked == [(24, None), (24, cpu), (24, cpu)]  # batches of training's size; the GPU is tried once
    assert f"submit-now: goes on on the CPU: {message}" in said
    assert valid()["ans"].tolist() == expected


@pytest.mark.parametrize("change", ["one more", "another order", "the photos are elsewhere by now"])
def test_where_the_eval_set_has_changed_since_prepare_it_says_so(ready: Path, change: str) -> None:
    """Else the submission lacks a row that the contest wants, and nobody knows."""
    table = pd.read_csv(paths.EVAL_CSV)
    if change == "one more":
        shutil.copy(Path("data/eval/images", table["ImageID"][0]), "data/eval/images/more.jpg")
        table = pd.concat([table, pd.DataFrame({"ImageID": ["more.jpg"], "ans": [0]})])
    elif change == "another order":
        table = table[::-1]
    else:
        Path("data/eval/images").rename("elsewhere")
    table.to_csv(paths.EVAL_CSV, index=False)
    said: list[str] = []
    made = submit_now.run(small(), Talk(said.append))
    assert made["answers"] == 42
    told = [line for line in said if "that prepare saw, in that order; now the data lists" in line]
    assert len(told) == (change != "the photos are elsewhere by now")


def test_without_a_list_of_eval_photos_it_says_what_is_missing(ready: Path) -> None:
    paths.EVAL.unlink()
    paths.EVAL_CSV.unlink()
    with pytest.raises(UserError, match=r"data/eval/info.csv: not found"):
        submit_now.run(small(), SILENT)


def test_it_works_while_training_runs_in_another_process(ready: Path) -> None:
    params = small(train={"epochs": 10_000})
    (ready / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False))
    words = [sys.executable, "-m", "cli.main", "train", "--fold", "0"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not any(paths.CHECKPOINTS.glob("0-0-*.ckpt")):
            assert running.poll() is None
            time.sleep(0.05)
        for _ in range(3):
            made = submit_now.run(params, SILENT)
            assert made["models"][0]["state"].endswith(" of 10000")
            valid()
        assert running.poll() is None
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
