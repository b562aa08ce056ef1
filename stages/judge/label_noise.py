"""How much of the labels is wrong: of each pair of an axis's levels the share of the one that is likely the other, with a 95 %
interval over groups.

The share is a mean of estimated probabilities (stages.judge.label_suspects). The interval says how far it would move with other
groups of the same kind; that the probabilities themselves may be too high or too low it cannot say.
"""

from dataclasses import dataclass

import numpy as np

from stages.judge import bootstrap, calibration, label_suspects
from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.judge.label_suspects import OfAxis

MOST_PAIRS = 50  # of an axis, those with the most wrong labels
LEAST = 0.01  # expected units of a pair, with fewer of which it is left out


@dataclass(frozen=True)
class Noise:
    """J pairs of an axis's levels, the one with the most wrong labels first; [J] each."""

    given: np.ndarray  # level
    likely: np.ndarray  # level
    units: np.ndarray  # that have the given level
    expected: np.ndarray  # of these, how many are likely the other level
    share: np.ndarray
    low: np.ndarray  # of the share's 95 % interval; NaN with fewer than FEWEST_PEOPLE groups that have the given level
    high: np.ndarray
    told_apart: np.ndarray  # bool, the models can tell the two apart; else the share says more of them than of labels


def of_axis(found: OfAxis, replicates: int, seed: int) -> Noise:
    """The pairs of an axis of which a unit or more may be wrong, MOST_PAIRS at most."""
    count = len(found.channel)
    expected = _expected(found)
    order = np.argsort(-expected.ravel(), kind="stable")[:MOST_PAIRS]
    order = order[expected.ravel()[order] >= LEAST]
    given, likely = order // count, order % count
    units = np.bincount(found.given, minlength=count)[given]
    low, high = np.full((2, len(order)), np.nan)
    group = bootstrap.numbered(found.group)
    groups = bootstrap.groups_per_class(group, found.given, count)[given] if len(order) else units
    known = np.flatnonzero(groups >= FEWEST_PEOPLE)
    share = expected.ravel()[order] / np.maximum(units, 1)
    if len(known):
        sums = _sums(found, bootstrap.dealt(group), given[known], likely[known])
        ends = calibration.intervals_of_shares(sums, share[known], group, groups[known], (replicates, seed))
        low[known], high[known] = ends
    apart = label_suspects.apart(found.log_probabilities, found.given)[given, likely]
    return Noise(given, likely, units, expected.ravel()[order], share, low, high, apart)


def _expected(found: OfAxis) -> np.ndarray:
    """Units that are given one level and are likely another, [K, K]; 0 on the diagonal."""
    count = len(found.channel)
    total = np.zeros((count, count))
    for rows in label_suspects.chunks(found.log_probabilities):
        np.add.at(total, found.given[rows], label_suspects.wrong_levels(found, rows))
    return total


def _sums(found: OfAxis, unit: np.ndarray, given: np.ndarray, likely: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each bootstrap unit and pair, the wrong labels expected and the labels that there are, [U, J] each."""
    units = int(unit.max()) + 1
    wrong, there = np.zeros((2, units, len(given)))
    for rows in label_suspects.chunks(found.log_probabilities):
        each = label_suspects.wrong_levels(found, rows)
        for pair, (one, other) in enumerate(zip(given, likely, strict=True)):
            own = found.given[rows] == one
            wrong[:, pair] += np.bincount(unit[rows][own], each[own, other], units)
            there[:, pair] += np.bincount(unit[rows][own], minlength=units)
    return wrong, there
