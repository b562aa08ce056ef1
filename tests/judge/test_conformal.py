"""Conformal sets over groups, against simulated people whose photos are alike."""

import numpy as np
import pytest

from stages.judge import conformal
from stages.judge.metrics import log_softmax

LEVELS = np.array([0.8, 0.9])


def drawn(
    groups: int, rng: np.random.Generator, shares: tuple[float, ...] = (0.6, 0.3, 0.1)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def held(new: tuple[np.ndarray, np.ndarray, np.ndarray], lowest: np.ndarray) -> np.ndarray:
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
        found = conformal.thresholds(*old, LEVELS)
        shares = held(new, found.lowest[:, 1])
        label = new[1][np.unique(new[2], return_index=True)[1]]
        everyone.append(shares.mean())
        for number in range(3):
            if found.source[number, 1] == conformal.OWN:
                of_class[number].append(shares[label == number].mean())
    assert 0.9 - 0.004 <= np.mean(everyone) <= 0.925
    for values in of_class:
        error = np.std(values) / np.sqrt(len(values))
        assert 0.9 - 3 * error <= np.mean(values) <= 0.9 + 1 / 10 + 3 * error
    assert np.mean(of_class[0]) < 0.92  # 90 groups: not far above what is asked


def test_groups_of_many_photos_count_no_more_than_those_of_one() -> None:
    """One group of 900 easy photos among 9 of one hard photo: most new groups are hard."""
    true = np.append(np.full(900, 0.99), np.arange(1, 10) / 100)
    group = np.append(np.zeros(900, int), np.arange(1, 10))
    found = conformal.thresholds(
        np.column_stack([true, 1 - true]), np.zeros(909, int), group, np.array([0.5, 0.9, 0.95])
    )
    # 10 groups weigh 1/11 each: 6 reach 0.5, all 10 reach 0.9, none 0.95
    assert found.lowest[0].tolist() == [0.05, 0.01, 0.0]


@pytest.mark.parametrize(("level", "groups"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99), (0.93, 14)])
def test_the_fewest_groups_are_those_from_which_on_there_is_a_threshold(level: float, groups: int) -> None:
    assert conformal.fewest(level) == groups
    for count, there in ((groups - 1, False), (groups, True)):
        probabilities = np.full((count, 2), 0.5)
        labels = np.zeros(count, int)
        found = conformal.thresholds(probabilities, labels, np.arange(count), np.array([level]))
        assert bool(found.lowest[0, 0]) == there
        assert found.source[0, 0] == (conformal.OWN if there else conformal.ALL)


def test_classes_of_too_few_groups_share_a_threshold_of_their_own() -> None:
    """Two classes of 6 easy groups, two of 6 hard ones, one of 40: 9 are needed."""
    labels = np.repeat([0, 1, 2], [40, 6, 6])
    true = np.concatenate([np.linspace(0.9, 0.99, 40), np.linspace(0.3, 0.5, 12)])
    probabilities = np.full((52, 4), 0.001)
    probabilities[np.arange(52), labels] = true
    found = conformal.thresholds(probabilities, labels, np.arange(52), np.array([0.9]))
    assert found.groups.tolist() == [40, 6, 6, 0]
    assert found.source[:, 0].tolist() == [conformal.OWN, *[conformal.POOLED] * 3]
    assert found.lowest[0, 0] >= 0.9
    assert found.lowest[1:, 0] == pytest.approx(0.3, abs=0.02)


def test_where_these_are_too_few_together_all_photos_speak() -> None:
    labels = np.repeat([0, 1], [40, 3])
    probabilities = np.column_stack([np.full(43, 0.8), np.full(43, 0.2)])
    found = conformal.thresholds(probabilities, labels, np.arange(43), np.array([0.9]))
    assert found.source[:, 0].tolist() == [conformal.OWN, conformal.ALL]
    assert found.lowest[1, 0] == pytest.approx(0.8)  # 40 of 44 parts of the weight reach it


def test_a_set_is_never_empty_and_holds_the_answer() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    found = conformal.sets(probabilities, np.array([0, 2]), np.array([0.9, 0.7, 0.9]))
    assert found.tolist() == [[True, False, False], [False, True, True]]


def test_coverage_is_measured_on_groups_that_had_no_part_in_the_thresholds() -> None:
    rng = np.random.default_rng(1)
    probabilities, labels, group = drawn(120, rng)
    part = group % 5
    found = conformal.measured(probabilities, labels, group, probabilities.argmax(1), LEVELS, part)
    assert found.held.shape == found.size.shape == (len(labels), 2)
    assert found.size.min() >= 1
    own = part == 0
    others = conformal.thresholds(probabilities[~own], labels[~own], group[~own], LEVELS)
    inside = conformal.sets(probabilities[own], probabilities[own].argmax(1), others.lowest[:, 1])
    assert found.held[own, 1].tolist() == inside[np.arange(own.sum()), labels[own]].tolist()
