from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, paired_difference, training_noise
from stages.judge.paired_difference import (
    BETTER,
    MODEL_BETTER,
    MODEL_WORSE,
    TOO_FEW,
    UNDECIDED,
    WORSE,
    Asked,
    Difference,
)
from stages.judge.training_noise import Training

FOLDS = 5
USUAL = Asked(1000, 0)


def run(right: float | Sequence[float], seed: int, people: int = 300) -> Training:
    """A training that answers `right` of the photos correctly (of each fold's); the labels are the same for every seed."""
    labels = np.random.default_rng(0).integers(0, 18, people * 7)
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), 7)
    fold = who % FOLDS
    wrong = rng.random(len(labels)) >= np.broadcast_to(right, FOLDS)[fold]
    predictions = np.where(wrong, rng.integers(0, 18, len(labels)), labels)
    of = labels, predictions, wrong.astype(float)
    over_people, over_folds = (
        bootstrap.of_run(units, *of, classes=18, subsets=CONTEST.subsets) for units in (who, fold)
    )
    return Training(over_people, over_folds, np.arange(FOLDS))


def rows(a: list[Training], b: list[Training], asked: Asked = USUAL) -> dict[str, Difference]:
    return {row.metric: row for row in paired_difference.compare(a, b, asked)}


def test_a_run_against_itself_differs_by_nothing() -> None:
    for row in rows([run(0.6, 1)], [run(0.6, 1)]).values():
        assert (row.difference, row.low, row.high) == (0, 0, 0)
        assert row.verdict == UNDECIDED
        assert row.detectable is None  # not 0: no sample tells how much the difference varies


def test_a_large_difference_is_seen_from_both_sides() -> None:
    there, back = rows([run(0.5, 1)], [run(0.7, 2)]), rows([run(0.7, 2)], [run(0.5, 1)])
    for name in ("macro_f1", "accuracy", "nll", "f1_60plus"):
        assert there[name].verdict == BETTER
        assert back[name].verdict == WORSE
        assert there[name].difference == pytest.approx(-back[name].difference)
        assert there[name].low == pytest.approx(-back[name].high, abs=0.01)
    assert there["nll"].difference < 0
    assert there["macro_f1"].low < there["macro_f1"].difference < there["macro_f1"].high


def test_a_model_that_got_lucky_in_some_folds_is_better_as_trained_not_as_a_method() -> None:
    """Over people alone the difference is beyond doubt; the folds, which are trainings of their own, contradict each other."""
    even, uneven = [run(0.6, 1)], [run((0.9, 0.85, 0.6, 0.55, 0.5), 2)]
    there, back = rows(even, uneven)["accuracy"], rows(uneven, even)["accuracy"]
    assert (there.verdict, back.verdict) == (MODEL_BETTER, MODEL_WORSE)
    assert there.models_low > 0 > there.low
    fixed = rows(even, uneven, Asked(1000, 0, same_models=True))["accuracy"]
    assert fixed.verdict == BETTER
    assert (fixed.low, fixed.high) == (there.models_low, there.models_high)


def test_without_folds_nothing_is_said_of_the_method() -> None:
    a, b = ([Training(run(right, seed).over_groups)] for right, seed in ((0.5, 1), (0.7, 2)))
    row = rows(a, b)["macro_f1"]
    assert (row.verdict, row.detectable) == (MODEL_BETTER, None)


def test_of_equal_methods_whose_trainings_vary_few_pairs_are_told_apart() -> None:
    """Accuracy of a fold varies with a standard deviation of 0.04; over people alone half of the pairs would differ."""
    rng = np.random.default_rng(5)
    for repeats in (1, 2, 4):
        found = []
        for pair in range(120):
            runs = [
                run(0.6 + 0.04 * rng.normal(size=FOLDS), 10_000 * repeats + 20 * pair + number)
                for number in range(2 * repeats)
            ]
            only = [
                Training(
                    bootstrap.pick(one.over_groups, ("accuracy",)),
                    bootstrap.pick(one.over_cells, ("accuracy",)),
                    one.folds,
                )
                for one in runs
                if one.over_cells is not None
            ]
            found.append(paired_difference.compare(only[:repeats], only[repeats:], Asked(200, pair))[0])
        method = np.mean([row.verdict in (BETTER, WORSE) for row in found])
        models = np.mean([row.models_low > 0 or row.models_high < 0 for row in found])
        assert method < 0.12, repeats  # 0.05, and three standard errors of 120 pairs
        assert models > 0.2, repeats


def test_two_repeats_are_judged_by_their_own_spread() -> None:
    a, b = (
        [run((right, 0.6, 0.6, 0.6, 0.6), seed) for seed, right in enumerate(of)] for of in ((0.5, 0.7), (0.55, 0.65))
    )
    alone, together = rows(a[:1], b[:1])["accuracy"], rows(a, b)["accuracy"]
    assert alone.seed_sd is None
    assert together.seed_sd is not None
    noise = training_noise.between_repeats([a, b])
    assert noise is not None
    at = [one.metric for one in paired_difference.compare(a, b, Asked(1000, 0))].index("accuracy")
    assert together.seed_sd == pytest.approx(noise.sd[at])
    of_people = (together.models_high - together.models_low) / 2 / stats.norm.isf(0.025)
    total = of_people**2 + noise.variance[at]
    freedom = noise.freedom * (total / noise.measured[at]) ** 2
    assert (together.high - together.low) / 2 == pytest.approx(
        1.03 * stats.t.isf(0.025, freedom) * np.sqrt(total), rel=1e-6
    )
    assert together.a == pytest.approx(np.mean([bootstrap.estimate(one.over_groups)[at] for one in a]))


def test_several_comparisons_share_one_error_rate_in_verdict_p_value_and_interval() -> None:
    alone, shared = (rows([run(0.6, 1)], [run(0.63, 3)], Asked(1000, 0, comparisons=count)) for count in (1, 20))
    for name, row in shared.items():
        assert row.p_value == pytest.approx(min(1, 20 * alone[name].p_value))
        assert row.low <= alone[name].low
        assert row.high >= alone[name].high
    assert alone["macro_f1"].verdict != UNDECIDED
    assert shared["macro_f1"].verdict == UNDECIDED


@given(st.floats(0.3, 0.8), st.floats(0.3, 0.8), st.integers(1, 3), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_verdict_interval_and_p_value_never_contradict_each_other(
    one: float, other: float, repeats: int, comparisons: int, seed: int
) -> None:
    a, b = ([run(right, seed + number, 60) for number in range(repeats)] for right in (one, other))
    for row in paired_difference.compare(a, b, Asked(100, 0, comparisons=comparisons)):
        if row.verdict == TOO_FEW:
            continue
        assert row.low <= row.models_low <= row.difference <= row.models_high <= row.high
        excluded = row.low > 0 or row.high < 0
        assert excluded == (row.verdict in (BETTER, WORSE)) == (row.p_value < 0.05)
        assert (row.verdict in (MODEL_BETTER, MODEL_WORSE)) == (
            not excluded and (row.models_low > 0 or row.models_high < 0)
        )
        if row.metric != "nll":
            assert -1 <= row.low <= row.high <= 1


def test_what_could_be_shown_falls_with_the_people_and_is_shown_in_four_of_five_samples() -> None:
    few, many = (rows([run(0.6, 1, people)], [run(0.6, 2, people)]) for people in (60, 960))
    for name in ("macro_f1", "accuracy"):
        assert many[name].detectable is not None
        assert few[name].detectable is not None
        assert many[name].detectable < few[name].detectable  # type: ignore[operator]
    seen = [rows([run(0.6, 2 * seed)], [run(0.64, 2 * seed + 1)], Asked(200, 0))["accuracy"] for seed in range(60)]
    typical = float(np.median([row.detectable for row in seen if row.detectable is not None]))
    gain = float(np.mean([row.difference for row in seen]))
    share = np.mean([row.verdict == BETTER for row in seen])
    assert gain == pytest.approx(0.04 * 17 / 18, abs=0.005)
    assert (share > 0.65) == (typical < 1.1 * gain), (share, typical, gain)


def test_a_class_of_a_few_people_gets_no_verdict() -> None:
    by_name = rows([run(0.5, 1)], [run(0.9, 2)], Asked(200, 0, groups_of={"f1_5": 3, "f1_4": 40}))
    assert by_name["f1_5"].verdict == TOO_FEW
    assert (by_name["f1_5"].low, by_name["f1_5"].high, by_name["f1_5"].groups) == (-1, 1, 3)
    assert (by_name["f1_4"].verdict, by_name["f1_4"].groups) == (BETTER, 40)


@pytest.mark.parametrize("people", [1, 2, 4])
def test_fewer_than_five_people_tell_nothing_of_any_score(people: int) -> None:
    for row in rows([run(0.3, 1, people)], [run(0.95, 2, people)], Asked(200, 0, same_models=True)).values():
        assert (row.verdict, row.p_value, row.detectable) == (TOO_FEW, 1, None)
        # nll has no bounds that an interval could reach to, so it has none.
        ends = (row.difference, row.difference) if row.metric == "nll" else (-1, 1)
        assert (row.low, row.high) == (row.models_low, row.models_high) == ends


def of_answers(labels: np.ndarray, *answers: np.ndarray) -> list[list[Training]]:
    """One run for each answers, of people with 7 photos each."""
    people = np.repeat(np.arange(len(labels) // 7), 7)
    return [[Training(bootstrap.of_run(people, labels, one, classes=18))] for one in answers]


def test_one_photo_of_a_class_that_nobody_has_is_no_evidence() -> None:
    """It takes a third of macro F1 away in every sample of people that is drawn, since the class stays in the mean."""
    labels = np.repeat([0, 1], 105)
    one = np.where(np.arange(210) % 9 == 0, 1 - labels, labels)
    other = one.copy()
    other[3] = 17
    a, b = of_answers(labels, one, other)
    found = {row.metric: row for row in paired_difference.compare(a, b, Asked(500, 0, same_models=True))}["macro_f1"]
    assert found.difference < -0.25
    assert (found.verdict, found.low < 0 < found.high) == (UNDECIDED, True)
    # Of five people who get such an answer from one run alone an exact sign test says p = 0.06, of six 0.03.
    for people, verdict in ((5, UNDECIDED), (6, WORSE)):
        several = one.copy()
        several[::21][:people] = 17
        a, b = of_answers(labels, one, several)
        assert paired_difference.compare(a, b, Asked(500, 0, same_models=True))[0].verdict == verdict


def test_repeats_of_which_one_answers_a_level_that_nobody_has_are_compared() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 210)
    people, fold = np.repeat(np.arange(30), 7), np.repeat(np.arange(30) % 5, 7)

    def repeat(seed: int, *others: int) -> Training:
        answers = np.where(np.random.default_rng(seed).random(210) < 0.8, labels, 1 - labels)
        answers[list(others)] = 2
        over = (bootstrap.beside(bootstrap.of_axes(units, labels, answers, {"age": 3})) for units in (people, fold))
        return Training(*over, np.arange(5))

    (found,) = paired_difference.compare([repeat(1, 5), repeat(2)], [repeat(3), repeat(4)], Asked(200, 0))
    assert (found.metric, found.verdict) == ("f1_age", UNDECIDED)


def test_no_interval_reaches_where_no_difference_can_be() -> None:
    """Six people of a class: one run knows five of them, the other one. Six are too few for the interval to know it."""
    people = np.repeat(np.arange(60), 7)
    labels = np.where(np.isin(np.arange(420), 7 * np.arange(6)), 17, 0)
    one, other = labels.copy(), np.zeros_like(labels)
    one[0], other[0] = 0, 17
    a, b = (
        [Training(bootstrap.of_run(people, labels, predictions, 3.0 * (predictions != labels), classes=18))]
        for predictions in (one, other)
    )
    there, back = rows(a, b)["f1_17"], rows(b, a)["f1_17"]
    assert (there.low, back.high) == (-1, 1)
    assert -1 < there.difference < there.high < 1
    assert rows([run(0.9, 1)], [run(0.1, 2)])["nll"].difference > 0.5  # in nats, without a bound


def test_the_groups_have_the_name_that_the_task_gives_them() -> None:
    for units in ("people", "photos"):
        assert {row.units for row in rows([run(0.60, 1)], [run(0.605, 4)], Asked(200, 0, units)).values()} == {units}
