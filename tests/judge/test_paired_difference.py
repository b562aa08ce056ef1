from dataclasses import replace

import numpy as np
import pytest

from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, paired_difference
from stages.judge.bootstrap import Scores


def run(right: float, seed: int, people: int = 300) -> Scores:
    """A run that answers `right` of the photos correctly; the labels are the same for every seed."""
    labels = np.random.default_rng(0).integers(0, 18, people * 7)
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(labels)) >= right
    predictions = np.where(wrong, rng.integers(0, 18, len(labels)), labels)
    who, losses = np.repeat(np.arange(people), 7), wrong.astype(float)
    return bootstrap.of_run(who, labels, predictions, losses, classes=18, subsets=CONTEST.subsets)


def rows(a: list[Scores], b: list[Scores]) -> dict[str, paired_difference.Difference]:
    return {row.metric: row for row in paired_difference.compare(a, b, {}, 1000, 0)}


def test_a_run_against_itself_differs_by_nothing() -> None:
    for row in rows([run(0.6, 1)], [run(0.6, 1)]).values():
        assert (row.difference, row.low, row.high, row.p_improved) == (0, 0, 0, 0.5)
        assert row.verdict == "no evidence either way"


def test_a_large_difference_is_seen_from_both_sides() -> None:
    there, back = rows([run(0.5, 1)], [run(0.7, 2)]), rows([run(0.7, 2)], [run(0.5, 1)])
    for name in ("macro_f1", "accuracy", "nll", "f1_60plus"):
        assert there[name].verdict == "better"
        assert back[name].verdict == "worse"
        assert there[name].difference == pytest.approx(-back[name].difference)
        assert there[name].low == pytest.approx(-back[name].high, abs=0.01)
    assert there["nll"].difference < 0
    assert there["macro_f1"].p_improved == 1.0
    assert there["macro_f1"].low < there["macro_f1"].difference < there["macro_f1"].high


def test_a_small_difference_is_no_evidence_and_says_how_many_people_would_tell() -> None:
    row = rows([run(0.60, 1)], [run(0.615, 4)])["macro_f1"]
    assert row.verdict == "no evidence either way"
    assert row.low < 0 < row.high
    assert row.more_needed is None or row.more_needed > 0


def test_no_interval_reaches_where_no_difference_can_be() -> None:
    """Six people of a class: one run knows five of them, the other one. Six are too few for the interval to know it."""
    people = np.repeat(np.arange(60), 7)
    labels = np.where(np.isin(np.arange(420), 7 * np.arange(6)), 17, 0)
    one, other = labels.copy(), np.zeros_like(labels)
    one[0], other[0] = 0, 17
    a, b = (
        [bootstrap.of_run(people, labels, predictions, 3.0 * (predictions != labels), classes=18)]
        for predictions in (one, other)
    )
    there, back = rows(a, b)["f1_17"], rows(b, a)["f1_17"]
    assert (there.low, back.high) == (-1, 1)
    assert -1 < there.difference < there.high < 1
    assert rows([run(0.9, 1)], [run(0.1, 2)])["nll"].difference > 0.5  # in nats, without a bound


def test_people_needed_fall_with_the_square_of_the_difference() -> None:
    assert (
        paired_difference._more_needed(100, 0.028, 0.02, 0.0) == 300
    )  # 4 x 100 people halve the error to 0.01 = 0.028 / 2.8
    assert paired_difference._more_needed(100, 0.056, 0.02, 0.0) == 0
    assert paired_difference._more_needed(100, 0.028, 0.02, 0.02) is None  # seed noise alone hides it


def test_the_spread_over_seeds_widens_the_interval() -> None:
    a, b = [run(0.6, seed) for seed in (1, 2)], [run(right, 7) for right in (0.55, 0.65)]
    alone, together = rows(a[:1], b[:1])["macro_f1"], rows(a, b)["macro_f1"]
    assert alone.seed_sd is None
    assert together.seed_sd is not None
    assert together.seed_sd > 0.02
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert together.a == pytest.approx(np.mean([bootstrap.estimate(run)[0] for run in a]))


def test_a_class_of_a_few_people_gets_no_verdict() -> None:
    found = paired_difference.compare([run(0.5, 1)], [run(0.9, 2)], {"f1_5": 3}, 200, 0)
    by_name = {row.metric: row for row in found}
    assert by_name["f1_5"].verdict == paired_difference.TOO_FEW
    assert (by_name["f1_5"].low, by_name["f1_5"].high) == (-1, 1)
    assert by_name["f1_4"].verdict == "better"


def test_the_groups_have_the_name_that_the_task_gives_them() -> None:
    by_unit = {
        units: paired_difference.compare([run(0.60, 1)], [run(0.605, 4)], {}, 200, 0, units)[0]
        for units in ("people", "photos")
    }
    assert {units: row.units for units, row in by_unit.items()} == {"people": "people", "photos": "photos"}
    for units, row in by_unit.items():
        words = paired_difference.in_words(replace(row, more_needed=1234))
        assert words == f"no evidence either way; about 1,200 more {units} would be needed to tell"


def test_the_people_behind_dealt_units_are_counted_not_the_units() -> None:
    """25,000 groups are drawn as 8,333 units; what is missing to tell is still reckoned in groups."""
    labels = np.arange(25_000) % 2
    right = np.random.default_rng(0).random((2, 25_000)) < np.array([[0.7], [0.703]])
    scores = [
        bootstrap.of_run(np.arange(25_000), labels, np.where(one, labels, 1 - labels), classes=2) for one in right
    ]
    row = paired_difference.compare(scores[:1], scores[1:], {}, 200, 0, "photos")[0]
    assert row.verdict == "no evidence either way"
    error = (row.high - row.low) / 2 / 1.96
    expected = 25_000 * ((2.8 * error / row.difference) ** 2 - 1)
    assert row.more_needed == pytest.approx(expected, rel=0.2) if expected < 1e6 - 25_000 else row.more_needed is None


def test_holm_corrects_as_in_his_paper() -> None:
    assert paired_difference.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired_difference.holm([0.2]) == [0.2]
    assert paired_difference.holm([0.6, 0.9]) == [1.0, 1.0]
