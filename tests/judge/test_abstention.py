"""Answers where the model is sure enough."""

import math

import numpy as np
import pytest

from stages.judge import abstention

HOW = 200, 0  # replicates, seed


def test_coverage_and_accuracy_of_answers_that_are_sure_enough() -> None:
    confidence = np.array([0.9, 0.95, 0.5, 0.99, 0.9, 0.2])
    right = np.array([True, False, False, True, True, True])
    found = abstention.measured(confidence, right, np.arange(6), 0.9, HOW)
    assert (found.photos, found.groups) == (4, 4)
    assert found.coverage.value == pytest.approx(4 / 6)
    assert found.accuracy.value == pytest.approx(3 / 4)
    assert math.isnan(found.accuracy.low)  # of four groups nothing is known
    assert found.coverage.low < 4 / 6 < found.coverage.high


def test_nobody_is_sure_enough() -> None:
    found = abstention.measured(np.full(9, 0.4), np.ones(9, bool), np.arange(9), 0.9, HOW)
    assert (found.photos, found.coverage.value) == (0, 0)
    assert found.coverage.high > 0  # the next group's photo may be
    assert math.isnan(found.accuracy.value)


def test_intervals_are_as_wide_as_groups_make_them_and_hold_what_is_true() -> None:
    """Groups of ten photos that are right or wrong together, 80 % of them right: four groups of five."""
    rng = np.random.default_rng(0)
    inside, widths = 0, []
    for _ in range(100):
        right = np.repeat(rng.random(60) < 0.8, 10)
        found = abstention.measured(np.full(600, 0.95), right, np.repeat(np.arange(60), 10), 0.9, HOW).accuracy
        inside += found.low <= 0.8 <= found.high
        widths.append(found.high - found.low)
    assert inside >= 88
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 60), rel=0.3)


def test_where_few_groups_are_wrong_an_interval_does_not_flatter() -> None:
    """95 % of 20 groups' photos are right, one group in twenty or so has most of the wrong ones: without pseudo-groups an eighth
    of the intervals lies above the truth, and none below."""
    too_high = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        right = rng.random((20, 7)) >= rng.beta(0.05, 0.95, 20)[:, None]
        found = abstention.share(right.ravel(), np.ones(140, bool), np.repeat(np.arange(20), 7), HOW)
        too_high += found.low > 0.95
    assert too_high <= 5
