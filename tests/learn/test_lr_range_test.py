import numpy as np
import pytest

from stages.learn.lr_range_test import smoothed, suggest

LRS = np.geomspace(1e-6, 1, 61)
X = np.log10(LRS)
# Flat, then falling steepest at 1e-3 to a minimum at 1e-1.5, then diverging.
CURVE = 3 - 2 / (1 + np.exp(-4 * (X + 3))) + np.exp(6 * (X + 1.0))


def test_suggestions_on_a_curve_with_known_answers() -> None:
    found = suggest(LRS, CURVE)
    assert np.log10(found["steepest"]) == pytest.approx(-3, abs=0.11)
    lowest = LRS[CURVE.argmin()]
    assert found["minimum/10"] == pytest.approx(lowest / 10)


# Smoothed loss of `make demo`'s range test (ce, seed 0), 1e-6 to 1 in 100 steps. Read off its plot by eye: the fall is
# steepest a little above 3e-3, the longest fall's middle lies near 1e-2, the lowest point near 0.5.
RECORDED = """
    2.92022, 2.91878, 2.90840, 2.91535, 2.90942, 2.90430, 2.91201, 2.91912, 2.92452, 2.92353, 2.92814,
    2.92273, 2.92561, 2.92172, 2.92382, 2.92415, 2.92613, 2.93130, 2.93368, 2.92791, 2.92496, 2.92931,
    2.92728, 2.92423, 2.91945, 2.92248, 2.91788, 2.91580, 2.91249, 2.91723, 2.91832, 2.91739, 2.91616,
    2.92042, 2.91846, 2.91481, 2.90986, 2.90939, 2.90457, 2.90262, 2.89792, 2.89761, 2.89131, 2.88335,
    2.88002, 2.87854, 2.86839, 2.84866, 2.83431, 2.82829, 2.81548, 2.80781, 2.78496, 2.76786, 2.74369,
    2.72061, 2.70867, 2.69790, 2.65816, 2.62069, 2.61468, 2.57919, 2.56208, 2.58092, 2.59206, 2.52958,
    2.52286, 2.51711, 2.52878, 2.48808, 2.51149, 2.49254, 2.46911, 2.48176, 2.51849, 2.52329, 2.52287,
    2.53198, 2.52635, 2.51971, 2.51488, 2.50478, 2.49957, 2.46037, 2.47980, 2.48159, 2.44550, 2.43666,
    2.48794, 2.44519, 2.47436, 2.43355, 2.41409, 2.40789, 2.36189, 2.42241, 2.44666, 2.43728, 2.48397, 2.45683
"""


def test_suggestions_on_a_recorded_curve() -> None:
    losses = np.array([float(value) for value in RECORDED.split(",")])
    found = suggest(np.geomspace(1e-6, 1, len(losses)), losses)
    assert found == pytest.approx({"steepest": 0.00327, "valley": 0.0132, "minimum/10": 0.0498}, rel=0.01)


def test_valley_lies_halfway_into_the_longest_fall() -> None:
    losses = np.concatenate([np.full(20, 5.0), np.linspace(4.9, 1, 30), np.linspace(1.1, 9, 11)])
    position = LRS.tolist().index(suggest(LRS, losses)["valley"])
    assert 20 + 10 <= position <= 20 + 18


def test_a_rising_curve_suggests_its_start() -> None:
    assert suggest(LRS, np.arange(61.0))["valley"] == LRS[0]


def test_smoothing_is_bias_corrected() -> None:
    assert smoothed(np.full(5, 2.0), 0.9) == pytest.approx(np.full(5, 2.0))
    assert smoothed(np.array([1.0, 3.0]), 0.5) == pytest.approx([1.0, (0.25 * 1 + 0.5 * 3) / 0.75])


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="three or more"):
        suggest(LRS[:2], CURVE[:2])
