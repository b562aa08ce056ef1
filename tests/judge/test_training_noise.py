import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judge import bootstrap, training_noise
from stages.judge.training_noise import Training

PEOPLE, CLASSES = 120, 6
LABELS = np.random.default_rng(0).integers(0, CLASSES, PEOPLE * 3)
PERSON = np.repeat(np.arange(PEOPLE), 3)
FOLD = (PERSON * 7) % 5


def answers(right: np.ndarray, seed: int) -> np.ndarray:
    """Predictions of which the share `right` [5] of each fold's is so."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(LABELS)) < right[FOLD], LABELS, rng.integers(0, CLASSES, len(LABELS)))


def training(predicted: np.ndarray, fold: np.ndarray = FOLD, other: np.ndarray = FOLD, first: bool = True) -> Training:
    cell, *folds = training_noise.of_cells(fold, other)
    names = ("macro_f1", "accuracy")
    of_people, of_cells = (
        bootstrap.pick(bootstrap.of_run(units, LABELS, predicted, classes=CLASSES), names) for units in (PERSON, cell)
    )
    return Training(of_people, of_cells, folds[0 if first else 1])


def test_cells_are_the_folds_where_two_runs_share_them_and_their_crossings_where_not() -> None:
    cell, one, other = training_noise.of_cells(np.array([2, 0, 2, 1]), np.array([2, 0, 2, 1]))
    assert cell.tolist() == [2, 0, 2, 1]
    assert one.tolist() == other.tolist() == [0, 1, 2]
    cell, one, other = training_noise.of_cells(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    assert (one[cell].tolist(), other[cell].tolist()) == ([0, 0, 1, 1], [0, 1, 1, 1])
    assert len(one) == 3


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_what_the_folds_contribute_is_to_first_order_the_difference_of_the_scores(seed: int) -> None:
    one, other = (training(answers(np.full(5, right), seed + number)) for number, right in enumerate((0.6, 0.61)))
    sums = [(run.over_groups.numerators.sum(0), run.over_groups.denominators.sum(0)) for run in (one, other)]
    top, bottom = np.mean([pair[0] for pair in sums], axis=0), np.mean([pair[1] for pair in sums], axis=0)
    assert one.over_cells is not None
    assert other.over_cells is not None
    parts = [training_noise.contributions(run.over_cells, top, bottom) for run in (one, other) if run.over_cells]
    scores = [bootstrap.estimate(run.over_groups) for run in (one, other)]
    assert parts[1].sum(0) - parts[0].sum(0) == pytest.approx(scores[1] - scores[0], abs=4e-3)


def repeats(sd: float, count: int, seed: int) -> list[Training]:
    """Trainings whose folds' shares of right answers vary with the standard deviation `sd`."""
    rng = np.random.default_rng(seed)
    return [training(answers(0.6 + sd * rng.normal(size=5), 1000 * seed + one)) for one in range(count)]


def test_the_noise_of_the_seeds_is_found_apart_from_what_people_answer_differently() -> None:
    """Accuracy is a mean: with folds of 72 photos answered by chance alone it varies by the root of 0.24 / 360."""
    quiet = [training_noise.between_repeats([repeats(0.0, 8, seed), repeats(0.0, 8, seed + 50)]) for seed in range(20)]
    loud = [training_noise.between_repeats([repeats(0.1, 8, seed), repeats(0.1, 8, seed + 50)]) for seed in range(20)]
    accuracy = np.array([[one.variance[1], one.measured[1], one.sd[1]] for one in [*quiet, *loud] if one])
    of_chance, of_seeds = 0.24 / 360 * (5 / 6), 0.1**2 / 5 * (5 / 6) ** 2
    assert accuracy[:20, 1].mean() == pytest.approx(2 / 8 * of_chance, rel=0.25)
    assert accuracy[:20, 0].mean() < 0.3 * accuracy[:20, 1].mean(), "what people bring is taken off"
    assert accuracy[20:, 0].mean() == pytest.approx(2 / 8 * of_seeds, rel=0.25)
    assert {one.freedom for one in [*quiet, *loud] if one} == {2 * 5 * 7}


def test_a_run_with_one_training_is_taken_to_vary_as_the_other_does() -> None:
    several, single = repeats(0.1, 4, 1), repeats(0.1, 1, 2)
    alone, both = (training_noise.between_repeats(runs) for runs in ([several, single], [several, several]))
    assert alone is not None
    assert both is not None
    assert alone.sd == pytest.approx(both.sd)
    assert alone.measured == pytest.approx(both.measured * (1 + 1 / 4) / (2 / 4))
    assert alone.freedom == 5 * 3
    assert training_noise.between_repeats([single, single]) is None


def test_the_spread_over_folds_counts_people_and_seeds_together() -> None:
    """The folds' differences in accuracy, as a textbook's paired t test over folds has them."""
    rng = np.random.default_rng(3)
    right = [answers(0.6 + 0.1 * rng.normal(size=5), seed) == LABELS for seed in (1, 2)]
    a, b = (training(np.where(one, LABELS, (LABELS + 1) % CLASSES)) for one in right)
    found = training_noise.between_folds(a, b)
    assert found is not None
    difference = np.array(
        [(right[1] ^ False)[fold == FOLD].mean() - right[0][fold == FOLD].mean() for fold in range(5)]
    )
    assert found[0][1] == pytest.approx(difference.var(ddof=1) / 5)
    assert found[1] == 4


def test_runs_of_other_folds_are_crossed_and_never_thought_surer_than_either() -> None:
    other = np.random.default_rng(4).permutation(5)[(PERSON * 3 + PERSON // 7) % 5]
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        noise = 0.6 + 0.15 * rng.normal(size=(2, 5))
        first = answers(noise[0], seed)
        second = np.where(
            np.random.default_rng(seed + 99).random(len(LABELS)) < noise[1][other], LABELS, (LABELS + 1) % CLASSES
        )
        a, b = training(first, FOLD, other), training(second, FOLD, other, first=False)
        variance, freedom = training_noise.between_folds(a, b) or (np.zeros(2), 0)
        found.append(variance[1])
        assert freedom == 4
    # of either side's folds, and of the people: twice 0.15^2 / 5, 0.24 / 360
    assert np.mean(found) == pytest.approx(2 * 0.15**2 / 5 + 2 * 0.24 / 360, rel=0.35)


def test_of_one_fold_or_of_unknown_ones_nothing_is_told() -> None:
    one = training(answers(np.full(5, 0.6), 1), np.zeros_like(FOLD), np.zeros_like(FOLD))
    assert training_noise.between_folds(one, one) is None
    unknown = Training(one.over_groups)
    assert training_noise.between_folds(unknown, unknown) is None
    assert training_noise.between_repeats([[unknown, unknown], [unknown]]) is None
