"""Is run B better than run A? Paired differences over the same groups, with an interval and a verdict in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.data.task_and_classes import Task
from stages.judge import bootstrap
from stages.judge.bootstrap import Scores

HIGHER_IS_BETTER = {"nll": False}  # every other score is better when higher
POWER = 1.96 + 0.84  # standard errors at which a 95 % interval excludes zero in 80 of 100 samples
MOST_GROUPS = 1_000_000
ROUNDING = 1e-7  # differences and errors below this are rounding of float32 sums
FEWEST_PEOPLE = 5  # with fewer groups (people) of a class, no interval of its F1 means anything
TOO_FEW = "too few to tell"
UNDECIDED = "no evidence either way"


@dataclass(frozen=True)
class Difference:
    """One score of two runs, B minus A."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_improved: float
    p_value: float
    verdict: str  # better, worse, UNDECIDED, TOO_FEW
    more_needed: int | None  # groups more to tell, where there is no evidence; None where that cannot be said
    seed_sd: float | None  # standard deviation of the score over seeds; None with one seed a run
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


def compare(
    a: list[Scores], b: list[Scores], groups_of: Mapping[str, int], replicates: int, seed: int, units: str = "groups"
) -> list[Difference]:
    """Every score of runs `b` (one entry a seed) against runs `a`; groups_of: groups behind a class's score; units: their name.

    Symmetric bootstrap-t (Hall 1988): the interval is difference +- quantile of |t*| x standard error, and the p-value the
    share of |t*| at or above that of the difference, so that p < 0.05 means that the interval excludes zero. With two or
    more seeds on both sides, the seeds' own spread joins the standard error: then the verdict is about the methods, not
    about the models that happened to be trained.
    """
    found = bootstrap.replicate(bootstrap.difference(a, b), replicates, seed)
    of_a, of_b = (np.stack([bootstrap.estimate(run) for run in runs]) for runs in (a, b))
    rng, t = np.random.default_rng([seed, 1]), found.t
    rows = []
    for number, name in enumerate(a[0].names):
        noise, spread = _seed_noise(of_a[:, number], of_b[:, number])
        error = float(found.error[number]) if found.error[number] > ROUNDING else 0.0
        luck = rng.standard_t(len(a) + len(b) - 2, replicates) * noise if noise else 0.0
        difference = float(found.estimate[number]) if abs(found.estimate[number]) > ROUNDING else 0.0
        total = float(np.hypot(error, noise))
        low, high, p_value = _symmetric(t[:, number] * error + luck, difference, total)
        if name != "nll":  # the other scores lie within 0..1
            low, high = max(-1.0, low), min(1.0, high)
        few = groups_of.get(name, FEWEST_PEOPLE) < FEWEST_PEOPLE or (total == 0 and name != "nll" and difference != 0)
        rows.append(
            Difference(
                metric=name,
                a=float(of_a[:, number].mean()),
                b=float(of_b[:, number].mean()),
                difference=difference,
                low=-1.0 if few else low,
                high=1.0 if few else high,
                p_improved=_p_improved(found.values[:, number], name),
                p_value=1.0 if few else p_value,
                verdict=TOO_FEW if few else _verdict(name, difference, p_value),
                more_needed=None if few else _more_needed(a[0].groups, difference, error, noise),
                seed_sd=spread,
                units=units,
            )
        )
    return rows


def _symmetric(t: np.ndarray, difference: float, error: float) -> tuple[float, float, float]:
    """Symmetric 95 % interval, low and high, and p-value, from distances t [B] of replicates and the standard error."""
    t = np.abs(t) / error if error else np.abs(t)
    half = float(np.quantile(t, 0.95)) * error
    return difference - half, difference + half, float((t >= abs(difference) / error).mean()) if error else 1.0


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction for several comparisons: adjusted p-values, in the order given (Holm 1979)."""
    order = np.argsort(p_values)
    count = len(p_values)
    scaled = np.asarray(p_values)[order] * (count - np.arange(count))
    adjusted = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(adjusted[np.flatnonzero(order == place)[0]]) for place in range(count)]


def in_words(row: Difference) -> str:
    """The verdict, and how many groups more would settle it."""
    if row.verdict != UNDECIDED or row.difference == 0 or not row.more_needed:
        return row.verdict
    return f"{row.verdict}; about {_two_digits(row.more_needed):,} more {row.units} would be needed to tell"


def _two_digits(number: int) -> int:
    size = 10 ** max(0, len(str(number)) - 2)
    return round(number / size) * size


def _seed_noise(a: np.ndarray, b: np.ndarray) -> tuple[float, float | None]:
    """Standard error that the seeds bring to the difference, and the pooled standard deviation over seeds (or None)."""
    if len(a) < 2 or len(b) < 2:
        return 0.0, None
    pooled = ((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()
    sd = float(np.sqrt(pooled / (len(a) + len(b) - 2)))
    return sd * float(np.sqrt(1 / len(a) + 1 / len(b))), sd


def _p_improved(values: np.ndarray, name: str) -> float:
    """Share of the replicates in which B is better; ties count half."""
    signed = values if HIGHER_IS_BETTER.get(name, True) else -values
    return float((signed > ROUNDING).mean() + (np.abs(signed) <= ROUNDING).mean() / 2)


def _verdict(name: str, difference: float, p_value: float) -> str:
    if p_value >= 0.05 or difference == 0:
        return UNDECIDED
    return "better" if (difference > 0) == HIGHER_IS_BETTER.get(name, True) else "worse"


def _more_needed(groups: int, difference: float, error: float, noise: float) -> int | None:
    """Groups to add so that a difference of this size would be told from zero in 80 of 100 samples; 0 if enough.

    The standard error falls with the root of the groups; seed noise does not, so more of them may never be enough (None).
    """
    room = (difference / POWER) ** 2 - noise**2
    if room <= 0:
        return None
    needed = groups * error**2 / room
    return max(0, int(np.ceil(needed - groups))) if needed < MOST_GROUPS else None
