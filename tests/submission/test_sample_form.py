"""A contest's sample submission is filled in by what its columns are called."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.base.errors import UserError
from stages.data.table_file import Table
from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.submission import sample_form
from stages.submission.sample_form import Filled, Predicted
from tests.tasks import PATIENTS

PETS = Task("table", (Axis("kind", ("cat", "dog", "horse")),), "photo")
IMAGES = ["test/a.png", "test/b.png", "test/c.jpg"]
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
PREDICTED = Predicted(IMAGES, np.array([0, 1, 2]), lambda: PROBABILITIES)


def filled(
    rows: dict[str, list[str]],
    task: Task = PETS,
    found: Predicted = PREDICTED,
    axes: dict[str, str] | None = None,
    one_class: str | None = None,
) -> Filled:
    table = pd.DataFrame(rows, dtype=object)
    table.index += 2
    return sample_form.fill(Table(Path("sample.csv"), list(rows), ""), table, task, found, axes or {}, one_class)


def test_one_column_gets_the_class_in_the_samples_order() -> None:
    table = filled({"id": ["c", "a", "b"], "target": ["", "", ""]}).table
    assert table.to_dict("list") == {"id": ["c", "a", "b"], "target": ["horse", "cat", "dog"]}


@pytest.mark.parametrize(
    "written", [("test/a.png", "test/c.jpg"), ("a.png", "c.jpg"), ("test/a", "test/c"), ("a", "c")]
)
def test_photos_are_known_with_and_without_folders_and_endings(written: tuple[str, str]) -> None:
    made = filled({"label": ["", ""], "image": list(written)})
    assert made.table["label"].tolist() == ["cat", "horse"]
    assert made.holds == "the class"


def test_a_whole_name_is_that_photo_though_another_ends_so() -> None:
    found = Predicted(["a.png", "old/a.png"], np.array([0, 1]), lambda: PROBABILITIES[:2])
    assert filled({"image": ["a.png", "old/a.png"], "label": ["", ""]}, found=found).table["label"].tolist() == [
        "cat",
        "dog",
    ]
    with pytest.raises(UserError, match=r"sample.csv line 3: `a` is no eval photo, or one of several \(1 such rows\)"):
        filled({"image": ["a.png", "a"], "label": ["", ""]}, found=found)


def test_columns_called_as_the_classes_get_their_probabilities_whatever_their_order() -> None:
    made = filled({"id": ["b", "a"], "horse": ["0", "0"], "cat": ["0", "0"], "dog": ["0", "0"]})
    assert list(made.table) == ["id", "horse", "cat", "dog"]
    assert made.table.to_numpy().tolist() == [["b", 0.3, 0.1, 0.6], ["a", 0.1, 0.7, 0.2]]


def test_one_column_gets_the_probability_of_the_class_that_is_asked_for() -> None:
    made = filled({"id": ["a", "c"], "p": ["0.5", "0.5"]}, one_class="horse")
    assert made.table["p"].tolist() == [0.1, 0.6]
    assert made.holds == "the probability of `horse`"


def test_columns_of_axes_get_levels_also_by_the_names_that_the_table_has_for_them() -> None:
    found = Predicted(IMAGES, np.array([0, 4, 8]), lambda: PROBABILITIES)
    rows = {"photo": ["c", "b"], "years": ["", ""], "finding": ["", ""]}
    made = filled(rows, PATIENTS, found, {"years": "age"})
    assert made.table.to_dict("list") == {"photo": ["c", "b"], "years": ["70+", "40-69"], "finding": ["tumour", "cyst"]}
    alone = filled({"photo": ["c", "b"], "years": ["", ""]}, PATIENTS, found, {"years": "age"})
    assert alone.table["years"].tolist() == ["70+", "40-69"]
    assert filled({"photo": ["b"], "answer": [""]}, PATIENTS, found).table["answer"].tolist() == ["cyst 40-69"]


def test_the_contests_own_form_gets_class_numbers() -> None:
    found = Predicted(IMAGES, np.array([17, 0, 3]), lambda: PROBABILITIES)
    assert filled({"ImageID": ["b.png", "a.png"], "ans": ["0", "0"]}, CONTEST, found).table["ans"].tolist() == [0, 17]


def test_a_samples_own_values_that_are_no_classes_are_told() -> None:
    notes = filled({"id": ["a", "b"], "label": ["0", "0"]}).notes
    assert notes == ("sample.csv: `label` has `0`, which is no class here; `cat` is one",)
    assert filled({"id": ["a", "b"], "label": ["horse", "horse"]}).notes == ()
    two = Task("table", (Axis("kind", ("benign", "malign")),), "photo")
    found = Predicted(IMAGES[:2], np.array([0, 1]), lambda: PROBABILITIES)
    assert "--probability-of" in filled({"id": ["a", "b"], "label": ["0.5", "0.5"]}, two, found).notes[0]


@pytest.mark.parametrize("columns", [("cat", "dog"), ("cat", "dog", "cow"), ("kind", "x")])
def test_columns_that_are_neither_are_refused(columns: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="wanted are one for the class, or all classes by name"):
        filled({"id": ["a"], **{name: [""] for name in columns}})


@pytest.mark.parametrize("told", ["{patient}/{scan}_left.png", "old/{patient}/{scan}_left.png"])
def test_columns_that_make_the_names_by_the_tables_own_pattern_name_the_photos(told: str) -> None:
    images = [told.format(patient=patient, scan=scan) for patient, scan in (("p", "1"), ("p", "2"), ("q", "1"))]
    found = Predicted(images, np.array([0, 1, 2]), lambda: PROBABILITIES, told)
    rows = {"patient": ["q", "p", "p"], "scan": ["1", "2", "1"], "label": ["", "", ""]}
    assert filled(rows, found=found).table["label"].tolist() == ["horse", "dog", "cat"]
    with pytest.raises(UserError, match=r"beside `patient`, `scan` are missing"):
        filled({"patient": ["q"], "scan": ["1"]}, found=found)


def test_names_with_endings_are_known_where_the_pattern_would_add_another() -> None:
    found = Predicted(IMAGES[:2], np.array([0, 1]), lambda: PROBABILITIES[:2], "test/{id}.png")
    for written in (["b", "a"], ["b.png", "a.png"], ["test/b.png", "test/a.png"]):
        assert filled({"id": written, "label": ["", ""]}, found=found).table["label"].tolist() == ["dog", "cat"]
