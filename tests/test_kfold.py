import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from stages.base.errors import UserError
from stages.kfold import assign, rare


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
    of_person = assign(np.arange(len(strata)), strata, folds, seed)
    assert of_person.shape == strata.shape
    assert set(of_person) == set(range(folds))
    for stratum in np.unique(strata):
        sizes = np.bincount(of_person[strata == stratum], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    assert (of_person == assign(np.arange(len(strata)), strata, folds, seed)).all()


@pytest.mark.parametrize(("count", "kinds", "folds"), [(1000, 6, 5), (40, 6, 7), (3000, 1000, 2)])
def test_photos_alone_and_people_alike_are_divided_as_scikit_learn_does(count: int, kinds: int, folds: int) -> None:
    strata = np.random.default_rng(count).integers(0, kinds, count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kinds with fewer members than folds
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=3).split(strata, strata))
    theirs = np.empty(count, int)
    for fold, (_, members) in enumerate(splits):
        theirs[members] = fold
    assert (assign(np.arange(count), strata, folds, 3) == theirs).all()


def spread(group: np.ndarray, kinds: np.ndarray, of_group: np.ndarray, folds: int) -> float:
    """Root mean square of how far a fold's share of a class is from its fair one."""
    counts = np.zeros((folds, kinds.max() + 1))
    np.add.at(counts, (of_group[group], kinds), 1)
    return float(np.sqrt(np.mean((counts / counts.sum(0).clip(1) - 1 / folds) ** 2)))


@pytest.mark.parametrize(
    ("groups", "photos", "classes", "folds"), [(100, 600, 5, 5), (400, 3000, 20, 5), (60, 300, 8, 3)]
)
def test_groups_that_mix_classes_are_spread_as_well_as_scikit_learn_does(
    groups: int, photos: int, classes: int, folds: int
) -> None:
    rng = np.random.default_rng(0)
    group = np.concatenate([np.arange(groups), rng.integers(0, groups, photos - groups)])
    kinds = np.where(
        rng.random(photos) < 0.7, group * 7919 % classes, np.minimum(rng.geometric(0.3, photos), classes) - 1
    )
    ours = assign(group, kinds, folds, 0)
    assert set(ours) == set(range(folds))
    theirs = np.empty(groups, int)
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(kinds, kinds, group)
    for fold, (_, members) in enumerate(splits):
        theirs[group[members]] = fold
    assert spread(group, kinds, ours, folds) < 1.05 * spread(group, kinds, theirs, folds)
    assert (ours != assign(group, kinds, folds, 1)).any(), "the seed draws"
    assert (ours == assign(group, kinds, folds, 0)).all()


def test_groups_that_are_alike_are_dealt_in_whole_rounds() -> None:
    kinds = np.tile([0, 0, 1], 20)
    of_group = assign(np.repeat(np.arange(20), 3), kinds, 5, 0)
    assert np.bincount(of_group).tolist() == [4] * 5


def test_fewer_groups_than_folds_are_refused_and_rare_kinds_named() -> None:
    with pytest.raises(UserError, match=r"^kfold: 3 people cannot fill 5 folds; set folds: \[0, 1, 2\] or fewer"):
        assign(np.arange(3), np.zeros(3, int), 5, 0, "people")
    group, kinds = np.arange(13), np.array([0] * 9 + [1] * 3 + [2])
    assert rare(group, kinds, ("male <30", "female 60+", "male 60+"), 5, "people") == [
        "kfold: fewer people than folds (5) in female 60+ (3), male 60+ (1): some folds score none of them; one that stands "
        "alone is scored without having been learnt; take fewer folds, or add photos"
    ]
    assert np.bincount(assign(group, kinds, 5, 0), minlength=5).tolist() == [3, 3, 3, 2, 2]
    assert rare(group[:9], kinds[:9], ("a",), 5, "photos") == []
    assert rare(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 1]), ("a", "b"), 2, "groups")[0].startswith(
        "kfold: fewer groups than folds (2) in a (1): some"
    ), "photos of one group count once"
