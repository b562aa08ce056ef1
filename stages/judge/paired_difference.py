"""Is run B better than run A? Paired differences over the same people, with an interval and a verdict in words."""

from dataclasses import dataclass

import numpy as np

from stages.judge import bootstrap
from stages.judge.bootstrap import Scores

HIGHER_IS_BETTER = {"nll": False}  # every other score is better when higher
POWER = 1.96 + 0.84  # standard errors at which a 95 % interval excludes zero in 80 of 100 samples
MOST_PEOPLE = 1_000_000
ROUNDING = 1e-7  # differences and errors below this are rounding of float32 sums
FEWEST_PEOPLE = 5  # with fewer people of a class, no interval of its F1 means anything


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
    verdict: str  # better, worse, no evidence either way, too few people
    more_people: int | None  # needed to tell, where there is no evidence; None where that cannot be said
    seed_sd: float | None  # standard deviation of the score over seeds; None with one seed a run


@dataclass(frozen=True)
class Comparison:
    """Run b against run a; notes say what the interval does not cover."""

    run_a: str
    run_b: str
    rows: list[Difference]
    notes: list[str]
    same: bool = False  # both hold the same trained models, so that there is nothing to compare


def compare(
    a: list[Scores], b: list[Scores], people_of: dict[str, int], replicates: int, seed: int
) -> list[Difference]:
    """Every score of runs `b` (one entry a seed) against runs `a`; people_of: people behind a class's score.

    Symmetric bootstrap-t (Hall 1988): the interval is difference +- quantile of |t*| x standard error, and the p-value the
    share of |t*| at or above that of the difference, so that p < 0.05 means that the interval excludes zero. With two or
    more seeds on both sides, the seeds' own spread joins the standard error: then the verdict is about the methods, not
    about the models that happened to be trained.
    """
    found = bootstrap.replicate(bootstrap.difference(a, b), replicates, seed)
    of_a, of_b = (np.stack([bootstrap.estimate(run) for run in runs]) for runs in (a, b))
    rng = np.random.default_rng([seed, 1])
    rows = []
    for number, name in enumerate(a[0].names):
        noise, spread = _seed_noise(of_a[:, number], of_b[:, number])
        error = float(found.error[number]) if found.error[number] > ROUNDING else 0.0
        total = float(np.hypot(error, noise))
        t = found.t[:, number] * error
        if noise:
            t = t + rng.standard_t(len(a) + len(b) - 2, len(t)) * noise
        t = np.abs(t) / total if total else np.abs(t)
        difference = float(found.estimate[number]) if abs(found.estimate[number]) > ROUNDING else 0.0
        half = float(np.quantile(t, 0.95)) * total
        low, high = difference - half, difference + half
        if name != "nll":  # the other scores lie within 0..1
            low, high = max(-1.0, low), min(1.0, high)
        p_value = float((t >= abs(difference) / total).mean()) if total else 1.0
        few = people_of.get(name, FEWEST_PEOPLE) < FEWEST_PEOPLE or (total == 0 and name != "nll" and difference != 0)
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
                verdict="too few people" if few else _verdict(name, difference, p_value),
                more_people=None if few else _more_people(len(a[0].numerators), difference, error, noise),
                seed_sd=spread,
            )
        )
    return rows


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction for several comparisons: adjusted p-values, in the order given (Holm 1979)."""
    order = np.argsort(p_values)
    count = len(p_values)
    scaled = np.asarray(p_values)[order] * (count - np.arange(count))
    adjusted = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(adjusted[np.flatnonzero(order == place)[0]]) for place in range(count)]


def in_words(row: Difference) -> str:
    """The verdict, and how many people more would settle it."""
    if row.verdict != "no evidence either way" or row.difference == 0 or not row.more_people:
        return row.verdict
    return f"{row.verdict}; about {_two_digits(row.more_people):,} more people would be needed to tell"


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
        return "no evidence either way"
    return "better" if (difference > 0) == HIGHER_IS_BETTER.get(name, True) else "worse"


def _more_people(people: int, difference: float, error: float, noise: float) -> int | None:
    """People to add so that a difference of this size would be told from zero in 80 of 100 samples; 0 if enough.

    The standard error falls with the root of the people; seed noise does not, so more people may never be enough (None).
    """
    room = (difference / POWER) ** 2 - noise**2
    if room <= 0:
        return None
    needed = people * error**2 / room
    return max(0, int(np.ceil(needed - people))) if needed < MOST_PEOPLE else None
