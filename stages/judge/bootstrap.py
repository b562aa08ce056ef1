"""Intervals by resampling people: a person's photos come and go together (cluster bootstrap, Field & Welsh 2007).

Every score here is a weighted sum of ratios of sums over people: the F1 of a class is 2 hits / (true + predicted),
accuracy is hits / photos, nll is summed loss / photos. So one person's part of a score, its influence, is known in closed
form, the standard error follows from it (delta method), and the bootstrap can be studentised: each replicate's distance
from the estimate is divided by the replicate's own standard error. For macro F1 over rare classes this covers the truth
where the percentile interval does not (bench/intervals.py). Efron & Tibshirani 1993, chapter 12; DiCiccio & Efron 1996.

More than UNITS people are dealt at random to groups of equal size that are drawn whole (random groups: Wolter 2007,
Introduction to Variance Estimation, chapter 2). A group's influence is the sum of independent influences, so its square
has the expectation of the sum of theirs: interval and skewness are estimated as before, with the noise of UNITS squares
instead of all people's (relative standard error of a standard error of normal sums: 1 / sqrt(2 UNITS), 0.7 %), and the
time no longer grows with the people.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from stages.data.layout import CLASSES, OLD_CLASSES
from stages.judge.metrics import present

ERROR_FLOOR = 0.5  # of the estimate's standard error: keeps replicates that lost a rare class from ruling the interval
UNITS = 10_000  # drawn at most: people, or groups of them
CHUNK = 5_000_000  # replicates x units at a time, so that memory stays flat


@dataclass(frozen=True)
class Scores:
    """What people bring to J ratios, and how M scores are made of these: score = (ratios * weights).sum over J."""

    numerators: np.ndarray  # float32 [P, J]
    denominators: np.ndarray  # float32 [P, J]
    weights: np.ndarray  # float64 [J, M]
    names: tuple[str, ...]  # [M]


@dataclass(frozen=True)
class Replicates:
    """M scores of the sample, and of B samples of people drawn with replacement, with their standard errors."""

    estimate: np.ndarray  # [M]
    error: np.ndarray  # [M]
    values: np.ndarray  # [B, M]
    errors: np.ndarray  # [B, M]

    @property
    def t(self) -> np.ndarray:
        """Studentised distances from the estimate, [B, M]; 0 where the sample's own standard error is 0."""
        floor = np.maximum(self.errors, ERROR_FLOOR * self.error)
        return np.divide(self.values - self.estimate, floor, out=np.zeros_like(self.values), where=floor > 0)


def of_run(
    person: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    nll: np.ndarray | None = None,
    classes: int = CLASSES,
) -> Scores:
    """Scores of one run: macro_f1, f1_60plus, accuracy, nll (if given per photo, [N]) and f1_<class> of each class.

    person, labels, predictions: [N]. Macro F1 is over the classes present in truth or prediction, in every replicate.
    """
    index = numbered(person)
    people, right = int(index.max()) + 1, labels == predictions

    def count(who: np.ndarray, which: np.ndarray) -> np.ndarray:
        return np.bincount(who * classes + which, minlength=people * classes).reshape(people, classes)

    hits, photos = count(index[right], labels[right]), np.bincount(index, minlength=people)
    losses = np.bincount(index, weights=nll, minlength=people) if nll is not None else np.zeros(people)
    numerators = np.column_stack([2 * hits, hits.sum(1), losses])
    denominators = np.column_stack([count(index, labels) + count(index, predictions), photos, photos])
    among = present(labels, predictions)
    rows = {
        "macro_f1": np.isin(np.arange(classes), among) / len(among),
        "f1_60plus": _mean_of(np.intersect1d(among, OLD_CLASSES), classes),
        **{f"f1_{number}": np.eye(classes)[number] for number in range(classes)},
    }
    weights = np.zeros((classes + 2, len(rows) + 2))
    weights[:classes, : len(rows)] = np.stack(list(rows.values()), axis=1)
    weights[classes, -2] = weights[classes + 1, -1] = 1
    names = (*rows, "accuracy", "nll")
    return Scores(numerators.astype(np.float32), denominators.astype(np.float32), weights, names)


def numbered(person: np.ndarray) -> np.ndarray:
    """People [N] as numbers from 0 on, in the order of their names: done once, it spares sorting a million names again."""
    return np.unique(person, return_inverse=True)[1]


def people_per_class(person: np.ndarray, labels: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """How many people have a photo of each class, [C], from numbered people [N] and labels [N]."""
    return np.bincount(np.unique(person * classes + labels) % classes, minlength=classes)


def _mean_of(which: np.ndarray, classes: int) -> np.ndarray:
    return np.isin(np.arange(classes), which) / max(1, len(which))


def pick(scores: Scores, names: tuple[str, ...]) -> Scores:
    """The same with the named scores only."""
    columns = [scores.names.index(name) for name in names]
    return Scores(scores.numerators, scores.denominators, scores.weights[:, columns], names)


def beside(parts: list[Scores]) -> Scores:
    """Scores of the same people side by side; ratios that none of them needs are left out."""
    needed = [part.weights.any(axis=1) for part in parts]
    weights = np.zeros((sum(map(np.count_nonzero, needed)), sum(len(part.names) for part in parts)))
    row = column = 0
    for part, used in zip(parts, needed, strict=True):
        own = part.weights[used]
        weights[row : row + len(own), column : column + len(part.names)] = own
        row, column = row + len(own), column + len(part.names)
    numerators, denominators = (
        np.concatenate([getattr(part, side)[:, used] for part, used in zip(parts, needed, strict=True)], axis=1)
        for side in ("numerators", "denominators")
    )
    return Scores(numerators, denominators, weights, tuple(name for part in parts for name in part.names))


def difference(a: list[Scores], b: list[Scores]) -> Scores:
    """Mean over the runs `b` minus mean over the runs `a`: paired, because all hold the same people in the same order."""
    runs = [(run, -1 / len(a)) for run in a] + [(run, 1 / len(b)) for run in b]
    return Scores(
        np.concatenate([run.numerators for run, _ in runs], axis=1),
        np.concatenate([run.denominators for run, _ in runs], axis=1),
        np.concatenate([run.weights * share for run, share in runs]),
        a[0].names,
    )


def estimate(scores: Scores) -> np.ndarray:
    """The scores of the whole sample, [M]."""
    sums = (values.sum(0, dtype=np.float64) for values in (scores.numerators, scores.denominators))
    return _ratios(*sums) @ scores.weights


def replicate(scores: Scores, replicates: int, seed: int) -> Replicates:
    """Draw people (or groups of them, see above) with replacement `replicates` times; the same seed draws the same ones."""
    scores = in_groups(scores, seed)
    people = len(scores.numerators)
    values = np.empty((replicates, len(scores.names)))
    errors = np.empty_like(values)
    for rows, drawn in _draws(people, replicates, np.random.default_rng(seed)):
        values[rows], errors[rows] = _scored(scores, drawn)
    ones = np.ones((1, people), np.float32)
    own, error = _scored(scores, ones)
    return Replicates(own[0], error[0], values, errors)


def in_groups(scores: Scores, seed: int, units: int = UNITS) -> Scores:
    """The same scores of at most `units` groups of people, dealt at random, whose sizes differ by one at most."""
    people = len(scores.numerators)
    if people <= units:
        return scores
    groups = people // -(-people // units)
    group = np.random.default_rng([seed, 2]).permutation(people) % groups

    def sums(values: np.ndarray) -> np.ndarray:
        columns = [np.bincount(group, weights=column, minlength=groups) for column in values.T]
        return np.stack(columns, axis=1).astype(np.float32)

    return replace(scores, numerators=sums(scores.numerators), denominators=sums(scores.denominators))


def interval(found: Replicates, share: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap-t interval of each score, low [M] and high [M]."""
    low, high = np.quantile(found.t, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return found.estimate - high * found.error, found.estimate - low * found.error


def percentile(found: Replicates, share: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each score; kept to show in bench/intervals.py what it misses."""
    low, high = np.quantile(found.values, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return low, high


def macro_f1_interval(
    person: np.ndarray, labels: np.ndarray, predictions: np.ndarray, replicates: int, seed: int
) -> tuple[float, float]:
    """95 % bootstrap-t interval of macro F1 over people, within 0..1."""
    scores = pick(of_run(person, labels, predictions), ("macro_f1",))
    low, high = interval(replicate(scores, replicates, seed))
    return max(0.0, float(low[0])), min(1.0, float(high[0]))


def _draws(people: int, replicates: int, rng: np.random.Generator) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the result, and how often each person is drawn there, float32 [rows, P]."""
    step = max(1, CHUNK // people)
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn = rng.integers(0, people, (size, people)) + np.arange(size)[:, None] * people
        counts = np.bincount(drawn.ravel(), minlength=size * people).reshape(size, people)
        yield slice(start, start + size), counts.astype(np.float32)


def _scored(scores: Scores, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their standard errors, each [rows, M], for people drawn so often, [rows, P].

    Influence of person p on score m: sum over j of weight_jm (n_pj - ratio_j d_pj) / D_j, D the summed denominator.
    Its sum over the drawn people is 0, so the sum of its squares is the variance.
    """
    bottom = drawn @ scores.denominators
    ratio = _ratios(drawn @ scores.numerators, bottom)
    errors = np.empty((len(drawn), len(scores.names)))
    for number, column in enumerate(scores.weights.T):
        used = np.flatnonzero(column)
        slope = _ratios(column[used].astype(np.float32), bottom[:, used])
        influence = slope @ scores.numerators[:, used].T
        influence -= (slope * ratio[:, used]) @ scores.denominators[:, used].T
        np.square(influence, out=influence)
        errors[:, number] = np.sqrt(np.einsum("bp,bp->b", drawn, influence))
    return ratio.astype(np.float64) @ scores.weights, errors


def _ratios(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, 0 where bottom is 0 (scikit-learn's zero_division=0)."""
    top = np.broadcast_to(top, bottom.shape)
    return np.divide(top, bottom, out=np.zeros(bottom.shape, np.result_type(top, bottom)), where=bottom > 0)
