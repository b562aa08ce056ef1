from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from stages.data.task_and_classes import CONTEST
from stages.judge.paired_difference import TOO_FEW
from stages.report.html import page_scores
from tests.differences import made as difference
from tests.report.made import CELLS, FOLDERS, oof

EVERY = np.arange(CONTEST.classes)

SMALL = page_scores.Oof(
    photo=np.array(["a", "b", "c", "d", "e"]),
    group=np.array(["1", "1", "2", "2", "3"]),
    labels=np.array([0, 0, 1, 1, 2]),
    # Right; wrong and unsure; wrong and sure; right and unsure; wrong, and the true class got nothing at all.
    probabilities=np.pad(
        [[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.8, 0.2, 0.0], [0.3, 0.4, 0.3], [0.3, 0.7, 0.0]], ((0, 0), (0, 15))
    ),
    last=np.array([0, 1, 0, 1, 1]),
)


def test_photos_with_the_highest_loss_come_worst_first() -> None:
    assert SMALL.photo[page_scores.highest_loss(SMALL, 3)].tolist() == ["e", "c", "b"]
    assert SMALL.losses[:3] == pytest.approx(-np.log([0.9, 0.4, 0.2]))
    assert np.isfinite(SMALL.losses).all()


def test_mistakes_come_most_confident_first_and_right_answers_never() -> None:
    assert SMALL.photo[page_scores.confident_mistakes(SMALL, 40)].tolist() == ["c", "e", "b"]
    assert SMALL.photo[page_scores.confident_mistakes(SMALL, 2)].tolist() == ["c", "e"]


def test_intervals_lie_around_their_scores_and_within_bounds() -> None:
    made = oof(1)
    found = page_scores.intervals(made, CONTEST, EVERY, 300, 0)
    for name, score in (
        ("macro_f1", f1_score(made.labels, made.predictions, average="macro")),
        ("macro_f1_last", f1_score(made.labels, made.last, average="macro")),
        ("accuracy", (made.labels == made.predictions).mean()),
        ("nll", made.losses.mean()),
        ("f1_mask", f1_score(made.labels // 6, made.predictions // 6, average="macro")),
        ("f1_gender", f1_score(made.labels % 6 // 3, made.predictions % 6 // 3, average="macro")),
        ("f1_age", f1_score(made.labels % 3, made.predictions % 3, average="macro")),
    ):
        low, high = found.headline[name]
        assert 0 <= low < score < high, name
        assert high - low < 0.4 * score, name
    assert found.headline["macro_f1_last"] == pytest.approx(found.headline["macro_f1"])  # the same predictions


def test_the_interval_of_a_class_of_few_groups_is_marked_and_one_of_a_single_group_is_none() -> None:
    made = oof(1)
    labels, probabilities = np.where(made.labels == 4, 5, made.labels), made.probabilities.copy()
    first_photos = np.arange(5) * 7  # of five people
    probabilities[first_photos[:2]] = np.eye(18)[4]  # two of them are answered rightly
    for people, told in ((1, "no interval"), (2, ", few people"), (4, ", few people"), (5, "")):
        labels[first_photos[:people]] = 4
        changed = replace(made, labels=labels, probabilities=probabilities)
        found = page_scores.intervals(changed, CONTEST, EVERY, 200, 0)
        assert np.isfinite([found.class_low[4], found.class_high[4]]).all() == (people > 1), people
        assert page_scores.interval_text(found, 4, "people").endswith(told), people
        assert found.few[4] == (people < 5)
    assert 0 <= found.class_low[4] < found.class_high[4] <= 1
    assert np.isnan(found.class_low[17])  # nobody
    assert np.isfinite(found.class_low[:4]).all()
    assert not found.few[:4].any()


def test_the_headline_shows_the_interval_of_metrics_json_and_its_own_where_that_has_none() -> None:
    found = page_scores.Intervals(
        {"macro_f1": (0.1, 0.2), "accuracy": (0.3, 0.4)}, np.zeros(18), np.ones(18), np.zeros(18, bool)
    )
    scores = {"macro_f1": 0.5, "macro_f1_low": 0.45, "macro_f1_high": 0.55, "accuracy": 0.35, "ece": 0.01}
    better, few = difference("macro_f1", 0.1, 0.05, "better"), difference("accuracy", 0.1, 0.05, TOO_FEW)
    rows = {
        row["name"]: row
        for row in page_scores.headline_rows(
            CONTEST, [scores, {"macro_f1": 0.6}], [found, found], {"macro_f1": better, "accuracy": few}
        )
    }
    assert list(rows) == ["macro F1 ↑", "accuracy ↑", "expected calibration error (ECE) ↓"]
    assert rows["macro F1 ↑"]["cells"] == [
        {"value": "0.5000", "interval": "0.4500 to 0.5500"},
        {"value": "0.6000", "interval": "0.1000 to 0.2000"},
    ]
    assert rows["macro F1 ↑"]["difference"] == {
        "value": "+0.1000", "interval": "+0.0500 to +0.1500", "verdict": "better",
    }  # fmt: skip
    assert rows["accuracy ↑"]["cells"][1]["value"] == "–"
    assert rows["accuracy ↑"]["difference"] == {"value": "+0.1000", "interval": "", "verdict": TOO_FEW}


def test_scores_of_one_repeat_say_so_where_the_others_are_of_several_joined() -> None:
    keys = ("macro_f1", "macro_f1_seed_mean", "macro_f1_other_folds", "macro_f1_best_epochs")
    found = page_scores.intervals(SMALL, CONTEST, EVERY, 100, 0)
    of_one, of_three = (
        [row["name"] for row in page_scores.headline_rows(CONTEST, [dict.fromkeys(keys, 0.5) | own], [found], {})]
        for own in ({}, {"repeats": 3})
    )
    assert not any("repeat alone" in str(name) for name in (of_one[0], *of_one[2:]))
    assert all("of a repeat alone" in str(name) for name in of_three[1:])


def test_of_too_few_groups_a_loss_shows_no_interval_and_a_share_its_whole_range() -> None:
    few = page_scores.intervals(SMALL, CONTEST, EVERY, 100, 0)
    rows = page_scores.headline_rows(CONTEST, [{"accuracy": 0.4, "nll": 1.5}], [few], {})
    assert [row["cells"] for row in rows] == [
        [{"value": "0.4000", "interval": "0.0000 to 1.0000"}],
        [{"value": "1.5000", "interval": ""}],
    ]


def test_the_photos_of_one_group_stand_together_where_the_worst_of_them_does() -> None:
    made = replace(SMALL, group=np.array(["1", "1", "2", "3", "2"]))
    places = page_scores.highest_loss(made, 4)
    assert made.photo[places].tolist() == ["e", "c", "b", "d"]
    assert [made.photo[group].tolist() for group in page_scores.by_group(made, places)] == [["e", "c"], ["b"], ["d"]]
    assert page_scores.by_group(made, places[:0]) == []


def test_only_classes_that_are_shown_get_an_interval_and_it_is_the_same_one() -> None:
    made = oof(1)
    whole, some = (page_scores.intervals(made, CONTEST, np.array(shown), 200, 0) for shown in (EVERY, [3, 11]))
    assert np.flatnonzero(np.isfinite(some.class_low)).tolist() == [3, 11]
    assert some.class_low[[3, 11]] == pytest.approx(whole.class_low[[3, 11]], abs=1e-12)
    assert some.headline == whole.headline


def test_every_axis_and_subset_of_a_task_has_its_interval_and_a_single_axis_none_of_its_own() -> None:
    found = page_scores.intervals(oof(1, task=CELLS), CELLS, np.arange(9), 200, 0).headline
    assert {"f1_large", "f1_strong_large", "f1_stain", "f1_size"} <= set(found)
    made = oof(1, task=CELLS)
    low, high = found["f1_stain"]
    assert low < f1_score(made.labels // 3, made.predictions // 3, average="macro") < high
    alone = page_scores.intervals(oof(1, task=FOLDERS), FOLDERS, np.arange(10), 200, 0).headline
    assert set(alone) == {"macro_f1", "macro_f1_last", "accuracy", "nll"}


def test_a_score_that_no_photo_has_is_left_open() -> None:
    found = page_scores.Intervals({"f1_large": (0.0, 0.0)}, np.zeros(9), np.ones(9), np.zeros(9, bool))
    (row,) = page_scores.headline_rows(CELLS, [{"f1_large": float("nan"), "macro_f1_last": 0.5}], [found], {})[1:]
    assert row["cells"] == [{"value": "–", "interval": ""}]
