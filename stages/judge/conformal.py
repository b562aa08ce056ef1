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
answers, it holds as far as these models are alike: measure it (`measured`, and photos with a known class).
"""

import math
from dataclasses import dataclass

import numpy as np

OWN, POOLED, ALL = 0, 1, 2  # whose photos a threshold is of: the class's, those of all classes with too few groups, all
BARELY = 1e-9  # sums of weights are rounded


@dataclass(frozen=True)
class Thresholds:
    """The least probability with which a class is in the set, for each of L levels; 0 takes it into every set."""

    lowest: np.ndarray  # float64 [C, L]
    source: np.ndarray  # [C, L]: OWN, POOLED or ALL
    groups: np.ndarray  # [C]: that have a photo of the class


def fewest(level: float) -> int:
    """Groups without which no threshold gives sets of this level: K / (K + 1) must reach it. 19 for 0.95."""
    return math.ceil(level / (1 - level) - BARELY)


def thresholds(probabilities: np.ndarray, labels: np.ndarray, group: np.ndarray, levels: np.ndarray) -> Thresholds:
    """Thresholds from probabilities [N, C], labels and groups [N], for levels [L] within 0..1.

    A class with `fewest` groups has its own. The others share that of their photos together, if these have so many; else they
    have that of all photos, which promises nothing of a single class. A threshold depends on a class's own groups alone, so
    that which classes have one changes nothing for these; the shared one is for a photo of any of those classes.
    """
    classes = probabilities.shape[1]
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(classes + 1))
    members = [order[first:end] for first, end in zip(ends[:-1], ends[1:], strict=True)]
    groups = np.array([len(np.unique(group[rows])) for rows in members])
    lowest = np.stack([_lowest(true[rows], group[rows], levels) for rows in members])
    source = np.zeros((classes, len(levels)), np.int64)
    of_all = _lowest(true, group, levels)
    for place, level in enumerate(levels):
        rare = groups < fewest(level)
        if not rare.any():
            continue
        rows = np.flatnonzero(rare[labels])
        enough = len(np.unique(group[rows])) >= fewest(level)
        lowest[rare, place] = (
            _lowest(true[rows], group[rows], levels[place : place + 1])[0] if enough else of_all[place]
        )
        source[rare, place] = POOLED if enough else ALL
    return Thresholds(lowest, source, groups)


def _lowest(true: np.ndarray, group: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The threshold of each level, [L], from the true class's probability [n] and groups [n]; 0 where there are too few groups.

    The largest probability that photos of weight `level` or more reach.
    """
    if not len(true):
        return np.zeros(len(levels))
    _, index, photos = np.unique(group, return_inverse=True, return_counts=True)
    falling = np.argsort(-true, kind="stable")
    weight = 1 / ((len(photos) + 1) * photos[index[falling]])
    place = np.searchsorted(weight.cumsum(), levels - BARELY)
    return np.append(true[falling], 0.0)[place]


def sets(probabilities: np.ndarray, answers: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """Which classes are in each photo's set, bool [n, C]; lowest: thresholds of one level [C].

    The answer [n] is in it, whatever its probability: no set is empty, and none holds its class less often for that.
    """
    found = probabilities >= lowest
    found[np.arange(len(answers)), answers] = True
    return found


@dataclass(frozen=True)
class Measured:
    """What sets were on photos [N] whose groups had no part in their thresholds, for each of L levels."""

    held: np.ndarray  # bool [N, L]: the true class is in the set
    size: np.ndarray  # int [N, L]: classes in the set


def measured(
    probabilities: np.ndarray,
    labels: np.ndarray,
    group: np.ndarray,
    answers: np.ndarray,
    levels: np.ndarray,
    part: np.ndarray,
) -> Measured:
    """Sets of each part's photos by thresholds of the other parts'; part: [N], whole groups (stages.judge.nested_folds)."""
    held = np.zeros((len(labels), len(levels)), bool)
    size = np.zeros((len(labels), len(levels)), np.int64)
    for number in range(int(part.max()) + 1):
        own, others = np.flatnonzero(part == number), np.flatnonzero(part != number)
        found = thresholds(probabilities[others], labels[others], group[others], levels)
        for place in range(len(levels)):
            inside = sets(probabilities[own], answers[own], found.lowest[:, place])
            held[own, place] = inside[np.arange(len(own)), labels[own]]
            size[own, place] = inside.sum(1)
    return Measured(held, size)
