"""Conformal sets over groups, against simulated people whose photos are alike."""

import numpy as np
import pytest

from stages.judge import conformal
from stages.judge.conformal import Photos, Thresholds
from stages.judge.metrics import log_softmax

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def drawn(groups: int, rng: np.random.Generator, shares: tuple[float, ...] = (0.6, 0.3, 0.1)) -> Drawn:
    """Probabilities [N, C], labels and groups [N]: a group has one class, and 1 to 12 photos that are the harder the more
    they are, and hard or easy together."""
    classes = len(shares)
    label = rng.choice(classes, groups, p=shares)
    photos = rng.integers(1, 13, groups)
    ease = 2.5 - 0.35 * photos + rng.normal(size=groups) - 0.5 * label
    index = np.repeat(np.arange(groups), photos)
    logits = 0.3 * rng.normal(size=(len(index), classes))
    logits[np.arange(len(index)), label[index]] += ease[index] + 0.3 * rng.normal(size=len(index))
    return np.exp(log_softmax(logits)), label[index], index


def calibrated(old: Drawn, level: float) -> Thresholds:
    probabilities, labels, group = old
    true = probabilities[np.arange(len(labels)), labels]
    return conformal.thresholds(true, labels, group, probabilities.shape[1], level)


def held(new: Drawn, lowest: np.ndarray) -> np.ndarray:
    """Share of each new group's photos whose set holds their class, [groups]."""
    probabilities, labels, group = new
    inside = conformal.sets(probabilities, probabilities.argmax(1), lowest)[np.arange(len(labels)), labels]
    return np.bincount(group, inside) / np.bincount(group)


def test_a_photo_of_a_new_group_is_held_as_often_as_asked_whatever_its_class() -> None:
    """Mean over 150 calibrations of 150 groups, with 1,000 new groups each. With photos that weigh alike it fails: here hard
    groups have many photos, which then rule the threshold."""
    rng = np.random.default_rng(0)
    of_class: list[list[float]] = [[], [], []]
    everyone = []
    for _ in range(150):
        old, new = drawn(150, rng), drawn(1000, rng)
        found = calibrated(old, 0.9)
        shares = held(new, found.lowest)
        label = new[1][np.unique(new[2], return_index=True)[1]]
        everyone.append(shares.mean())
        for number in np.flatnonzero(found.source == conformal.OWN):
            of_class[number].append(float(shares[label == number].mean()))
    assert 0.9 - 0.004 <= np.mean(everyone) <= 0.925
    for values in of_class:
        error = np.std(values) / np.sqrt(len(values))
        assert 0.9 - 3 * error <= np.mean(values) <= 0.9 + 1 / 10 + 3 * error
    assert np.mean(of_class[0]) < 0.92  # 90 groups: not far above what is asked


@pytest.mark.parametrize(("level", "lowest"), [(0.5, 0.05), (0.9, 0.01), (0.95, 0.0)])
def test_groups_of_many_photos_count_no_more_than_those_of_one(level: float, lowest: float) -> None:
    """10 groups weigh 1/11 each: 6 reach 0.5, all 10 reach 0.9, none 0.95; one of them has 900 photos of 909."""
    true = np.append(np.full(900, 0.99), np.arange(1, 10) / 100)
    group = np.append(np.zeros(900, int), np.arange(1, 10))
    assert conformal.thresholds(true, np.zeros(909, int), group, 2, level).lowest[0] == lowest


@pytest.mark.parametrize(("level", "groups"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99), (0.93, 14)])
def test_the_fewest_groups_are_those_from_which_on_there_is_a_threshold(level: float, groups: int) -> None:
    assert conformal.fewest(level) == groups
    for count, there in ((groups - 1, False), (groups, True)):
        found = conformal.thresholds(np.full(count, 0.5), np.zeros(count, int), np.arange(count), 2, level)
        assert bool(found.lowest[0]) == there
        assert found.source[0] == (conformal.OWN if there else conformal.ALL)


def test_classes_of_too_few_groups_share_a_threshold_of_their_own() -> None:
    """One class of 40 groups, two of 6 hard ones, and one that nobody has: 9 are needed."""
    true = np.concatenate([np.linspace(0.9, 0.99, 40), np.linspace(0.3, 0.5, 12)])
    found = conformal.thresholds(true, np.repeat([0, 1, 2], [40, 6, 6]), np.arange(52), 4, 0.9)
    assert found.groups.tolist() == [40, 6, 6, 0]
    assert found.source.tolist() == [conformal.OWN, *[conformal.POOLED] * 3]
    assert found.lowest[0] >= 0.9
    assert found.lowest[1:] == pytest.approx(0.3, abs=0.02)


def test_where_these_are_too_few_together_all_photos_speak() -> None:
    true, labels = np.append(np.full(40, 0.8), np.full(3, 0.2)), np.repeat([0, 1], [40, 3])
    found = conformal.thresholds(true, labels, np.arange(43), 2, 0.9)
    assert found.source.tolist() == [conformal.OWN, conformal.ALL]
    assert found.lowest[1] == pytest.approx(0.8)  # 40 of 44 parts of the weight reach it


def test_a_group_with_photos_of_several_classes_counts_for_each() -> None:
    found = conformal.thresholds(np.full(30, 0.5), np.tile([0, 1, 1], 10), np.repeat(np.arange(10), 3), 2, 0.9)
    assert found.groups.tolist() == [10, 10]


def test_a_set_is_never_empty_and_holds_the_answer() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    found = conformal.sets(probabilities, np.array([0, 2]), np.array([0.9, 0.7, 0.9]))
    assert found.tolist() == [[True, False, False], [False, True, True]]


def test_coverage_is_measured_on_groups_that_had_no_part_in_the_thresholds() -> None:
    probabilities, labels, group = drawn(120, np.random.default_rng(1))
    true, answer, part = probabilities[np.arange(len(labels)), labels], probabilities.argmax(1), group % 5
    found = conformal.held(Photos(true, labels, group, answer), 3, 0.9, part)
    for number in range(5):
        own = part == number
        others = calibrated((probabilities[~own], labels[~own], group[~own]), 0.9)
        inside = conformal.sets(probabilities[own], answer[own], others.lowest)
        assert found[own].tolist() == inside[np.arange(own.sum()), labels[own]].tolist()
