"""Do the intervals cover the truth, and how often does an A/A pair raise an alarm? Simulation with known truth.

python bench/intervals.py [--people 2700] [--sets 1000] [--replicates 1000]     (no photos, no training; prints JSON)
python bench/intervals.py --alarms-only --first 1000 --sets 9250 --people 900   (more A/A pairs, after the first 1000)
python bench/intervals.py --cell 132_poor [--first 0] [--sets 1000]             (one run's scores, in one of CELLS)

Simulated people have the contest's shape: 60 % female, 47/45/8 % in the age bins, 7 photos each. Predictions err in age and
gender by a part that all photos of a person share, a part that all models share, and a part of each photo, and in the
mask by photo. The truth is the score over 400,000 people. Compared: bootstrap over people (as maskcli does: bootstrap-t),
its percentile variant, and the bootstrap over photos that users would do by habit. Cells of CELLS have models that seldom
say 60+, fewer old people, or photos of other classes without groups.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, paired_difference
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import BETTER, WORSE, Asked, Difference
from stages.judge.training_noise import Training

MASKS = np.array([0, 0, 0, 0, 0, 1, 2])
NAMES = ("macro_f1", "f1_60plus")
TRUTH_PEOPLE = 400_000
CLASSES = tuple(f"f1_{number}" for number in range(CONTEST.classes))
PHOTOS_EVERY = 4  # the bootstrap over photos is several times slower, so it sees every fourth data set


@dataclass(frozen=True)
class People:
    """Simulated people; a model says 60+ where the age it sees, in its own unit, is above `says_old`."""

    people: int
    says_old: float = 1.7
    old: float = 0.08  # share of people of 60 and more


@dataclass(frozen=True)
class Photos:
    """Photos without groups, of classes of about one size; a model is right in `right` of them, else says any class."""

    photos: int
    classes: int
    right: float = 0.8


CELLS: dict[str, People | Photos] = {
    "132": People(132),
    "132_fair": People(132, says_old=2.79),
    "132_poor": People(132, says_old=3.59),
    "900": People(900),
    "900_few_old": People(900, says_old=3.62, old=0.03),
    "2700": People(2700),
    "10_classes": Photos(300, 10),
    "10_classes_half": Photos(300, 10, right=0.4),
    "300_classes": Photos(1500, 300),
    "300_classes_half": Photos(1500, 300, right=0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=2700)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--power-sets", type=int, default=200)
    parser.add_argument("--alarms-only", action="store_true", help="only the A/A pairs, over people")
    parser.add_argument("--first", type=int, default=0, help="number of the first data set")
    parser.add_argument(
        "--cell", choices=CELLS, help="only the coverage and width of one run's intervals, in this cell"
    )
    options = parser.parse_args()
    if options.cell:
        numbers = range(options.first, options.first + options.sets)
        print(json.dumps({"cell": options.cell} | coverage(CELLS[options.cell], numbers, options.replicates), indent=2))
        return
    if options.alarms_only:
        numbers = range(options.first, options.first + options.sets)
        print(json.dumps(alarm_rates(options.people, numbers, options.replicates), indent=2))
        return
    print(json.dumps(simulate(options.people, options.sets, options.replicates, options.power_sets), indent=2))


def simulate(people: int, sets: int, replicates: int, power_sets: int) -> dict[str, Any]:
    """Coverage of intervals, A/A alarm rates, and power for true differences of macro F1."""
    truth = bootstrap.estimate(bootstrap.pick(one_set(TRUTH_PEOPLE, 0, [0.0])[0], NAMES))
    covered: dict[str, list[bool]] = {}
    alarms: dict[str, list[bool]] = {}
    for number in range(sets):
        pair = one_set(people, number + 1, [0.0, 0.0])
        units = {"people": pair}
        if number % PHOTOS_EVERY == 0:
            units["photos"] = one_set(people, number + 1, [0.0, 0.0], by_photo=True)
        for unit, runs in units.items():
            run = bootstrap.pick(runs[0], NAMES)
            ends = {
                "bootstrap_t": bootstrap.interval(bootstrap.replicate(run, replicates, number)),
                "percentile": bootstrap.percentile(bootstrap.replicate(bootstrap.plain(run), replicates, number)),
            }
            for kind, (low, high) in ends.items():
                for place, name in enumerate(NAMES):
                    inside = bool(low[place] <= truth[place] <= high[place])
                    covered.setdefault(f"{name} {kind} over {unit}", []).append(inside)
            for row in over_people(runs, NAMES, replicates, number):
                alarms.setdefault(f"{row.metric} over {unit}", []).append(row.verdict in (BETTER, WORSE))
    return {
        "people": people,
        "sets": sets,
        "replicates": replicates,
        "truth": dict(zip(NAMES, truth.tolist(), strict=True)),
        "coverage_95": {name: rate(hits) for name, hits in covered.items()},
        "alarms_on_A_A": {name: rate(hits) for name, hits in alarms.items()},
        "power": power(people, power_sets, replicates, float(truth[0])),
        "seconds_full_comparison": full_comparison(),
    }


def coverage(cell: People | Photos, numbers: range, replicates: int) -> dict[str, Any]:
    """How often 95 % intervals of one run's scores cover the truth, and how wide they are on average."""
    names = (*NAMES, *CLASSES, "accuracy") if isinstance(cell, People) else ("macro_f1", "f1_0", "accuracy")
    true = truth_of(cell, names)
    ends = np.empty((len(numbers), 3, len(names)))
    for place, number in enumerate(numbers):
        found = bootstrap.replicate(bootstrap.pick(one_run(cell, number + 1), names), replicates, number)
        ends[place] = *bootstrap.interval(found), found.estimate
    low, high, estimate = ends.transpose(1, 0, 2)
    return {
        "sets": len(numbers),
        "first": numbers.start,
        "replicates": replicates,
        "scores": {
            name: {
                "truth": float(true[place]),
                "mean_estimate": float(estimate[:, place].mean()),
                "covered": rate(((low <= true) & (true <= high))[:, place].tolist()),
                "too_low": float((high < true)[:, place].mean()),
                "too_high": float((true < low)[:, place].mean()),
                "mean_width": float((high - low)[:, place].mean()),
            }
            for place, name in enumerate(names)
        },
    }


def truth_of(cell: People | Photos, names: tuple[str, ...]) -> np.ndarray:
    """The cell's true scores: over TRUTH_PEOPLE people; of photos, in closed form, as true and predicted classes are alike."""
    if isinstance(cell, Photos):
        return np.full(len(names), cell.right + (1 - cell.right) / cell.classes)
    return bootstrap.estimate(bootstrap.pick(one_run(replace(cell, people=TRUTH_PEOPLE), 0), names))


def one_run(cell: People | Photos, seed: int) -> Scores:
    """Scores of one model on one simulated data set."""
    if isinstance(cell, People):
        return one_set(cell.people, seed, [0.0], cell=cell)[0]
    rng = np.random.default_rng([cell.photos, cell.classes, seed])
    labels, said = rng.integers(0, cell.classes, (2, cell.photos))
    answers = np.where(rng.random(cell.photos) < cell.right, labels, said)
    return bootstrap.of_run(np.arange(cell.photos), labels, answers, classes=cell.classes)


def alarm_rates(people: int, numbers: range, replicates: int) -> dict[str, Any]:
    """Share of the A/A pairs of the data sets `numbers` that get the verdict better or worse."""
    alarms: dict[str, list[bool]] = {name: [] for name in NAMES}
    for number in numbers:
        for row in over_people(one_set(people, number + 1, [0.0, 0.0]), NAMES, replicates, number):
            alarms[row.metric].append(row.verdict in (BETTER, WORSE))
    return {name: rate(hits) for name, hits in alarms.items()}


def power(people: int, sets: int, replicates: int, truth: float) -> list[dict[str, Any]]:
    """Share of pairs with verdict better, for true differences of macro F1 of about 0.005 to 0.05."""
    rows = []
    for target in (0.005, 0.01, 0.02, 0.03, 0.05):
        gain = gain_for(target, truth)
        true = float(bootstrap.estimate(bootstrap.pick(one_set(TRUTH_PEOPLE, 0, [gain])[0], ("macro_f1",)))[0]) - truth
        hits = []
        for number in range(sets):
            pair = one_set(people, 10_000 + number, [0.0, gain])
            hits.append(over_people(pair, ("macro_f1",), replicates, number)[0].verdict == BETTER)
        rows.append({"true_difference": true, "better": rate(hits)})
    return rows


def gain_for(target: float, truth: float) -> float:
    """The share of noise to take from a model so that its true macro F1 rises by about `target` (bisection)."""
    low, high = 0.0, 0.9
    for _ in range(12):
        middle = (low + high) / 2
        reached = bootstrap.estimate(bootstrap.pick(one_set(100_000, 0, [middle])[0], ("macro_f1",)))[0] - truth
        low, high = (middle, high) if reached < target else (low, middle)
    return (low + high) / 2


def one_set(
    people: int, seed: int, gains: list[float], by_photo: bool = False, cell: People = People(0)
) -> list[Scores]:
    """Scores of one simulated data set under one model for each gain (share of its own noise taken away)."""
    rng = np.random.default_rng([people, seed])
    gender = (rng.random(people) < 0.6).astype(int)
    younger = (1 - cell.old) / 0.92
    age = rng.choice(3, people, p=[0.47 * younger, 0.45 * younger, cell.old])
    shared_age, shared_gender = rng.normal(size=(2, people))
    labels = (MASKS * 6 + (gender * 3 + age)[:, None]).ravel()
    person = np.arange(len(labels)) if by_photo else np.repeat(np.arange(people), len(MASKS))
    runs = []
    for gain in gains:
        own = (1 - gain) * rng.normal(size=(2, people))
        photo = (1 - gain) * rng.normal(size=(2, people, len(MASKS)))
        years = np.array([-1.3, 0.6, 2.1])[age] + (1 - gain) * 0.7 * shared_age + 0.3 * own[0]
        years = years[:, None] + 0.5 * photo[0]
        looks = (2 * gender - 1) + (1 - gain) * 0.5 * shared_gender + 0.25 * own[1]
        looks = looks[:, None] + 0.3 * photo[1]
        masks = np.where(rng.random((people, 7)) < 0.04 * (1 - gain), rng.integers(0, 3, (people, 7)), MASKS)
        answer = masks * 6 + (looks > 0) * 3 + (years > -0.3) + (years > cell.says_old)
        runs.append(bootstrap.of_run(person, labels, answer.ravel(), classes=CONTEST.classes, subsets=CONTEST.subsets))
    return runs


def over_people(pair: list[Scores], names: tuple[str, ...], replicates: int, seed: int) -> list[Difference]:
    """The second of two models against the first, as these models (for methods: bench/verdicts.py)."""
    a, b = ([Training(bootstrap.pick(run, names))] for run in pair)
    return paired_difference.compare(a, b, Asked(replicates, seed, same_models=True))


def rate(hits: list[bool]) -> dict[str, float]:
    """A share with its 95 % Wilson interval (Wilson 1927)."""
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return {
        "share": p,
        "low": max(0.0, float((centre - half) / (1 + z**2 / n))),
        "high": float((centre + half) / (1 + z**2 / n)),
    }


def full_comparison() -> float:
    """Seconds of a comparison of all scores, 10,000 replicates over 2,700 people x 7 photos x 18 classes."""
    pair = one_set(2700, 1, [0.0, 0.05])
    began = time.perf_counter()
    over_people(pair, pair[0].names, 10_000, 0)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
