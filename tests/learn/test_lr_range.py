import numpy as np
import pytest

from stages.learn.lr_range import smoothed, suggest

LRS = np.geomspace(1e-6, 1, 61)
X = np.log10(LRS)
# Flat, then falling steepest at 1e-3 to a minimum at 1e-1.5, then diverging.
CURVE = 3 - 2 / (1 + np.exp(-4 * (X + 3))) + np.exp(6 * (X + 1.0))


def test_suggestions_on_a_curve_with_known_answers() -> None:
    found = suggest(LRS, CURVE)
    assert np.log10(found["steepest"]) == pytest.approx(-3, abs=0.11)
    lowest = LRS[CURVE.argmin()]
    assert found["minimum/10"] == pytest.approx(lowest / 10)
    assert found["steepest"] < found["minimum/10"] * 10


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
