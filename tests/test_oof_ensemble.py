"""oof-ensemble on a task that is not the contest's: one axis, 300 classes, no groups."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import oof_ensemble
from stages.base import paths
from stages.base.files import read_json, write_csv, write_json, write_npz
from stages.base.talk import SILENT, Talk
from stages.by_hand import compare
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import Task
from stages.judge import metrics
from stages.judge.metrics import log_softmax
from stages.params.load import parse
from stages.params.schema import Params
from tests.conftest import SMALL, record_folds
from tests.tasks import PATIENTS, task_of

PHOTOS = 900
EPOCHS = 2


def params_of(task: Task) -> Params:
    data = {"layout": task.layout} | ({"train": "photos.csv"} if task.layout == "table" else {})
    axes = {axis.name: {"bins": list(axis.bins)} if axis.bins else {"levels": list(axis.levels)} for axis in task.axes}
    subsets = {"old": {"age": "70+"}, "tumours": {"finding": "tumour"}} if task.subsets else {}
    given = SMALL | {"data": data, "axes": axes, "subsets": subsets, "train": SMALL["train"] | {"epochs": EPOCHS}}
    return parse(given)


def write_folds(task: Task) -> tuple[Params, np.ndarray, np.ndarray]:
    """What prepare and two trained folds leave behind, right about most photos; params, labels and groups."""
    rng, params = np.random.default_rng(0), params_of(task)
    labels, group = rng.permutation(np.arange(PHOTOS) % task.classes), np.arange(PHOTOS) // 3
    files = np.array([f"{number}.jpg" for number in range(PHOTOS)])
    codes = task.parts(labels)
    axes = dict(zip((axis.name for axis in task.axes), codes, strict=True))
    for axis in task.axes:
        if axis.numeric:
            axes[axis.name] = np.array([axis.bins[0] - 1, *axis.bins])[axes[axis.name]]
    whose = files if task.unit == "photo" else group.astype(str)
    table = {"group": whose, "file": files, **axes, "label": labels, "content": "1"}
    tasks.write(task)
    write_csv(paths.PHOTOS, pd.DataFrame(table))
    record = record_folds(params)
    for fold in params.folds:
        val = np.flatnonzero(group % len(params.folds) == fold)
        logits = rng.normal(size=(1, len(val), task.classes))
        logits[0, np.arange(len(val)), labels[val]] += 5
        selected = log_softmax(logits).astype(np.float32)
        predicted = np.repeat(selected.argmax(2)[:, None], EPOCHS, axis=1).astype(np.uint16)
        arrays = {"photo": val, "selected": selected, "last": selected, "predicted": predicted}
        write_npz(paths.oof_logits(fold), **arrays, run=np.array(record.run))
        rows = {"repeat": 0, "epoch": range(1, EPOCHS + 1), "val_f1": [0.1, 0.2]}
        write_csv(paths.history(fold), pd.DataFrame(rows | {"train_loss": 1.0, "val_loss": 1.0, "val_nll": 1.0}))
        for path in (paths.train_environment(fold), paths.train_metrics(fold)):
            write_json(path, {})
    return params, labels, whose


def test_300_classes_without_groups_are_scored_and_named(tmp_path: Path) -> None:
    task = task_of(300)
    params, labels, _ = write_folds(task)
    said: list[str] = []
    oof_ensemble.run(params, Talk(said.append))
    found = read_json(paths.OOF_METRICS, "oof-ensemble")
    oof = pd.read_csv(paths.OOF)
    assert list(oof.columns) == ["photo", "label", *(f"p{number}" for number in range(300))]
    predicted = oof[[f"p{number}" for number in range(300)]].to_numpy().argmax(1)
    assert found["macro_f1"] == pytest.approx(metrics.macro_f1(labels, predicted, 300))
    # Every epoch predicts alike, so every rule has the same score: class numbers above 255 have not wrapped.
    assert found["macro_f1"] == found["macro_f1_best_epochs"] == found["macro_f1_other_folds"] > 0.8
    assert (found["photos"], "people" in found, "groups" in found) == (PHOTOS, False, False)
    assert not any(name.startswith("f1_") for name in found)
    assert found["macro_f1_low"] < found["macro_f1"] < found["macro_f1_high"]
    for name in ("ece", "ece_calibrated"):
        assert 0 <= found[f"{name}_low"] <= found[name] <= found[f"{name}_high"] <= 1
    assert found["temperature_low"] <= found["temperature"] <= found["temperature_high"]
    assert 0 <= found["ece_debiased"] <= found["ece"]
    decision = read_json(paths.DECISION, "oof-ensemble")
    assert (len(decision["offsets"]), decision["photos"], "people" in decision) == (300, PHOTOS, False)
    assert "on photos it was not fitted on" in said[1]
    per_class = pd.read_csv(paths.PER_CLASS)
    assert per_class["class"].tolist() == list(task.numbered_names)
    confusion = pd.read_csv(paths.CONFUSION)
    assert len(confusion) <= oof_ensemble.MOST_CELLS
    assert confusion["photos"].sum() == PHOTOS
    assert (confusion["photos"] > 0).all()
    run = compare.load("workspace")
    assert (run.task.hash, run.task.unit, run.task.subsets) == (task.hash, "photo", {})


def test_groups_axes_and_subsets_have_scores_under_their_own_names(tmp_path: Path) -> None:
    params, labels, group = write_folds(PATIENTS)
    oof_ensemble.run(params, SILENT)
    found = read_json(paths.OOF_METRICS, "oof-ensemble")
    assert [name for name in found if name.startswith("f1_")] == ["f1_old", "f1_tumours", "f1_finding", "f1_age"]
    assert (found["groups"], found["photos"]) == (len(set(group)), PHOTOS)
    oof = pd.read_csv(paths.OOF, dtype={"group": str})
    assert oof["group"].tolist() == group.tolist()
    predicted = oof[[f"p{number}" for number in range(9)]].to_numpy().argmax(1)
    expected = metrics.subset_f1(labels, predicted, 9, {"old": (2, 5, 8), "tumours": (6, 7, 8)})
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    decision = read_json(paths.DECISION, "oof-ensemble")
    assert (decision["groups"], "f1_old_difference" in decision) == (len(set(group)), True)
    with np.load(paths.OOF_ARRAYS) as arrays:
        assert json.loads(str(arrays["task"]))["subsets"] == {"old": [2, 5, 8], "tumours": [6, 7, 8]}
        assert arrays["group"].tolist() == group.tolist()
        # Kept for what says how often answers hold (stages/bundle).
        assert arrays["adjusted"].dtype == np.uint16
        assert metrics.macro_f1(labels, arrays["adjusted"], 9) == pytest.approx(found["macro_f1_adjusted"], abs=1e-12)
    assert compare.load("workspace").task.subsets == PATIENTS.subsets


def test_of_many_classes_the_confusion_keeps_the_largest_cells() -> None:
    task = task_of(1000)
    labels = np.repeat(np.arange(1000), 30)
    predictions = (labels + np.tile(np.arange(30) // 2, 1000)) % 1000
    found = oof_ensemble.confusion_table(task, labels, predictions)
    assert len(found) == oof_ensemble.MOST_CELLS
    assert set(found["photos"]) == {2}
    assert found["true"].is_monotonic_increasing
    whole = oof_ensemble.confusion_table(task_of(18), labels % 18, labels % 18)
    assert (len(whole), whole["photos"].sum()) == (18 * 18, 30_000)


def test_a_run_that_is_cut_off_leaves_no_scores_beside_anothers_record(monkeypatch: pytest.MonkeyPatch) -> None:
    params, *_ = write_folds(task_of(300))
    oof_ensemble.run(params, SILENT)
    folder = paths.OOF_METRICS.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for late in ("score", "_write_predictions"):  # the long part; and the first file
        with monkeypatch.context() as patch:
            patch.setattr(oof_ensemble, late, interrupted)
            with pytest.raises(KeyboardInterrupt):
                oof_ensemble.run(params, SILENT)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.setattr(oof_ensemble, "_per_class_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        oof_ensemble.run(params, SILENT)
    assert not paths.OOF_METRICS.exists()
