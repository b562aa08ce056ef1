"""maskcli score: the scores, and over what their intervals are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv
from stages.by_hand import score
from stages.data.task_and_classes import CONTEST, Task
from stages.submission import write
from tests.tasks import PATIENTS, task_of


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path, pd.DataFrame]:
    """A truth of 30 people with 7 photos each, and a submission that gets whole people right or wrong."""
    rng = np.random.default_rng(0)
    person = np.repeat([f"{number:03d}" for number in range(30)], 7)
    truth = pd.DataFrame(
        {"ImageID": [f"{n}.jpg" for n in range(210)], "ans": rng.integers(0, 18, 210), "person": person}
    )
    right = np.repeat(rng.random(30) < 0.7, 7)
    answers = pd.DataFrame({"ImageID": truth["ImageID"], "ans": np.where(right, truth["ans"], (truth["ans"] + 1) % 18)})
    answers.sample(frac=1, random_state=0).to_csv(tmp_path / "submission.csv", index=False)
    truth.to_csv(tmp_path / "truth.csv", index=False)
    return tmp_path / "truth.csv", tmp_path / "submission.csv", truth.assign(predicted=answers["ans"])


def half(found: dict[str, float], name: str) -> float:
    return (found[f"{name}_high"] - found[f"{name}_low"]) / 2


def test_scores_are_scikit_learns_and_stand_within_their_intervals(tables: tuple[Path, Path, pd.DataFrame]) -> None:
    truth, submission, known = tables
    found = score.run(CONTEST, truth, submission)
    expected = f1_score(known["ans"], known["predicted"], average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(accuracy_score(known["ans"], known["predicted"]))
    for name in ("macro_f1", "accuracy", "f1_60plus", "f1_mask", "f1_gender", "f1_age"):
        assert 0 <= found[f"{name}_low"] < found[name] < found[f"{name}_high"] <= 1
    assert (found["people"], found["photos"], found["interval_over"]) == (30, 210, "people")
    assert found == score.run(CONTEST, truth, submission)


def test_intervals_are_over_people_where_the_truth_knows_them_and_else_over_photos(
    tables: tuple[Path, Path, pd.DataFrame],
) -> None:
    truth, submission, known = tables
    over_people = score.run(CONTEST, truth, submission)
    # A person's seven photos are right or wrong together: 30 draws tell less than 210 would, by the root of 7.
    known[["ImageID", "ans"]].to_csv(truth, index=False)
    over_photos = score.run(CONTEST, truth, submission)
    assert over_photos["interval_over"] == "photos"
    assert "people" not in over_photos
    assert over_photos["accuracy"] == over_people["accuracy"]
    assert half(over_people, "accuracy") == pytest.approx(half(over_photos, "accuracy") * 7**0.5, rel=0.3)
    known.rename(columns={"person": "group"})[["ImageID", "ans", "group"]].to_csv(truth, index=False)
    assert score.run(CONTEST, truth, submission) == over_people


def test_the_demos_truth_knows_its_people(prepared: Path) -> None:
    truth = pd.read_csv(prepared / "data/eval_truth.csv", dtype=str)
    assert truth.groupby("person").size().tolist() == [7] * 6
    assert pd.read_csv(prepared / "data/eval/info.csv").columns.tolist() == ["ImageID", "ans"]


def answered(task: Task, seed: int, photos: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names, classes and predicted classes of eval photos."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, task.classes, photos)
    predicted = np.where(rng.random(photos) < 0.6, labels, rng.integers(0, task.classes, photos))
    return np.array([f"kind/{number}.jpg" for number in range(photos)]), labels, predicted


@pytest.mark.parametrize("task", [task_of(2), task_of(300), PATIENTS, CONTEST], ids=lambda task: f"{task.classes}")
def test_any_task_is_scored_by_a_truth_in_the_form_of_its_submission(task: Task, tmp_path: Path) -> None:
    images, labels, predicted = answered(task, 0)
    truth, submission = tmp_path / "truth.csv", tmp_path / "submission.csv"
    write.write(truth, task, images[::-1], labels[::-1])
    write.write(submission, task, images, predicted)
    found = score.run(task, truth, submission, 100)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    scored = [name for name in found if f"{name}_low" in found]
    axes = [f"f1_{axis.name}" for axis in task.axes] if len(task.axes) > 1 else []
    assert scored == ["macro_f1", "accuracy", *(f"f1_{name}" for name in task.subsets), *axes]
    assert (found["photos"], found["interval_over"]) == (120, "photos")
    for name in scored:
        assert 0 <= found[f"{name}_low"] <= found[f"{name}_high"] <= 1


def test_the_truth_that_the_eval_set_brings_needs_no_file(project: Path) -> None:
    task = task_of(3)
    images, labels, predicted = answered(task, 1)
    write.write(paths.SUBMISSION, task, images, predicted)
    known = pd.DataFrame({"ImageID": images, "content": "0", "label": labels})
    write_csv(paths.EVAL, known)
    found = score.run(task, None, paths.SUBMISSION, 100)
    assert found["accuracy"] == accuracy_score(labels, predicted)
    write_csv(paths.EVAL, known.drop(columns="label"))
    with pytest.raises(
        UserError, match=r"score: out/prepare/eval\.csv does not know the eval photos' classes; name a CSV"
    ):
        score.run(task, None, paths.SUBMISSION, 100)
    write_csv(paths.EVAL, known[:0])
    with pytest.raises(UserError, match="score: there is no eval set"):
        score.run(task, None, paths.SUBMISSION, 100)


def test_groups_of_a_table_are_drawn_where_the_truth_names_them(tmp_path: Path) -> None:
    images, labels, predicted = answered(PATIENTS, 2)
    truth = write.table(PATIENTS, images, labels).assign(group=np.arange(120) // 4)
    write_csv(tmp_path / "truth.csv", truth)
    write.write(tmp_path / "submission.csv", PATIENTS, images, predicted)
    found = score.run(PATIENTS, tmp_path / "truth.csv", tmp_path / "submission.csv", 100)
    assert (found["groups"], found["photos"], found["interval_over"]) == (30, 120, "groups")
