"""Intervals by resampling groups (people, say): a group's photos come and go together (cluster bootstrap, Field & Welsh
2007). Without groups each photo is its own.

Every score here is a weighted sum of ratios of sums over groups: the F1 of a class is 2 hits / (true + predicted),
accuracy is hits / photos, nll is summed loss / photos. So one group's part of a score, its influence, is known in closed
form, the standard error follows from it (delta method), and the bootstrap can be studentised: each replicate's distance
from the estimate is divided by the replicate's own standard error. For macro F1 over rare classes this covers the truth
where the percentile interval does not (bench/intervals.py). Efron & Tibshirani 1993, chapter 12; DiCiccio & Efron 1996.

A class without hits, or without misses, has no variance of its own, though the next group may bring the first. So the upper
end is that of a sample in which each class has one pseudo-group more that is all right, the lower end that of one in which
each has one more that is all wrong, as Clopper & Pearson 1934 add one success or one failure for the two ends of a share
(quantiles of beta(x + 1, n - x) and beta(x, n - x + 1)). Replicates draw it Poisson(1) times; standard errors and distances
are those of that sample, while the estimate stays. It holds as many photos as one effective observation of its class
(stages.judge.pseudo_groups), so where the class has many groups, the interval is as without it. Differences of runs have no
pseudo-groups; nor has nll, which has no highest value that one could bring.

More than UNITS groups are dealt at random to units of equal size that are drawn whole (random groups: Wolter 2007,
Introduction to Variance Estimation, chapter 2). A unit's influence is the sum of independent influences, so its square
has the expectation of the sum of theirs: interval and skewness are estimated as before, with the noise of UNITS squares
instead of all groups' (relative standard error of a standard error of normal sums: 1 / sqrt(2 UNITS), 0.7 %), and neither
time nor memory grows with the groups: counts [UNITS, C] of 1,000 classes take 80 MB.

A class of few photos is not in every replicate, and its ratio there is 0. That shifts a mean over C classes of one size by
some share of its standard error that grows with the root of C. Of more than FEW classes, where the shift is more than LOST, a
class that is not drawn keeps the ratio that it has in the sample. The F1 of few photos is biased, too, and the more so the
fewer they are, of which pseudo-groups hide a part from the replicates: of more than FEW classes, the interval reaches as far
as that without them as well.

Of fewer than FEWEST_PEOPLE groups an interval is all that the score can be: where groups are right or wrong as a whole, that of
macro F1 over three of them held the truth in 68 of 100 samples only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stages.judge import pseudo_groups
from stages.judge.metrics import Axes, Subsets, by_axis, present

ERROR_FLOOR = 0.5  # of the estimate's standard error: keeps replicates that lost a rare class from ruling the interval
FEWEST_PEOPLE = 5  # with fewer groups (people), or fewer of a class, no interval of a score or of its F1 means anything
FEW = 30  # classes
LOST = 0.1  # standard errors that classes which are not drawn may take off a score
UNITS = 10_000  # drawn at most: groups, or several of them together
CHUNK = 5_000_000  # replicates x units at a time, so that memory stays flat
DEAL = (0, 2)  # seed of the deal
NONE: Mapping[str, tuple[int, ...]] = {}


@dataclass(frozen=True)
class Scores:
    """What U units (groups) bring to J ratios, and how M scores are made of these: score = (ratios * weights).sum over J."""

    numerators: np.ndarray  # float32 [U, J]
    denominators: np.ndarray  # float32 [U, J]
    weights: np.ndarray  # float64 [J, M]
    names: tuple[str, ...]  # [M]
    groups: int  # that the units hold
    many: bool  # classes: more than FEW
    pseudo: np.ndarray  # float32 [2, J]: what a pseudo-group all right, and one all wrong, brings to a denominator
    highest: np.ndarray  # float64 [J]: the largest value that a ratio can have; the least is 0


@dataclass(frozen=True)
class Replicates:
    """M scores of the sample, and of B samples of units drawn with replacement, with their standard errors."""

    estimate: np.ndarray  # [M]
    error: np.ndarray  # [M]
    values: np.ndarray  # [B, M]
    errors: np.ndarray  # [B, M]
    lowest: np.ndarray  # [M] the least and the largest value that a score can have
    highest: np.ndarray  # [M]
    groups: int  # that were drawn from
    upper: "Replicates | None" = None  # those that the upper end is taken from; None: these
    without: "Replicates | None" = None  # those without pseudo-groups, where both ends reach as far as theirs

    @property
    def t(self) -> np.ndarray:
        """Studentised distances from the estimate, [B, M]; 0 where the sample's own standard error is 0."""
        floor = np.maximum(self.errors, ERROR_FLOOR * self.error)
        return np.divide(self.values - self.estimate, floor, out=np.zeros_like(self.values), where=floor > 0)

    def end(self, share: float) -> np.ndarray:
        """The end of an interval, [M], that lies this quantile of the distances from the estimate, on the other side of it."""
        return np.asarray(self.estimate - np.quantile(self.t, share, axis=0) * self.error)


def of_run(
    group: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    nll: np.ndarray | None = None,
    *,
    classes: int,
    subsets: Subsets = NONE,
) -> Scores:
    """Scores of one run: macro_f1, f1_<subset> of each, f1_<class> of each class, accuracy, nll (if given per photo, [N]).

    group, labels, predictions: [N]. Macro F1 is over the classes present in truth or prediction, in every
    replicate; so is a subset's, 0 where none of its classes is.
    """
    index = numbered(group)
    unit = dealt(index)
    units, right = int(unit.max()) + 1, labels == predictions

    def count(who: np.ndarray, which: np.ndarray) -> np.ndarray:
        return np.bincount(who * classes + which, minlength=units * classes).reshape(units, classes)

    hits, true = count(unit[right], labels[right]), count(unit, labels)
    photos, groups = np.bincount(unit, minlength=units), int(index.max()) + 1
    losses = np.bincount(unit, weights=nll, minlength=units) if nll is not None else np.zeros(units)
    numerators = np.empty((units, classes + 2), np.float32)
    numerators[:, :classes], numerators[:, classes], numerators[:, classes + 1] = 2 * hits, hits.sum(1), losses
    denominators = np.empty_like(numerators)
    denominators[:, :classes] = true + count(unit, predictions)
    denominators[:, classes:] = photos[:, None]
    weights, names = _weights(present(labels, predictions), classes, subsets)
    highest = np.append(np.ones(classes + 1), np.inf)
    pseudo = np.zeros(
        (2, classes + 2), np.float32
    )  # a photo that is right counts twice in F1, as true and as predicted
    pseudo[:, :classes] = np.outer((2, 1), pseudo_groups.photos(hits, true))
    pseudo[:, classes] = pseudo_groups.photos(hits.sum(1)[:, None], photos[:, None])
    return Scores(numerators, denominators, weights, names, groups, classes > FEW, pseudo, highest)


def _weights(among: np.ndarray, classes: int, subsets: Subsets) -> tuple[np.ndarray, tuple[str, ...]]:
    """How scores are made of ratios [C + 2] (classes, accuracy, nll), [C + 2, M], and their names; `among`: classes present."""
    means = {"macro_f1": among, **{f"f1_{name}": np.intersect1d(among, which) for name, which in subsets.items()}}
    names = (*means, *(f"f1_{number}" for number in range(classes)), "accuracy", "nll")
    weights = np.zeros((classes + 2, len(names)))
    for place, which in enumerate(means.values()):
        weights[which, place] = 1 / max(1, len(which))
    own = np.arange(classes + 2)
    weights[own, len(means) + own] = 1
    return weights, names


def of_axes(group: np.ndarray, labels: np.ndarray, predictions: np.ndarray, axes: Axes) -> list[Scores]:
    """Macro F1 of each axis's levels, f1_<axis>, from groups, class numbers and predicted ones, [N] each."""
    found = []
    for name, (true, predicted) in by_axis(labels, predictions, axes).items():
        own = pick(of_run(group, true, predicted, classes=axes[name]), ("macro_f1",))
        found.append(replace(own, names=(f"f1_{name}",)))
    return found


def numbered(group: np.ndarray) -> np.ndarray:
    """Groups [N] as numbers from 0 on, in the order of their names: done once, it spares sorting a million names again."""
    return np.unique(group, return_inverse=True)[1]


def dealt(group: np.ndarray, units: int = UNITS) -> np.ndarray:
    """Numbered groups [N] to at most `units` units, [N], dealt at random, of sizes that differ by one group at most.

    The same groups are dealt alike every time, so that what is paired stays paired.
    """
    groups = int(group.max()) + 1
    if groups <= units:
        return group
    count = groups // -(-groups // units)
    return (np.random.default_rng(DEAL).permutation(groups) % count)[group]


def groups_per_class(group: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How many groups have a photo of each class, [C], from numbered groups [N] and labels [N]."""
    return np.bincount(np.unique(group * classes + labels) % classes, minlength=classes)


def pick(scores: Scores, names: tuple[str, ...]) -> Scores:
    """The same with the named scores only."""
    columns = [scores.names.index(name) for name in names]
    return replace(scores, weights=scores.weights[:, columns], names=names)


def plain(scores: Scores) -> Scores:
    """The same without pseudo-groups: the groups alone are drawn."""
    return replace(scores, pseudo=np.zeros_like(scores.pseudo))


def beside(parts: list[Scores]) -> Scores:
    """Scores of the same groups side by side. Ratios that none of them needs stay: another run's, or another repeat's, may."""
    weights = np.zeros((sum(len(part.weights) for part in parts), sum(len(part.names) for part in parts)))
    row = column = 0
    for part in parts:
        weights[row : row + len(part.weights), column : column + len(part.names)] = part.weights
        row, column = row + len(part.weights), column + len(part.names)
    numerators, denominators, pseudo, highest = (
        np.concatenate([getattr(part, values) for part in parts], axis=-1)
        for values in ("numerators", "denominators", "pseudo", "highest")
    )
    names = tuple(name for part in parts for name in part.names)
    many = any(part.many for part in parts)
    return Scores(numerators, denominators, weights, names, parts[0].groups, many, pseudo, highest)


def difference(a: list[Scores], b: list[Scores]) -> Scores:
    """Mean over the runs `b` minus mean over the runs `a`: paired, because all hold the same units in the same order.

    Without pseudo-groups: what either run could do with one is no evidence of a difference.
    """
    runs = [(run, -1 / len(a)) for run in a] + [(run, 1 / len(b)) for run in b]
    highest = np.concatenate([run.highest for run, _ in runs])
    return Scores(
        np.concatenate([run.numerators for run, _ in runs], axis=1),
        np.concatenate([run.denominators for run, _ in runs], axis=1),
        np.concatenate([run.weights * share for run, share in runs]),
        a[0].names,
        a[0].groups,
        a[0].many,
        np.zeros((2, len(highest)), np.float32),
        highest,
    )


def estimate(scores: Scores) -> np.ndarray:
    """The scores of the whole sample, [M]."""
    sums = (values.sum(0, dtype=np.float64) for values in (scores.numerators, scores.denominators))
    return ratios(*sums) @ scores.weights


def replicate(scores: Scores, replicates: int, seed: int) -> Replicates:
    """Draw units with replacement `replicates` times; the same seed draws the same ones.

    With pseudo-groups there are two sets of replicates, of the same units: for the lower end with those that are all wrong,
    for the upper end with those that are all right. They move the middle of the replicates, which is moved back.
    """
    units, count = scores.numerators.shape
    alike, rng = _alike(scores), np.random.default_rng([seed, 1])
    expected = pseudo_groups.expected(scores.pseudo, np.count_nonzero(scores.denominators, axis=0) > 0, scores.many)
    of_sample = [_scored(scores, np.ones((1, units), np.float32), times, alike) for times in expected]
    kept = [_kept(scores, times[:, 0], error[0]) for times, (_, error) in zip(expected, of_sample, strict=True)]
    values = np.empty((len(expected), replicates, len(scores.names)))
    errors = np.empty_like(values)
    for rows, drawn in _draws(units, replicates, np.random.default_rng(seed)):
        for end, times in enumerate(expected):
            pseudo = rng.poisson(times, (2, len(drawn), count)).astype(np.float32) if times.any() else times
            values[end, rows], errors[end, rows] = _scored(scores, drawn, pseudo, alike, kept[end])
    lowest, highest = _range(scores)
    own = np.clip(estimate(scores), lowest, highest)
    lower, *others = (
        Replicates(own, error[0], values[end] - middle[0] + own, errors[end], lowest, highest, scores.groups)
        for end, (middle, error) in enumerate(of_sample)
    )
    upper, without, *_ = (*others, None, None)
    return replace(lower, upper=upper, without=without)


def _kept(scores: Scores, pseudo: np.ndarray, error: np.ndarray) -> np.ndarray | None:
    """What a ratio brings to each score in replicates that draw nothing of it, [J, M]; None where that is always 0. pseudo:
    how many pseudo-groups all right and all wrong are expected, [2, J]."""
    if not scores.many:
        return None
    there = np.count_nonzero(scores.denominators, axis=0)
    right, wrong = pseudo * scores.pseudo
    ratio = ratios(scores.numerators.sum(0) + right, scores.denominators.sum(0) + right + wrong)
    brought = ratio[:, None] * scores.weights
    absent = (1 - there / len(scores.denominators)) ** len(scores.denominators) * np.exp(-pseudo.sum(0))
    kept = np.where(np.abs(absent @ brought) > LOST * error, brought, 0)
    return kept if kept.any() else None


def _range(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value that each score can have, [M] each; rounded, as weights of 1 / C do not add up to 1."""
    by_ratio = scores.highest[:, None]
    falling, rising = (
        np.multiply(scores.weights, by_ratio, out=np.zeros_like(scores.weights), where=where).sum(0).round(12)
        for where in (scores.weights < 0, scores.weights > 0)
    )
    return falling, rising


def interval(found: Replicates, share: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap-t interval of each score, low [M] and high [M], with the estimate in it, within what a score can be; of fewer
    than FEWEST_PEOPLE groups all of that."""
    if found.groups < FEWEST_PEOPLE:
        return found.lowest, found.highest
    low, high = found.end((1 + share) / 2), (found.upper or found).end((1 - share) / 2)
    if found.without:
        low = np.minimum(low, found.without.end((1 + share) / 2))
        high = np.maximum(high, found.without.end((1 - share) / 2))
    return np.clip(low, found.lowest, found.estimate), np.clip(high, found.estimate, found.highest)


def percentile(found: Replicates, share: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each score, of plain ones; kept to show in bench/intervals.py what it misses."""
    low, high = np.quantile(found.values, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return low, high


def macro_f1_interval(
    group: np.ndarray, labels: np.ndarray, predictions: np.ndarray, replicates: int, seed: int, classes: int
) -> tuple[float, float]:
    """95 % bootstrap-t interval of macro F1 over groups."""
    scores = pick(of_run(group, labels, predictions, classes=classes), ("macro_f1",))
    low, high = interval(replicate(scores, replicates, seed))
    return float(low[0]), float(high[0])


def _draws(units: int, replicates: int, rng: np.random.Generator) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the result, and how often each unit is drawn there, float32 [rows, U]."""
    step = max(1, CHUNK // units)
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn = rng.integers(0, units, (size, units)) + np.arange(size)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        yield slice(start, start + size), counts.astype(np.float32)


@dataclass(frozen=True)
class _Alike:
    """The units that bring something to a score, those that bring the same side by side: T kinds of them."""

    used: np.ndarray  # [K] the ratios that the score is made of
    units: np.ndarray  # [S]
    starts: np.ndarray  # [T] where each kind begins among these
    numerators: np.ndarray  # [T, K]
    denominators: np.ndarray  # [T, K]


def _alike(scores: Scores) -> list[_Alike | None]:
    """Of each score whose ratios most units bring nothing to, as of a class among many, the others by kind; else None.

    There are few kinds, since they are counts of a few photos: influences are computed once a kind instead of once a unit.
    """
    found: list[_Alike | None] = []
    for column in scores.weights.T:
        used = np.flatnonzero(column)
        brought = np.concatenate([scores.numerators[:, used], scores.denominators[:, used]], axis=1)
        units = np.flatnonzero(brought.any(axis=1))
        if 2 * len(units) > len(brought):
            found.append(None)
            continue
        kinds, kind = np.unique(brought[units], axis=0, return_inverse=True)
        order = np.argsort(kind.ravel(), kind="stable")
        starts = np.searchsorted(kind.ravel()[order], np.arange(len(kinds)))
        found.append(_Alike(used, units[order], starts, kinds[:, : len(used)], kinds[:, len(used) :]))
    return found


def _scored(
    scores: Scores,
    drawn: np.ndarray,
    pseudo: np.ndarray,
    alike: list[_Alike | None],
    kept: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their standard errors, each [rows, M], for units drawn so often, [rows, U], and pseudo-groups that are all
    right or all wrong in a ratio, [2, rows, J].

    Influence of unit p on score m: sum over j of weight_jm (n_pj - ratio_j d_pj) / D_j, D the summed denominator.
    Its sum over the drawn units is 0, so the sum of its squares is the variance.
    """
    right, wrong = pseudo * scores.pseudo[:, None]
    bottom = drawn @ scores.denominators + right + wrong
    ratio = ratios(drawn @ scores.numerators + right, bottom)
    of_pseudo = right * scores.pseudo[0] * np.square(1 - ratio) + wrong * scores.pseudo[1] * np.square(ratio)
    errors = np.empty((len(drawn), len(scores.names)))
    by_unit = np.ascontiguousarray(drawn.T)
    for number, (column, kinds) in enumerate(zip(scores.weights.T, alike, strict=True)):
        used = np.flatnonzero(column)
        slope = ratios(column[used].astype(np.float32), bottom[:, used])
        shrunk = slope * ratio[:, used]
        if kinds is None:
            influence = slope @ scores.numerators[:, used].T
            influence -= shrunk @ scores.denominators[:, used].T
            np.square(influence, out=influence)
            variance = np.einsum("bp,bp->b", drawn, influence)
        else:
            variance = _variance_by_kind(kinds, slope, shrunk, by_unit)
        errors[:, number] = np.sqrt(variance + np.einsum("bj,bj->b", np.square(slope), of_pseudo[:, used]))
    values = ratio.astype(np.float64) @ scores.weights
    return values if kept is None else values + (bottom == 0) @ kept, errors


def _variance_by_kind(kinds: _Alike, slope: np.ndarray, shrunk: np.ndarray, by_unit: np.ndarray) -> np.ndarray:
    """Variance of a score, [rows], from the slopes of its ratios [rows, K], these times the ratio, and how often each
    unit is drawn, [U, rows]."""
    if not len(kinds.units):
        return np.zeros(by_unit.shape[1])
    times = np.add.reduceat(by_unit[kinds.units], kinds.starts, axis=0)
    influence = kinds.numerators @ slope.T - kinds.denominators @ shrunk.T
    return np.asarray((times * np.square(influence)).sum(axis=0))


def ratios(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, 0 where bottom is 0 (scikit-learn's zero_division=0)."""
    top = np.broadcast_to(top, bottom.shape)
    return np.divide(top, bottom, out=np.zeros(bottom.shape, np.result_type(top, bottom)), where=bottom > 0)
