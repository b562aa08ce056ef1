"""What is learnt follows the task: one axis or several, 2 classes or hundreds, a number in any unit."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.fold_data import FoldData
from stages.data.task_and_classes import CONTEST, Task
from stages.learn import fit, learner, model, objective, predict
from stages.learn.progress import Progress
from stages.params.schema import Params
from tests.conftest import small
from tests.learn.tasks import MANY, SIZED, TWO, photos_of

QUICK: dict[str, Any] = {"augment": {"pipeline": "none", "hflip": 0.0}, "train": {"epochs": 8, "batch_size": 12}}


def trained(params: Params, data: FoldData, lr: float = 0.01) -> tuple[Progress, learner.Learner]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of 300 classes most are absent
        made = learner.start(params, data, 0, lr, Accelerator(), SILENT)
        return fit.fit(made), made


@pytest.mark.parametrize(
    ("task", "labels", "changes"),
    [
        (TWO, [0, 1], {}),
        (MANY, [0, 255, 256, 299], {"sampler": "class_uniform"}),
        (SIZED, [0, 3, 6, 7], {"targets": "factored"}),
    ],
    ids=["two classes", "300 classes", "two axes"],
)
def test_a_task_is_learnt_and_its_weights_know_its_classes(
    tmp_path: Path, task: Task, labels: list[int], changes: dict[str, Any]
) -> None:
    data = photos_of(task, np.tile(labels, 24))
    params = small(**QUICK, **changes)
    progress, made = trained(params, data)
    row = progress.history[-1]
    assert row["val_f1"] > 0.95
    assert [name for name in row if name.startswith("drawn_")] == [f"drawn_{number}" for number in range(task.classes)]
    assert progress.last_logits.shape == (len(data.val), task.classes)
    assert progress.predicted[-1].dtype == np.uint16
    assert set(progress.predicted[-1]) == set(labels)  # none wraps around
    assert not [name for name in row if name.endswith("_mae")]

    path = tmp_path / "m.safetensors"
    model.save(path, made.bare.architecture, progress.selected_state)
    known = model.load(path).architecture.task
    asked = predict.Asked(task, data.pixels, data.val, ("identity", "hflip"))
    ((_, _, found),) = predict.of_weights([path], asked, params)
    assert found.shape == (2, len(data.val), task.classes)
    assert found.sum(-1) == pytest.approx(np.ones((2, len(data.val))), abs=1e-5)
    named = [known.class_names[number] for number in found[0].argmax(1)]
    assert named == [task.class_names[number] for number in progress.predicted[-1]]


def test_the_number_of_an_axis_is_learnt_in_units_of_its_scale_and_its_error_told_in_its_own_unit() -> None:
    """Widths of 200 to 800 mm in units of 200 mm: 1 to 4, as ages of 10 to 40 years are in the contest."""
    labels = np.tile([0, 1, 4, 5], 24)
    data = photos_of(SIZED, labels, np.array([200.0, 600.0, 400.0, 800.0])[np.tile(range(4), 24)])
    progress, made = trained(
        small(**QUICK | {"train": {"epochs": 16, "batch_size": 12}}, regression={"weight": 2.0}), data
    )
    first, last = progress.history[0], progress.history[-1]
    assert last["train_loss"] == pytest.approx(last["train_class_loss"] + last["train_width_loss"])
    assert last["val_width_mae"] < first["val_width_mae"]
    assert last["val_width_mae"] < 100  # always to say the mean is 200 wrong
    assert made.bare.architecture.regression


def test_an_unknown_number_counts_neither_for_learning_nor_for_the_error() -> None:
    labels, numbers = np.tile([0, 1, 4, 5], 6), np.full(24, 600.0)
    numbers[::2] = np.nan
    progress, _ = trained(
        small(**QUICK | {"train": {"epochs": 1}}, regression={"weight": 1.0}), photos_of(SIZED, labels, numbers)
    )
    row = progress.history[0]
    assert np.isfinite([row["train_width_loss"], row["val_loss"], row["val_width_mae"]]).all()
    none, _ = trained(
        small(**QUICK | {"train": {"epochs": 1}}, regression={"weight": 1.0}),
        photos_of(SIZED, labels, numbers * np.nan),
    )
    assert none.history[0]["train_width_loss"] == 0
    assert np.isnan(none.history[0]["val_width_mae"])


NUMBERLESS = "params.yaml: regression.weight: `0.1`, but "


@pytest.mark.parametrize(
    ("task", "changes", "line"),
    [
        (
            TWO,
            {"targets": "factored"},
            "params.yaml: targets: factored is one softmax an axis, and there is one axis (label); set targets: joint",
        ),
        (
            TWO,
            {"regression": {"weight": 0.1}},
            NUMBERLESS + "no axis is a number cut into bins; set regression.weight: 0",
        ),
        (
            replace(SIZED, axes=(SIZED.axes[0], replace(SIZED.axes[1], regressed=False))),
            {"regression": {"weight": 0.1}},
            NUMBERLESS + "no axis has regress: true; set axes.width.regress: true, or regression.weight: 0",
        ),
        (
            replace(SIZED, axes=(SIZED.axes[0], replace(SIZED.axes[1], name="class"))),
            {"regression": {"weight": 0.1}},
            "params.yaml: axes.class: a regressed axis cannot have the name of the classes' own loss in history.csv; give it "
            "another (`column` may keep this one)",
        ),
    ],
    ids=["one axis to factor", "no number", "no regressed axis", "an axis called class"],
)
def test_what_the_task_has_not_is_refused_with_what_to_set(task: Task, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as raised:
        trained(small(**QUICK, **changes), photos_of(task, np.tile(range(task.classes), 6)))
    assert str(raised.value) == line


def test_what_the_contest_asks_for_it_has() -> None:
    objective.check(small(targets="factored", regression={"weight": 0.1}), CONTEST)
