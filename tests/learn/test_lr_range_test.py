import numpy as np
import pytest

from stages.learn.lr_range_test import FACTOR, number_of_steps, read, smoothed
from tests.conftest import small

LRS = np.geomspace(1e-6, 1, 100)


def curve(middle: float = 1e-3, steps: int = 100, scatter: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rates and losses: 3 falling to 1.5 around `middle`, and rising again from 0.1 on."""
    lrs = np.geomspace(1e-6, 1, steps)
    places = np.log10(lrs / middle)
    losses = 3 - 1.5 / (1 + np.exp(-4 * places)) + np.exp(6 * (np.log10(lrs) + 0.5))
    return lrs, losses + scatter * np.random.default_rng(seed).standard_normal(steps)


@pytest.mark.parametrize("middle", [1e-4, 1e-3, 1e-2])
def test_half_of_the_fall_is_found_where_it_was_put(middle: float) -> None:
    found = read(*curve(middle))
    assert found is not None
    assert found.middle == pytest.approx(middle, rel=0.2)
    assert found.begin == pytest.approx(3, abs=0.05)
    assert found.suggestion == pytest.approx(FACTOR * found.middle)


def test_scatter_of_the_batches_moves_the_suggestion_little() -> None:
    """As much as on curves that were measured, a fifteenth of the fall."""
    found = [read(*curve(scatter=0.1, seed=seed)) for seed in range(50)]
    suggestions = [one.suggestion for one in found if one]
    assert len(suggestions) == len(found)
    assert max(suggestions) / min(suggestions) < 1.5


# Losses of the range test of the demo's model (ce, seed 0, 100 steps from 1e-6 to 1, 64x48 px, batch 32), to two digits after the
# point. Read off its plot by eye: it begins at 2.9, ends near 2.4, and is in between, at 2.65, a little above 1e-3.
RECORDED = """
    2.94, 2.99, 2.94, 2.93, 2.93, 2.83, 2.96, 2.90, 2.95, 2.91, 2.96, 2.88, 2.89, 2.93, 3.01, 2.97, 2.91, 2.96, 2.90, 3.03,
    2.90, 2.94, 3.00, 2.89, 2.88, 2.92, 2.89, 2.90, 2.89, 2.89, 2.97, 2.85, 2.94, 2.90, 2.97, 2.88, 2.99, 2.97, 2.89, 2.86,
    2.90, 2.82, 2.82, 2.90, 2.84, 2.89, 2.75, 2.82, 2.75, 2.76, 2.81, 2.78, 2.65, 2.63, 2.60, 2.72, 2.57, 2.53, 2.29, 2.42,
    2.52, 2.05, 2.45, 2.78, 2.47, 2.09, 2.53, 2.63, 2.19, 2.29, 2.49, 1.99, 2.22, 2.48, 2.57, 2.55, 2.34, 2.49, 2.73, 2.29,
    2.39, 2.50, 2.36, 2.25, 2.78, 2.27, 2.58, 2.39, 2.82, 2.22, 2.18, 2.52, 2.59, 2.49, 2.47, 2.36, 2.60, 2.99, 2.50, 2.39
"""


def test_half_of_the_fall_of_a_recorded_curve() -> None:
    losses = np.array([float(value) for value in RECORDED.split(",")])
    found = read(np.geomspace(1e-6, 1, len(losses)), losses)
    assert found is not None
    assert found.middle == pytest.approx(1.5e-3, rel=0.05)
    assert found.suggestion == pytest.approx(0.0112, rel=0.05)


@pytest.mark.parametrize(
    "losses",
    [np.linspace(3, 9, 100), np.full(100, 3.0), 3 + 0.2 * np.random.default_rng(0).standard_normal(100)],
    ids=["rises", "stays", "scatters"],
)
def test_a_curve_that_does_not_fall_suggests_nothing(losses: np.ndarray) -> None:
    assert read(LRS, losses) is None


def test_more_steps_learn_more_at_small_rates_and_the_factor_makes_up_for_it() -> None:
    few, many = read(*curve(steps=50)), read(*curve(steps=100))
    assert few is not None
    assert many is not None
    assert few.factor < many.factor == pytest.approx(FACTOR)
    shorter = read(LRS[:80], curve()[1][:80])  # one that diverged
    assert shorter is not None
    assert shorter.factor == pytest.approx(FACTOR), "steps in a decade count, not steps"


def test_smoothing_neither_lags_nor_bends_a_straight_line() -> None:
    line = np.linspace(3, 1, 100)
    assert smoothed(LRS, line)[20:80] == pytest.approx(line[20:80], rel=1e-4)
    step = np.where(np.arange(100) < 50, 2.0, 1.0)
    assert smoothed(LRS, step)[49:51].mean() == pytest.approx(1.5)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="three or more"):
        read(LRS[:2], LRS[:2])


def test_a_range_test_takes_a_twentieth_of_the_steps_within_bounds_or_what_is_asked() -> None:
    auto = {"lr_find": {"steps": "auto"}, "train": {"epochs": 10, "batch_size": 32, "repeats": 2}}
    assert number_of_steps(small(**auto), 32 * 40) == 80  # 2 folds x 2 repeats x 10 epochs x 40 steps: 1600
    assert number_of_steps(small(**auto), 32 * 400) == 100
    assert number_of_steps(small(**auto), 32) == 50
    assert number_of_steps(small(lr_find={"steps": 12}), 32 * 400) == 12
