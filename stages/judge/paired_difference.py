"""Is run B better than run A? Paired differences over the same groups, with an interval and a verdict in words.

The question is about the method: would training again, with other seeds, on groups like these, come out ahead? So a verdict
needs two things to speak for it.

- The groups (people, say): symmetric bootstrap-t (Hall 1988, doi:10.1214/aos/1176350933). Its 95 % half-width, divided by
  1.96, is the standard error of groups: a normal one that gives the same interval, so that it can be joined with others, and
  read at other levels.
- The trainings (stages/judge/training_noise.py). From two repeats on, their variance joins that of the groups, and the whole has
  Student's t with degrees of freedom by Satterthwaite (1946, doi:10.2307/3002019). With one training a side the variance
  between folds holds groups and trainings alike, with few degrees of freedom; then the difference must stand out against
  both, so that neither luck is the answer (intersection-union test: Berger 1982, doi:10.1080/00401706.1982.10487790).

Where groups alone speak for a difference it is one of these trained models, and the verdict says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from stages.data.task_and_classes import Task
from stages.judge import bootstrap, training_noise
from stages.judge.bootstrap import FEWEST_PEOPLE, Replicates, Scores
from stages.judge.training_noise import Noise, Training

HIGHER_IS_BETTER = {"nll": False}  # every other score is better when higher, and lies within 0..1
LEVEL = 0.05  # error rate of all comparisons made together
POWER = 0.80  # share of samples in which a difference that can be shown is shown
MARGIN = 1.03  # on standard errors that count trainings, since they are known to first order only (bench/verdicts.py)
ROUNDING = 1e-7  # differences and errors below this are rounding of float32 sums
BETTER, WORSE = "better", "worse"
# Of these trained models; of the method nothing is known.
MODEL_BETTER, MODEL_WORSE = "better as trained", "worse as trained"
TOO_FEW = "too few to tell"
UNDECIDED = "no evidence either way"


@dataclass(frozen=True)
class Asked:
    """How runs are compared.

    comparisons: that share an error rate of 5 %. Each is tested at 5 % divided by their number, and its interval is as much
    wider, so that all of them hold together in 95 of 100 samples (Bonferroni: Dunn 1961, doi:10.1080/01621459.1961.10482090).
    same_models: both sides use the same trained models, and the answer is about these; no training is left to luck.
    """

    replicates: int
    seed: int
    units: str = "groups"  # what the groups are called
    groups_of: Mapping[str, int] = field(default_factory=dict)  # groups behind a class's score
    comparisons: int = 1
    same_models: bool = False


@dataclass(frozen=True)
class Difference:
    """One score of two runs, B minus A, with an interval that holds for all comparisons made together."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float  # as `low` where it is the same in every sample: no interval, as nothing is known of how it varies
    p_value: float  # for all comparisons made together
    verdict: str  # BETTER, WORSE, MODEL_BETTER, MODEL_WORSE, UNDECIDED, TOO_FEW
    # Smallest true difference that would be shown in 80 of 100 such samples; None: none would, or it is not known.
    detectable: float | None
    models_low: float  # the interval of these trained models, over groups alone
    models_high: float
    seed_sd: float | None  # standard deviation of one training's score over seeds; None with one training a side
    groups: int | None = None  # behind the F1 of a class
    units: str = "groups"  # what the groups are called


@dataclass(frozen=True)
class Comparison:
    """Run b against run a; notes say what the interval does not cover."""

    run_a: str
    run_b: str
    rows: list[Difference]
    notes: list[str]
    task: Task
    same: bool = False  # both hold the same trained models, so that there is nothing to compare
    groups: int = 0  # compared over
    trainings: tuple[int, int] = (1, 1)  # repeats of either run
    rates: tuple[str, str] = ("", "")  # learning rate of either run and where it came from, in words
    truth: str = ""  # where labels were corrected between the runs: whose labels both are scored by, in words
    # The same over those groups whose labels are the same in both runs; None where none were corrected between them.
    untouched: "Comparison | None" = None


@dataclass(frozen=True)
class _Error:
    """Standard errors of M differences, and the degrees of freedom that they are known with."""

    value: np.ndarray  # [M]
    freedom: np.ndarray  # [M]

    def half(self, level: float) -> np.ndarray:
        """Half the width of the interval that misses with probability `level`, [M]."""
        return np.asarray(self.value * special.stdtrit(self.freedom, 1 - level / 2))

    def detectable(self, level: float) -> np.ndarray:
        """The true difference that is shown at `level` in POWER of all samples, to first order, [M]."""
        return np.asarray(self.half(level) + self.value * special.stdtrit(self.freedom, POWER))

    def p_value(self, difference: np.ndarray) -> np.ndarray:
        size = np.divide(np.abs(difference), self.value, out=np.zeros_like(difference), where=self.value > 0)
        return np.asarray(2 * special.stdtr(self.freedom, -size))


@dataclass(frozen=True)
class _Judged:
    """M differences against one or several errors, each of which they have to stand out against."""

    half: np.ndarray  # [M]
    detectable: np.ndarray  # [M]
    p_value: np.ndarray  # [M]


def compare(a: Sequence[Training], b: Sequence[Training], asked: Asked) -> list[Difference]:
    """Every score of a run's trainings `b`, one a repeat, against those of `a`."""
    paired = bootstrap.difference([one.over_groups for one in a], [one.over_groups for one in b])
    found = bootstrap.replicate(paired, asked.replicates, asked.seed)
    difference = np.where(np.abs(found.estimate) > ROUNDING, found.estimate, 0.0)
    noise = None if asked.same_models else training_noise.between_repeats([a, b])
    of_groups = _of_groups(found, _of_absent(a, b))
    of_method = _of_method(of_groups, noise, a, b, asked)
    models = _judged([of_groups], difference, asked.comparisons)
    method = _judged(of_method, difference, asked.comparisons) if of_method else models
    of_a, of_b = (np.mean([bootstrap.estimate(one.over_groups) for one in run], axis=0) for run in (a, b))
    rows = []
    for at, name in enumerate(paired.names):
        few = min(paired.groups, asked.groups_of.get(name, paired.groups)) < FEWEST_PEOPLE
        few |= name != "nll" and bool(method.half[at] == 0) and bool(difference[at] != 0)
        low, high = _ends(name, difference[at], method.half[at], few)
        models_low, models_high = _ends(name, difference[at], models.half[at], few)
        rows.append(
            Difference(
                metric=name,
                a=float(of_a[at]),
                b=float(of_b[at]),
                difference=float(difference[at]),
                low=low,
                high=high,
                p_value=1.0 if few else float(method.p_value[at]),
                verdict=TOO_FEW if few else _verdict(name, at, difference, method if of_method else None, models),
                detectable=_within_reach(name, method.detectable[at]) if of_method and not few and low < high else None,
                models_low=models_low,
                models_high=models_high,
                seed_sd=None if noise is None else float(noise.sd[at]),
                groups=asked.groups_of.get(name),
                units=asked.units,
            )
        )
    return rows


def _judged(errors: Sequence[_Error], difference: np.ndarray, comparisons: int) -> _Judged:
    level = LEVEL / comparisons
    half = np.max([one.half(level) for one in errors], axis=0)
    detectable = np.max([one.detectable(level) for one in errors], axis=0)
    p_value = np.max([one.p_value(difference) for one in errors], axis=0)
    return _Judged(half, detectable, np.minimum(1.0, comparisons * p_value))


def _verdict(name: str, at: int, difference: np.ndarray, method: _Judged | None, models: _Judged) -> str:
    """The verdict on the difference number `at`; method: None where nothing can be told of it."""
    if difference[at] == 0:
        return UNDECIDED
    for judged, (up, down) in ((method, (BETTER, WORSE)), (models, (MODEL_BETTER, MODEL_WORSE))):
        if judged is not None and judged.p_value[at] < LEVEL:
            return up if (difference[at] > 0) == HIGHER_IS_BETTER.get(name, True) else down
    return UNDECIDED


def _within_reach(name: str, difference: float) -> float | None:
    return float(difference) if name == "nll" or difference < 1 else None


def _ends(name: str, difference: float, half: float, few: bool) -> tuple[float, float]:
    """The interval of a difference; of all scores but nll it lies within -1..1, since these lie within 0..1. Of few groups it
    is all of that, and of nll, which has no bounds, none."""
    if name == "nll":
        return (float(difference), float(difference)) if few else (float(difference - half), float(difference + half))
    return (-1.0, 1.0) if few else (max(-1.0, float(difference - half)), min(1.0, float(difference + half)))


def _of_groups(found: Replicates, of_absent: np.ndarray) -> _Error:
    """Normal standard errors over groups that give the same 95 % intervals as the symmetric bootstrap-t, and of_absent [M]."""
    error = np.where(found.error > ROUNDING, found.error, 0.0)
    scale = np.quantile(np.abs(found.t), 0.95, axis=0) / special.ndtri(0.975)
    return _Error(np.hypot(error * scale, of_absent), np.full(len(error), np.inf))


def _of_absent(a: Sequence[Training], b: Sequence[Training]) -> np.ndarray:
    """Standard errors of M differences over groups by answers of classes that no photo has, where not every training gives such.

    A mean over the classes in truth or answers is then over one class more, whose F1 is 0: one photo takes a share of 1 / C of
    macro F1 away. No sample of these groups varies in that, for each has the mean over the same classes. So the loss is parted
    among the groups that have such an answer, k of them, as if luck alone had given each to one run and not to the other; and as
    if either run had one more, as intervals of a difference of paired shares have it (Bonett & Price 2012), since of few answers
    the normal distribution is too sure: an error of loss sqrt(k + 2) / k.
    """
    runs = [[one.over_groups for one in run] for run in (a, b)]
    there = np.array([one.denominators.any(0) for run in runs for one in run])
    some = np.flatnonzero(there.any(0) & ~there.all(0))
    score = np.max([bootstrap.estimate(one) for run in runs for one in run], axis=0)  # of a run without such answers
    taken = [[_taken(one, some, score) for one in run] for run in runs]
    of_units, of_one = (
        np.mean([own[which] for own in taken[1]], axis=0) - np.mean([own[which] for own in taken[0]], axis=0)
        for which in (0, 1)
    )
    return np.asarray(np.sqrt(np.square(of_units).sum(0) + 2 * np.square(of_one).sum(0)))


def _taken(scores: Scores, some: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What answers of the classes `some` take from scores that are `score` [M]: those of each unit, [U, M], and one answer of
    each class, [len(some), M]."""
    answered = (scores.denominators[:, some] > 0).astype(float)
    units = answered.sum(0)
    share = np.where(units > 0, 1 / np.maximum(units, 1), 0.0)
    of_one = scores.weights[some] * score * share[:, None]
    return np.asarray(answered @ of_one), np.asarray(of_one)


def _of_method(
    groups: _Error, noise: Noise | None, a: Sequence[Training], b: Sequence[Training], asked: Asked
) -> list[_Error]:
    """The errors that a difference of methods has to stand out against, each by itself; none where trainings cannot be told."""
    if asked.same_models:
        return [groups]
    if noise is not None:
        total = np.square(groups.value) + noise.variance
        share = np.divide(total, noise.measured, out=np.full(len(total), np.inf), where=noise.measured > 0)
        return [_Error(MARGIN * np.sqrt(total), np.maximum(1.0, noise.freedom * np.square(share)))]
    folds = training_noise.between_folds(a[0], b[0])
    if folds is None:
        return []
    variance, freedom = folds
    return [groups, _Error(MARGIN * np.sqrt(variance), np.full(len(variance), float(freedom)))]
