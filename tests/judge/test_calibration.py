import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judge import calibration
from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.judge.metrics import log_softmax

HOW = 200, 0  # replicates, seed


def drawn(
    people: int, seed: int = 0, factor: float = 1.0, classes: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log probabilities [N, C], labels, numbered groups of 4 photos, calibrated but for the factor that the logits are given."""
    rng = np.random.default_rng(seed)
    honest = log_softmax(rng.normal(size=(people * 4, classes)) * 2)
    labels = (rng.random((len(honest), 1)) > np.exp(honest).cumsum(1)[:, :-1]).sum(1)
    return log_softmax(honest * factor), labels, np.repeat(np.arange(people), 4)


def test_the_temperature_that_was_put_in_is_found_again_within_its_interval() -> None:
    logs, labels, group = drawn(1000, factor=3)
    fitted = calibration.temperature(logs, labels)
    assert fitted == pytest.approx(3, rel=0.1)
    low, high = calibration.temperature_interval(logs, labels, group, fitted, *HOW)
    assert 2.7 < low < fitted < high < 3.3


def test_the_interval_of_a_temperature_is_that_of_fits_to_other_people() -> None:
    """The one-step replicates spread as temperatures do that are fitted to people drawn anew."""
    fits = [calibration.temperature(*drawn(150, seed, 2)[:2]) for seed in range(60)]
    logs, labels, group = drawn(150, factor=2)
    low, high = calibration.temperature_interval(logs, labels, group, fits[0], *HOW)
    assert high - low == pytest.approx(2 * 1.96 * np.std(fits), rel=0.35)


def test_calibration_error_of_known_bins() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([0, 1, 1, 1])
    found = calibration.reliability(probabilities, labels, np.arange(4), *HOW, bins=10)
    assert found.photos[[6, 9]].tolist() == found.groups[[6, 9]].tolist() == [2, 2]
    assert (found.confidence[9], found.accuracy[9]) == (pytest.approx(0.9), 0.5)
    # |0.9 - 0.5| and |0.6 - 1|, two photos each
    assert calibration.ece(calibration.top(probabilities, labels), 10) == pytest.approx(0.4)


def test_an_error_is_told_from_the_one_that_a_calibrated_model_shows_by_chance() -> None:
    for factor, told in ((1, False), (3, True)):
        logs, labels, group = drawn(300, 1, factor)
        found = calibration.calibration_error(calibration.answers(logs, labels), group, *HOW)
        assert (found.low > 0) == told
        assert (found.ece > 2 * found.by_chance) == told
        assert 0 <= found.debiased < found.ece


def test_what_shows_by_chance_is_what_a_calibrated_model_shows() -> None:
    errors = [
        calibration.ece(calibration.answers(logs, labels))
        for logs, labels, _ in (drawn(200, seed) for seed in range(40))
    ]
    logs, labels, group = drawn(200, 100)
    by_chance = calibration.calibration_error(calibration.answers(logs, labels), group, *HOW).by_chance
    assert by_chance == pytest.approx(np.mean(errors), rel=0.15)


def test_photos_of_one_person_do_not_count_as_many() -> None:
    logs, labels, _ = drawn(200)
    probabilities, truth = np.repeat(np.exp(logs), 4, axis=0), np.repeat(labels, 4)
    one, four = (
        calibration.calibration_error(calibration.top(probabilities, truth), group, *HOW)
        for group in (np.repeat(np.arange(800), 4), np.arange(3200))
    )
    assert one.ece == four.ece
    assert one.by_chance == pytest.approx(2 * four.by_chance, rel=0.15), "the root of 4 copies"
    assert one.high - one.low > 1.5 * (four.high - four.low)


def test_of_too_few_people_an_error_may_be_anything_and_no_bin_is_known() -> None:
    logs, labels, group = drawn(FEWEST_PEOPLE - 1)
    found = calibration.calibration_error(calibration.answers(logs, labels), group, *HOW)
    assert (found.low, found.high) == (0, 1)
    assert np.isnan(calibration.reliability(np.exp(logs), labels, group, *HOW).low).all()
    assert calibration.temperature_interval(logs, labels, group, 1.0, *HOW) == (0.05, 20)


def test_a_bin_of_one_photo_is_flagged_and_one_without_mistakes_still_has_an_interval() -> None:
    probabilities = np.tile([0.9, 0.1], (21, 1))
    probabilities[20] = 0.55, 0.45
    found = calibration.reliability(probabilities, np.zeros(21, int), np.arange(21), *HOW, bins=10)
    assert (found.photos[5], found.accuracy[5]) == (1, 1)
    assert np.isnan([found.low[5], found.high[5]]).all()
    assert found.high[9] == 1
    assert found.low[9] <= 0.025 ** (1 / 20), "Clopper and Pearson's limit of 20 trials"
    none = calibration.reliability(probabilities, np.ones(21, int), np.arange(21), *HOW, bins=10)
    assert none.low[9] == 0
    assert none.high[9] >= 1 - 0.025 ** (1 / 20)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(0, 1000), st.sampled_from([0.3, 1.0, 3.0]))
def test_intervals_hold_their_values_and_lie_within_what_is_possible(people: int, seed: int, factor: float) -> None:
    logs, labels, group = drawn(people, seed, factor)
    found = calibration.calibration_error(calibration.answers(logs, labels), group, 100, seed)
    assert found.ece == calibration.ece(calibration.answers(logs, labels))
    assert 0 <= found.low <= found.ece <= found.high <= 1
    bins = calibration.reliability(np.exp(logs), labels, group, 100, seed)
    known = bins.groups >= FEWEST_PEOPLE
    assert (np.isfinite(bins.low) == known).all()
    assert (np.isfinite(bins.high) == known).all()
    assert (bins.low[known] >= 0).all()
    assert (bins.low <= bins.accuracy)[known].all()
    assert (bins.accuracy <= bins.high)[known].all()
    assert (bins.high[known] <= 1).all()
    assert bins.photos.sum() == len(labels)
    fitted = calibration.temperature(logs, labels)
    low, high = calibration.temperature_interval(logs, labels, group, fitted, 100, seed)
    assert 0.05 <= low <= fitted <= high <= 20


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_the_order_of_photos_does_not_matter(seed: int) -> None:
    logs, labels, group = drawn(30, seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    one = calibration.calibration_error(calibration.answers(logs, labels), group, *HOW)
    other = calibration.calibration_error(calibration.answers(logs[order], labels[order]), group[order], *HOW)
    assert list(vars(other).values()) == pytest.approx(list(vars(one).values()), abs=1e-6)


def test_the_names_of_groups_matter_no_more_than_the_draw_does() -> None:
    logs, labels, group = drawn(300, factor=2)
    one = calibration.calibration_error(calibration.answers(logs, labels), group, 2000, 0)
    other = calibration.calibration_error(calibration.answers(logs, labels), 299 - group, 2000, 0)
    assert list(vars(other).values()) == pytest.approx(list(vars(one).values()), rel=0.1)


def test_more_groups_than_are_drawn_have_the_interval_of_their_number() -> None:
    logs, labels, _ = drawn(12_000, factor=2)
    few, many = (
        calibration.calibration_error(calibration.answers(logs[:size], labels[:size]), np.arange(size), *HOW)
        for size in (9_999, 48_000)
    )
    assert few.high - few.low == pytest.approx((48_000 / 9_999) ** 0.5 * (many.high - many.low), rel=0.25)
