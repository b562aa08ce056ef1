"""How much of a difference between two runs is the luck of their trainings: other seeds would have made other models.

A bootstrap over people draws the models' people again, not the models. What training again would change is read off the
trainings that there are. A run of k folds and R repeats is k x R trainings, each with a seed of its own, and each fold's
validation people see theirs alone; so a score, a ratio of sums over people, is to first order a sum of what the folds
contribute (delta method), and these contributions are independent over seeds.

- Two repeats or more: the variance of each fold's contribution between repeats, summed over folds, has k (R - 1) degrees of
  freedom a run; the spread of the k-fold score itself would have R - 1. Part of it is that people answer a little differently
  to every model, which the bootstrap over people counts already; so that part (its estimate from the same people) is taken off.
  This is the variance component of readers in studies of several readers and cases (Obuchowski & Rockette 1995,
  doi:10.1080/03610919508813243; Gallas 2006, Academic Radiology 13:353).
- One training a side: the k folds are k pairs of trainings. How far their differences lie apart is a variance with k - 1
  degrees of freedom that counts people and seeds alike: the cluster-robust variance with folds as clusters (Liang & Zeger
  1986, doi:10.1093/biomet/73.1.13). Where two runs have other folds, it is that of two ways of clustering (Cameron, Gelbach &
  Miller 2011, doi:10.1198/jbes.2010.07136).

The training people are taken as given. k-fold models share most of theirs, and no estimate from one data set says without
bias what other training people would change (Bengio & Grandvalet 2004, JMLR 5:1089; Nadeau & Bengio 2003,
doi:10.1023/A:1024068626366).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.judge import bootstrap
from stages.judge.bootstrap import Scores


@dataclass(frozen=True)
class Training:
    """Scores of one training of all folds, with one seed a fold: J ratios, M scores."""

    over_groups: Scores
    # The same summed over cells (of_cells) instead, and the fold of this run that each cell is, or is part of, int [cells]; None
    # where nothing is known of folds.
    over_cells: Scores | None = None
    folds: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class Noise:
    """The variance that training again would bring to each of M differences, besides that over people."""

    variance: np.ndarray  # [M] `measured` less the part that people bring
    measured: np.ndarray  # [M] between repeats
    freedom: int  # degrees of freedom of `measured`
    sd: np.ndarray  # [M] standard deviation of one training's score over seeds


def of_cells(fold: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells of photos that share a fold in both of two runs: cell of each photo [N], and the folds of each cell, [cells] each.

    fold, other: [N]. Runs of the same folds have these as cells.
    """
    names, others = np.unique(fold), np.unique(other)
    pair = np.searchsorted(names, fold) * len(others) + np.searchsorted(others, other)
    # Counted: sorting a million pairs takes its time.
    there = np.flatnonzero(np.bincount(pair, minlength=len(names) * len(others)))
    return np.searchsorted(there, pair), names[there // len(others)], others[there % len(others)]


def contributions(scores: Scores, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """What each unit brings to each score beyond what it would at the ratios top / bottom [J], to first order, [U, M]."""
    beyond = scores.numerators - bootstrap.ratios(top, bottom) * scores.denominators
    return np.asarray(beyond * bootstrap.ratios(np.ones(1), bottom) @ scores.weights, float)


def between_repeats(runs: Sequence[Sequence[Training]]) -> Noise | None:
    """The luck of the seeds in the difference of two runs' means over repeats, from the runs that have several.

    A run with one training is taken to vary as the other does. None where neither run has two.
    """
    found = [_components(run) for run in runs if len(run) > 1 and run[0].over_cells is not None]
    if not found:
        return None
    freedoms = [part.freedom for part in found]
    within, of_people = (
        np.average(values, axis=0, weights=freedoms)
        for values in ([part.within for part in found], [part.of_people for part in found])
    )
    of_means = float(sum(1 / len(run) for run in runs))
    return Noise(of_means * np.maximum(0.0, within - of_people), of_means * within, sum(freedoms), np.sqrt(within))


@dataclass(frozen=True)
class _Components:
    within: np.ndarray  # [M] variance of one training's score over seeds, on the same people
    of_people: np.ndarray  # [M] the part of it that people bring, each by himself
    freedom: int


def _components(repeats: Sequence[Training]) -> _Components:
    cells = [one.over_cells for one in repeats if one.over_cells is not None]
    top = np.mean([one.numerators.sum(0, dtype=np.float64) for one in cells], axis=0)
    bottom = np.mean([one.denominators.sum(0, dtype=np.float64) for one in cells], axis=0)
    of_folds = np.stack([_by_fold(contributions(one, top, bottom), repeats[0].folds) for one in cells])
    mean = squares = np.zeros(1)
    for count, one in enumerate(repeats, 1):  # Welford's way: [U, M] of every repeat at once may take much memory
        own = contributions(one.over_groups, top, bottom)
        away = own - mean
        mean = mean + away / count
        squares = squares + away * (own - mean)
    several = len(repeats) - 1
    return _Components(of_folds.var(0, ddof=1).sum(0), squares.sum(0) / several, of_folds.shape[1] * several)


def between_folds(a: Training, b: Training) -> tuple[np.ndarray, int] | None:
    """Variance of the difference b - a over people and seeds together, [M], from the spread over folds, and its degrees of
    freedom; None where folds are not known or there is one."""
    if a.over_cells is None or b.over_cells is None:
        return None
    folds = min(len(np.unique(one.folds)) for one in (a, b))
    if folds < 2:
        return None
    away = _from_estimate(b.over_cells) - _from_estimate(a.over_cells)
    of_a, of_b = (np.square(_by_fold(away, one.folds)).sum(0) for one in (a, b))
    crossed = of_a + of_b - np.square(away).sum(0)
    # Where folds differ the sum may fall below either part, and is no estimate then.
    return folds / (folds - 1) * np.maximum(crossed, np.maximum(of_a, of_b)), folds - 1


def _from_estimate(scores: Scores) -> np.ndarray:
    """Contributions beyond those at the sample's own ratios, [U, M]; they sum to 0."""
    sums = (values.sum(0, dtype=np.float64) for values in (scores.numerators, scores.denominators))
    return contributions(scores, *sums)


def _by_fold(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Values of cells, [cells, M], summed over those of each fold, [F, M]."""
    return (folds == np.unique(folds)[:, None]).astype(float) @ values
