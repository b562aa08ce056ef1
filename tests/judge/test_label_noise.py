"""How much of a level's labels is wrong."""

import numpy as np

from stages.judge import label_noise
from stages.judge.label_suspects import OfAxis


def axis(score: np.ndarray) -> OfAxis:
    """Groups [U] that are given level 0 and are, with this probability each, level 1."""
    several, no = len(score), np.zeros(len(score), bool)
    with np.errstate(divide="ignore"):
        logs = np.log(np.stack([1 - score, score], axis=1)).astype(np.float32)
    given = np.zeros(several, np.int32)
    own = np.arange(several)
    return OfAxis(own, own, given, given + 1, score, no, no, ~no, logs, np.full((2, 2), 0.5), 1.0)


def test_where_one_label_or_two_are_wrong_the_share_of_other_groups_may_be_higher() -> None:
    """5 % of the labels are wrong, of 20 groups: of three sets with a wrong label one had an interval below that."""
    too_low = 0
    for seed in range(100):
        wrong = np.random.default_rng(seed).random(20) < 0.05
        found = label_noise.of_axis(axis(np.where(wrong, 0.99, 0.03)), 200, 0)
        too_low += bool(len(found.share) and found.high[0] < 0.05 * 0.99 + 0.95 * 0.03)
    assert too_low <= 5


def test_a_share_is_marked_where_the_models_take_one_level_for_the_other() -> None:
    score = np.full(20, 0.6)  # all of level 0 look like level 1
    assert not label_noise.of_axis(axis(score), 200, 0).told_apart.any()
    clear = label_noise.of_axis(axis(np.append(np.full(19, 0.03), 0.99)), 200, 0)
    assert clear.told_apart.tolist() == [False]  # nothing of level 1 is there to be told
