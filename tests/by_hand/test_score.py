"""maskcli score: the scores, and over what their intervals are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from stages.by_hand import score


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
    found = score.run(truth, submission)
    expected = f1_score(known["ans"], known["predicted"], average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(accuracy_score(known["ans"], known["predicted"]))
    for name in ("macro_f1", "accuracy", "f1_60plus", "f1_mask", "f1_gender", "f1_age"):
        assert 0 <= found[f"{name}_low"] < found[name] < found[f"{name}_high"] <= 1
    assert (found["people"], found["photos"], found["interval_over"]) == (30, 210, "people")
    assert found == score.run(truth, submission)


def test_intervals_are_over_people_where_the_truth_knows_them_and_else_over_photos(
    tables: tuple[Path, Path, pd.DataFrame],
) -> None:
    truth, submission, known = tables
    over_people = score.run(truth, submission)
    # A person's seven photos are right or wrong together: 30 draws tell less than 210 would, by the root of 7.
    known[["ImageID", "ans"]].to_csv(truth, index=False)
    over_photos = score.run(truth, submission)
    assert over_photos["interval_over"] == "photos"
    assert "people" not in over_photos
    assert over_photos["accuracy"] == over_people["accuracy"]
    assert half(over_people, "accuracy") == pytest.approx(half(over_photos, "accuracy") * 7**0.5, rel=0.3)
    known.rename(columns={"person": "group"})[["ImageID", "ans", "group"]].to_csv(truth, index=False)
    assert score.run(truth, submission) == over_people


def test_the_demos_truth_knows_its_people(prepared: Path) -> None:
    truth = pd.read_csv(prepared / "data/eval_truth.csv", dtype=str)
    assert truth.groupby("person").size().tolist() == [7] * 6
    assert pd.read_csv(prepared / "data/eval/info.csv").columns.tolist() == ["ImageID", "ans"]
