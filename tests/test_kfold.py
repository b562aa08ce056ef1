import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base.errors import UserError
from stages.kfold import assign


@settings(max_examples=2000, deadline=None)
@given(
    st.integers(2, 7),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 12), min_size=6, max_size=6),
    st.integers(0, 99),
)
def test_every_person_has_one_fold_and_strata_are_spread_evenly(
    folds: int, seed: int, extra: list[int], shuffle: int
) -> None:
    counts = [0 if more == 0 else folds + more - 1 for more in extra]
    strata = np.repeat(np.arange(6), counts)
    if len(strata) == 0:
        return
    np.random.default_rng(shuffle).shuffle(strata)
    of_person = assign(strata // 3, strata % 3, folds, seed)
    assert of_person.shape == strata.shape
    assert set(of_person) == set(range(folds))
    for stratum in np.unique(strata):
        sizes = np.bincount(of_person[strata == stratum], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    assert (of_person == assign(strata // 3, strata % 3, folds, seed)).all()


def test_a_stratum_smaller_than_the_folds_is_refused_with_a_way_out() -> None:
    with pytest.raises(
        UserError, match=r"only 3 people are female 60\+, fewer than the 5 folds; set folds: \[0, 1, 2\]"
    ):
        assign(np.array([0] * 9 + [1] * 3), np.array([0] * 9 + [2] * 3), 5, 0)
