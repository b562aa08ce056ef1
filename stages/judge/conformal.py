"""Sets of classes that hold the true one as often as they say: split conformal prediction over groups (people, say).

A class is in a photo's set where its probability reaches the class's threshold (least ambiguous sets: Sadinle, Lei &
Wasserman 2019, doi:10.1080/01621459.2017.1395341). The threshold of a class is a low quantile of the true class's
probability over the photos of that class, so each class is held as often as the next, the rare ones too (label-conditional
conformal prediction: Vovk 2012, arXiv:1209.2673).

Photos of one group are alike, so groups are exchangeable and photos are not: the quantile is of a distribution in which
each of the K groups with a photo of the class weighs 1 / (K + 1), shared evenly by its n photos, and what is left,
1 / (K + 1), lies where no threshold reaches (hierarchical conformal prediction: Lee, Barber & Willett 2023,
arXiv:2306.06342, section 3; two-layer models: Dunn, Wasserman & Ramdas 2022, doi:10.1080/01621459.2022.2060112).

What is guaranteed, with no assumption on the model: of groups drawn like those, a photo drawn at random from the photos of a
class of a new group has its class in the set with at least the probability asked for, on average over the groups that the
threshold was taken from. It takes `fewest` groups. It is for one model that has seen none of these groups. Where the
probabilities come from several folds' models (cross-conformal: Vovk 2015, doi:10.1007/s10472-013-9368-4), and where their mean
answers, it holds as far as these models are alike: it is then to be measured (`held`, and on photos whose class is known).
"""

import math
from dataclasses import dataclass

import numpy as np

from stages.judge import bootstrap

OWN, POOLED, ALL = 0, 1, 2  # whose photos a threshold is of: the class's, those of all classes with too few groups, all
BARELY = 1e-9  # sums of weights are rounded


@dataclass(frozen=True)
class Thresholds:
    """The least probability with which each class is in a set, [C] each; 0 takes it into every set."""

    lowest: np.ndarray  # float64
    source: np.ndarray  # OWN, POOLED or ALL
    groups: np.ndarray  # that have a photo of the class


def fewest(level: float) -> int:
    """Groups without which no threshold gives sets of this level: K / (K + 1) must reach it. 19 for 0.95."""
    return math.ceil(level / (1 - level) - BARELY)


def thresholds(true: np.ndarray, labels: np.ndarray, group: np.ndarray, classes: int, level: float) -> Thresholds:
    """Thresholds for a level in 0..1 from the probability of each photo's true class, the class and the group's number, [N] each.

    A class with `fewest` groups has its own. The others share that of their photos together, if these have so many; else they
    have that of all photos, which promises nothing of a single class. A threshold depends on a class's own groups alone, so
    that which classes have one changes nothing for these; the shared one is for a photo of any of those classes.
    """
    enough, groups = fewest(level), bootstrap.groups_per_class(group.astype(np.int64), labels, classes)
    lowest, source = np.zeros(classes), np.full(classes, OWN)
    for number in np.flatnonzero(groups >= enough):
        rows = labels == number
        lowest[number] = _lowest(true[rows], group[rows], level)
    rare = groups < enough
    if rare.any():
        rows = rare[labels]
        together = len(np.unique(group[rows])) >= enough
        lowest[rare] = _lowest(true[rows], group[rows], level) if together else _lowest(true, group, level)
        source[rare] = POOLED if together else ALL
    return Thresholds(lowest, source, groups)


def _lowest(true: np.ndarray, group: np.ndarray, level: float) -> float:
    """The largest probability that photos [n] of a weight of `level` or more reach; 0 where there are too few groups [n]."""
    if not len(true):
        return 0.0
    _, index, photos = np.unique(group, return_inverse=True, return_counts=True)
    falling = np.argsort(-true, kind="stable")
    weight = 1 / ((len(photos) + 1) * photos[index[falling]])
    place = int(np.searchsorted(weight.cumsum(), level - BARELY))
    return float(true[falling[place]]) if place < len(true) else 0.0


def sets(probabilities: np.ndarray, answers: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """Which classes are in each photo's set, bool [n, C], by thresholds [C].

    The answer [n] is in it, whatever its probability: no set is empty, and none holds its class less often for that.
    """
    found = probabilities >= lowest
    found[np.arange(len(answers)), answers] = True
    return found


@dataclass(frozen=True)
class Photos:
    """Photos [N] of known class, and what was said of them."""

    true: np.ndarray  # probability of the true class
    label: np.ndarray
    group: np.ndarray
    answer: np.ndarray


def held(photos: Photos, classes: int, level: float, part: np.ndarray) -> np.ndarray:
    """Whether the set of each photo holds its class, bool [N], by thresholds from the other parts' photos; part [N]: whole
    groups (stages.judge.nested_folds)."""
    found = np.zeros(len(part), bool)
    for number in range(int(part.max()) + 1):
        own, others = part == number, part != number
        known = thresholds(photos.true[others], photos.label[others], photos.group[others], classes, level)
        reached = photos.true[own] >= known.lowest[photos.label[own]]
        found[own] = reached | (photos.answer[own] == photos.label[own])
    return found
