"""Do probabilities mean what they say? Reliability, calibration error and temperature (Guo et al. 2017, arXiv:1706.04599), with
95 % intervals over groups.

A bin's accuracy is a ratio of sums over groups, and so is its gap, the part of the error that it brings: (right answers -
summed confidence) / all photos. stages.judge.bootstrap draws groups for both. The expected calibration error is the sum of the
gaps' sizes. Noise alone makes each size positive, so the error reads too high, a calibrated model's most of all (Roelofs et al.
2022, arXiv:2012.08668), and a percentile interval, whose replicates add noise to noise, lies higher still. With true gaps
rho and their noise Z, drawn as replicate minus estimate, the error reads too high by

    sum |rho + Z| - |rho|,  at most sum |Z| (all rho 0),  at least sum sign(rho) Z (no gap changes its sign).

The low end of the interval takes off the upper 2.5 % of this where a gap that is not clear, below CLEAR standard errors, counts
as 0, its worst case (moment selection: Andrews & Soares 2010, Econometrica 78); the high end the lower 2.5 % of the latter.
So it covers at least as often as it says, near 0 too, where the error has no normal distribution (bench/calibration.py).
"""

from dataclasses import dataclass, replace

import numpy as np

from stages.base import large_arrays
from stages.judge import bootstrap, pseudo_groups
from stages.judge.bootstrap import FEWEST_PEOPLE, Replicates, Scores
from stages.judge.metrics import log_softmax

BINS = 15
CLEAR = 3  # standard errors from which a gap's sign is taken as known
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Reliability:
    """Photos by their largest probability, in bins of equal width over 0..1; [bins] each."""

    confidence: np.ndarray  # mean; NaN where there is no photo
    accuracy: np.ndarray  # NaN where there is no photo
    low: np.ndarray  # of the accuracy's 95 % interval over groups; NaN with fewer than FEWEST_PEOPLE groups
    high: np.ndarray
    photos: np.ndarray
    groups: np.ndarray  # with a photo in the bin


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error, and what these groups can say of it."""

    ece: float
    low: float  # 95 % interval of the true error in these bins, within 0..1; it holds `ece`
    high: float
    debiased: float  # less the bias that the bootstrap finds, not below 0
    by_chance: float  # what a calibrated model with the noise of these groups shows on average


def temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature by which to divide logits [N, C] so that nll is lowest: above 1 where the model is too sure.

    One number fitted on OOF predictions, so it has next to nothing to overfit with. Lies within 0.05..20.
    """
    from scipy.optimize import minimize_scalar  # here, because training imports this module and seldom calls it

    def loss(log_temperature: float) -> float:
        return nll_at(np.exp(log_temperature), log_probabilities, labels)

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def nll_at(temperature: float, log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross entropy, nats a photo, of logits [N, C] divided by a temperature."""

    def of(which: slice) -> np.ndarray:
        own = labels[which]
        found: np.ndarray = log_softmax(log_probabilities[which] / temperature)[np.arange(len(own)), own]
        return found

    return float(-large_arrays.by_rows(of, *log_probabilities.shape).mean())


def temperature_interval(
    log_probabilities: np.ndarray, labels: np.ndarray, group: np.ndarray, fitted: float, replicates: int, seed: int
) -> tuple[float, float]:
    """95 % interval over numbered groups [N] of the `fitted` temperature, within 0.05..20.

    Newton's step at the fitted factor b = 1 / temperature is a ratio of sums over groups, (b curvature - slope) / curvature of
    the loss, so that no replicate is fitted anew (one-step bootstrap: Shao & Tu 1995, The Jackknife and Bootstrap).
    """
    if few(group):
        return COLDEST, HOTTEST
    curvature, slope = large_arrays.by_rows(
        lambda which: _bends(log_probabilities[which], labels[which], fitted), *log_probabilities.shape
    ).T
    unit = bootstrap.dealt(group)
    step, weight = (np.bincount(unit, each)[:, None] for each in (curvature / fitted - slope, curvature))
    low, high = bootstrap.interval(
        bootstrap.replicate(of_ratios(step, weight, np.eye(1), group, np.inf), replicates, seed)
    )
    coldest, hottest = (1 / np.clip(end[0], 1 / HOTTEST, 1 / COLDEST) for end in (high, low))
    return min(float(coldest), fitted), max(float(hottest), fitted)


def _bends(log_probabilities: np.ndarray, labels: np.ndarray, fitted: float) -> np.ndarray:
    """Curvature and slope of each photo's loss in 1 / temperature, [N, 2]."""
    probabilities = np.exp(log_softmax(log_probabilities / fitted))
    mean = np.einsum("nc,nc->n", probabilities, log_probabilities)
    curvature = np.einsum("nc,nc,nc->n", probabilities, log_probabilities, log_probabilities) - mean**2
    return np.stack([curvature, mean - log_probabilities[np.arange(len(labels)), labels]], axis=1)


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, group: np.ndarray, replicates: int, seed: int, bins: int = BINS
) -> Reliability:
    """Confidence and accuracy of the photos [N] in each bin of the top probability, intervals over numbered groups [N]."""
    found = top(probabilities, labels)
    confidence, right, place = found.confidence, found.right, found.place(bins)
    photos = np.bincount(place, minlength=bins)
    groups = bootstrap.groups_per_class(group, place, bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=confidence, minlength=bins) / photos
        accuracy = np.bincount(place, weights=right, minlength=bins) / photos
    low, high = np.full((2, bins), np.nan)
    known = np.flatnonzero(groups >= FEWEST_PEOPLE)
    if len(known):
        unit = bootstrap.dealt(group)
        hits, shown = (_sums(unit, place, each, bins)[:, known] for each in (right, np.ones(len(right))))
        ends = intervals_of_shares((hits, shown), accuracy[known], group, groups[known], (replicates, seed))
        low[known], high[known] = ends
    return Reliability(mean, accuracy, low, high, photos, groups)


def holding(ends: np.ndarray, share: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Intervals [2, J] of shares [J] that hold them, which those of bootstrap-t need not.

    Where all or none of the answers are right nothing varies that could be resampled: there stand the exact limits of that many
    trials (Clopper & Pearson 1934), a group being one, as if its photos were all alike.
    """
    reach = 0.025 ** (1 / groups)
    low = np.where(share == 1, reach, share)
    high = np.where(share == 0, 1 - reach, share)
    return np.stack([np.minimum(ends[0], low), np.maximum(ends[1], high)])


@dataclass(frozen=True)
class Answers:
    """Of N photos."""

    confidence: np.ndarray  # top probability, [N]
    right: np.ndarray  # bool [N], whether its class is that of the label

    def place(self, bins: int) -> np.ndarray:
        """Its bin, [N]."""
        return np.minimum((self.confidence * bins).astype(int), bins - 1)


def answers(log_probabilities: np.ndarray, labels: np.ndarray, temperature: float | None = None) -> Answers:
    """What log probabilities [N, C], divided by a temperature where there is one, answer."""

    def of(which: slice) -> np.ndarray:
        own = log_probabilities[which]
        found = top(np.exp(own if temperature is None else log_softmax(own / temperature)), labels[which])
        return np.stack([found.confidence, found.right], axis=1)

    confidence, right = large_arrays.by_rows(of, *log_probabilities.shape).T
    return Answers(confidence, right == 1)


def ece(answers: Answers, bins: int = BINS) -> float:
    """Expected calibration error: mean over photos of |confidence - accuracy| of their bin."""
    missed = np.bincount(answers.place(bins), weights=answers.right - answers.confidence)
    return float(np.abs(missed).sum() / len(answers.right))


def calibration_error(
    answers: Answers, group: np.ndarray, replicates: int, seed: int, bins: int = BINS
) -> CalibrationError:
    """The same with its 95 % interval over numbered groups [N], bias and chance level; with few groups it may be anything.

    Debiased as Kumar et al. 2019 (arXiv:1909.10155) do for this error, with groups drawn instead of normal numbers.
    """
    error = ece(answers, bins)
    confidence, right, place = answers.confidence, answers.right, answers.place(bins)
    unit, filled = bootstrap.dealt(group), np.unique(place)
    sums = np.hstack([_sums(unit, place, each, bins)[:, filled] for each in (right, confidence)])
    photos = np.repeat(np.bincount(unit)[:, None], sums.shape[1], axis=1)
    one = np.eye(len(filled))
    found = bootstrap.replicate(of_ratios(sums, photos, np.vstack([one, -one]), group), replicates, seed)
    least, most = _too_high(found)
    low, high = (0.0, 1.0) if few(group) else (max(0.0, error - most), min(1.0, error - least))
    bias = max(0.0, float(np.abs(found.values).sum(1).mean()) - error)
    by_chance = float(np.abs(found.values - found.estimate).sum(1).mean())
    return CalibrationError(error, low, high, max(0.0, error - bias), by_chance)


def _too_high(found: Replicates) -> tuple[float, float]:
    """By how much the sum of the gaps' sizes reads too high: 2.5 % quantile where that is least, 97.5 % where it is most."""
    gap, noise = found.estimate, found.values - found.estimate
    clear = np.where(np.abs(gap) > CLEAR * found.error, gap, 0)
    least = np.quantile(noise @ np.sign(gap), 0.025)
    most = np.quantile((np.abs(clear + noise) - np.abs(clear)).sum(1), 0.975)
    return min(float(least), 0.0), max(float(most), 0.0)


def top(probabilities: np.ndarray, labels: np.ndarray) -> Answers:
    """What probabilities [N, C] answer."""
    return Answers(probabilities.max(1).astype(np.float64), probabilities.argmax(1) == labels)


def _sums(unit: np.ndarray, place: np.ndarray, values: np.ndarray, bins: int) -> np.ndarray:
    """Values [N] summed over each unit's photos in each bin, [U, bins]."""
    units = int(unit.max()) + 1
    return np.bincount(unit * bins + place, values, minlength=units * bins).reshape(units, bins)


def of_ratios(
    numerators: np.ndarray, denominators: np.ndarray, weights: np.ndarray, group: np.ndarray, highest: float = 1.0
) -> Scores:
    """Scores made with weights [J, M] of ratios of sums over units, [U, J] each, of which none is above `highest`."""
    return Scores(
        numerators=numerators.astype(np.float32),
        denominators=denominators.astype(np.float32),
        weights=weights,
        names=tuple(map(str, range(weights.shape[1]))),
        groups=int(group.max()) + 1,
        many=False,
        pseudo=np.zeros((2, len(weights)), np.float32),
        highest=np.full(len(weights), highest),
    )


def intervals_of_shares(
    sums: tuple[np.ndarray, np.ndarray], share: np.ndarray, group: np.ndarray, groups: np.ndarray, how: tuple[int, int]
) -> np.ndarray:
    """95 % intervals [2, J] of shares [J], of so many groups each, [J]; how: replicates and seed.

    sums: of the photos that count and of those among which, over units, [U, J] each; every share has some photo. With the
    pseudo-groups of stages.judge.bootstrap: where one group or two are wrong, the next may double that.
    """
    own = of_ratios(*sums, np.eye(len(share)), group)
    scores = replace(own, pseudo=np.tile(pseudo_groups.photos(*sums).astype(np.float32), (2, 1)))
    return holding(np.stack(bootstrap.interval(bootstrap.replicate(scores, *how))), share, groups)


def few(group: np.ndarray) -> bool:
    return int(group.max()) + 1 < FEWEST_PEOPLE
