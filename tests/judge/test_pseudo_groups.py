import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.judge import pseudo_groups


def of_groups(hits: np.ndarray, photos: int) -> float:
    """Photos of a pseudo-group beside groups of so many photos each, with so many hits."""
    true = np.full((len(hits), 1), photos)
    return float(pseudo_groups.photos(hits[:, None], true)[0])


def test_photos_that_are_right_together_make_it_a_group_and_those_that_are_right_on_their_own_a_photo() -> None:
    rng = np.random.default_rng(0)
    together = 7 * rng.integers(0, 2, 2000)
    assert of_groups(together, 7) == pytest.approx(7, rel=0.02)
    assert of_groups(rng.binomial(7, 0.6, 2000), 7) == pytest.approx(1, abs=0.1)
    # Half of the variance between groups: a correlation of 1/4 at photos that are right at 1/4 or 3/4, 1 + 6 / 4 photos.
    assert of_groups(rng.binomial(7, np.where(rng.random(4000) < 0.5, 0.25, 0.75)), 7) == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("groups", [1, 5, 50, 500])
def test_beside_a_class_without_hits_or_without_misses_it_is_a_whole_group(groups: int) -> None:
    for hits in (0, 5):
        assert of_groups(np.full(groups, hits), 5) == pytest.approx(5, rel=0.35 / groups)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 10**6))
def test_it_has_one_photo_at_least_and_a_group_s_at_most(groups: int, photos: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert 1 <= of_groups(rng.integers(0, photos + 1, groups), photos) <= photos
    assert of_groups(rng.integers(0, 2, groups), 1) == 1


def test_a_whole_group_has_the_photos_of_those_that_have_any_and_of_an_absent_class_those_of_any_class() -> None:
    true = np.array([[4, 1, 0], [6, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]])
    assert pseudo_groups.photos(0 * true, true) == pytest.approx([5, 1, 14 / 6], rel=0.2)
