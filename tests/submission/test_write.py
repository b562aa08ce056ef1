"""The one writer of submissions, and their reader."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.base.errors import UserError
from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.submission import write
from tests.tasks import PATIENTS, task_of

IMAGES = np.array(["b.jpg", "a, with a comma.jpg", "c.jpg"])


def text(path: Path, task: Task, answers: list[int]) -> str:
    write.write(path, task, IMAGES, np.array(answers))
    return path.read_bytes().decode()


def test_the_contest_has_class_numbers_and_the_others_names(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    assert text(path, CONTEST, [17, 0, 5]) == 'ImageID,ans\nb.jpg,17\n"a, with a comma.jpg",0\nc.jpg,5\n'
    assert (
        text(path, task_of(300), [299, 43, 0])
        == 'file,label\nb.jpg,kind 0299\n"a, with a comma.jpg",kind 0043\nc.jpg,kind 0000\n'
    )
    assert text(path, PATIENTS, [0, 4, 8]) == (
        "file,finding,age,label\n"
        'b.jpg,none,<40,none <40\n"a, with a comma.jpg",cyst,40-69,cyst 40-69\nc.jpg,tumour,70+,tumour 70+\n'
    )


NAMES = (
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8).map(str.strip).filter(bool)
)
AXES = st.lists(st.lists(NAMES, min_size=2, max_size=4, unique=True), min_size=1, max_size=3)


@given(AXES, st.integers(0, 10**6))
@example([["NA", "null", "007", ""]], 0)
@example([["a b", "a"], ["c", "b c"]], 0)
def test_what_is_written_is_read_back_whatever_the_levels_are_called(axes: list[list[str]], seed: int) -> None:
    """Names with commas, quotes, `NA`, leading zeros; two axes whose levels make the same name of two classes."""
    task = Task("table", tuple(Axis(f"axis {n}", tuple(levels)) for n, levels in enumerate(axes)), "photo")
    answers = np.random.default_rng(seed).integers(0, task.classes, 20)
    if len(axes) == 1 and len(set(task.class_names)) < task.classes:
        return
    path = Path("submission.csv")
    images = np.array([f"{number:03d}" for number in range(20)])
    write.write(path, task, images, answers)
    found = write.read(path, task)
    assert found.index.tolist() == images.tolist()
    assert found["answer"].tolist() == answers.tolist()


def test_a_truth_may_have_the_number_where_a_submission_has_the_level(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("file,finding,age\nx,cyst,39\ny,none,40.0\nz,tumour,99\n", encoding="utf-8-sig")
    assert write.read(path, PATIENTS)["answer"].tolist() == [3, 1, 8]


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        (CONTEST, "ImageID,ans\na,18\n", "ans must be whole numbers from 0 to 17"),
        (CONTEST, "ImageID,ans\na,1.5\n", "ans must be whole numbers from 0 to 17"),
        (CONTEST, "ImageID,label\na,1\n", "must have the columns ImageID and ans, each ImageID once"),
        (task_of(3), "file,label\na,kind 0001\na,kind 0001\n", "must have the columns file and label, each file once"),
        (
            task_of(300),
            "file,label\na,kind 0299\nb,kind 300\n",
            "line 3: label `kind 300` is not known; write one of kind 0000, ",
        ),
        (PATIENTS, "file,finding\na,cyst\n", "must have the columns file, finding and age, each file once"),
        (
            PATIENTS,
            "file,finding,age\na,Cyst,<40\n",
            "line 2: finding `Cyst` is not known; write one of none, cyst, tumour",
        ),
        (
            PATIENTS,
            "file,finding,age\na,cyst,39\nb,cyst,\n",
            "line 2: age `39` is not known; write one of <40, 40-69, 70+",
        ),
        (task_of(2), "", "must have the columns file and label, each file once"),
    ],
)
def test_what_is_no_answer_is_named(task: Task, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(UserError) as told:
        write.read(path, task)
    assert str(told.value).startswith(f"{path}")
    assert message in str(told.value)


def test_the_answers_of_a_thousand_classes_do_not_wrap() -> None:
    task = task_of(1000)
    table = write.table(task, np.array(["a", "b"]), np.array([999, 744], np.uint16))
    assert table["label"].tolist() == ["kind 0999", "kind 0744"]
    assert isinstance(table, pd.DataFrame)
