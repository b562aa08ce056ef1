"""How often do equal methods look unequal because their seeds differ, and what differences show?

python bench/verdicts.py real PROJECT ... [--pairs 2000]      (projects that were trained with many train.repeats; prints JSON)
python bench/verdicts.py simulate [--people 900] [--sd 0.01] [--pairs 2000] [--other-folds]
python bench/verdicts.py power [--people 900] [--sd 0.01] [--pairs 500]

real: pairs of runs of one method are put together from the trainings of each fold, 2 x repeats of them drawn without
replacement, fold by fold, since a fold's trainings know nothing of another fold's. Pairs share trainings, and the interval of a
rate counts that: first-order variance of a U-statistic (Hoeffding 1948) over the trainings of every fold, and the error of the
draw of pairs.

simulate, power: people as in bench/intervals.py; each training of a fold is better or worse than the method's mean by a share
of its noise that is drawn anew, so that macro F1 of a training of all folds varies with the standard deviation asked for, beside
what people answer differently. Pairs are independent.
"""

import argparse
import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from intervals import MASKS, rate
from sklearn.metrics import f1_score

from stages.base import paths
from stages.base.files import load_npz
from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, paired_difference, training_noise
from stages.judge.paired_difference import BETTER, MODEL_BETTER, MODEL_WORSE, WORSE, Asked, Difference
from stages.judge.training_noise import Training

REPEATS = (1, 2, 3, 5)
NAMES = ("macro_f1", "f1_60plus", "accuracy", "nll")
FOLDS = 5
MANY = 200_000  # people whose score is taken for the truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("real", "simulate", "power"))
    parser.add_argument("projects", nargs="*", type=Path)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--people", type=int, default=900)
    parser.add_argument("--sd", type=float, default=0.01, help="of macro F1 from seed to seed")
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--other-folds", action="store_true", help="the second run's people are dealt to folds anew")
    options = parser.parse_args()
    if options.what == "real":
        found: Any = {str(one): real(one, options.pairs, options.replicates) for one in options.projects}
    elif options.what == "simulate":
        found = simulate(options.people, options.sd, options.pairs, Drawn(options.replicates, options.other_folds))
    else:
        found = power(options.people, options.sd, options.pairs, Drawn(options.replicates))
    print(json.dumps(found, indent=2))


def real(project: Path, pairs: int, replicates: int) -> dict[str, Any]:
    """Share of pairs of equal methods that get each kind of verdict, by repeats and score."""
    arrays = load_npz(project / paths.OOF_ARRAYS, ("label", "fold", "last", "person"))
    labels, fold, logs = arrays["label"], arrays["fold"], arrays["last"]
    person, rows = bootstrap.numbered(arrays["person"]), np.arange(len(labels))
    answers, nll = logs.argmax(-1), -logs[:, rows, labels]
    cell, folds, _ = training_noise.of_cells(fold, fold)
    trainings, several = len(logs), int(fold.max()) + 1

    def training(which: np.ndarray) -> Training:
        """The run whose fold f is the training which[f]."""
        own = labels, answers[which[fold], rows], nll[which[fold], rows]
        sizes: dict[str, Any] = {"classes": CONTEST.classes, "subsets": CONTEST.subsets}
        of_people, of_cells = (
            bootstrap.pick(bootstrap.of_run(units, *own, **sizes), NAMES) for units in (person, cell)
        )
        return Training(of_people, of_cells, folds)

    alone = np.array([bootstrap.estimate(training(np.full(several, one)).over_groups) for one in range(trainings)])
    noise = training_noise.between_repeats([[training(np.full(several, one)) for one in range(trainings)]])
    found: dict[str, Any] = {
        "trainings": trainings,
        "mean": dict(zip(NAMES, alone.mean(0).tolist(), strict=True)),
        "sd": dict(zip(NAMES, alone.std(0, ddof=1).tolist(), strict=True)),
        "sd_put_together_from_folds": dict(zip(NAMES, noise.sd.tolist() if noise else [], strict=True)),
        "rates": [],
    }
    for repeats in REPEATS:
        rng = np.random.default_rng(repeats)
        drawn = np.array([[rng.permutation(trainings)[: 2 * repeats] for _ in range(several)] for _ in range(pairs)])
        verdicts = []
        for number, one in enumerate(drawn):  # [folds, 2 x repeats]
            runs = [training(which) for which in one.T]
            asked = Asked(replicates, number)
            verdicts.append([row.verdict for row in paired_difference.compare(runs[:repeats], runs[repeats:], asked)])
        for place, name in enumerate(NAMES):
            own = np.array([row[place] for row in verdicts])
            found["rates"].append(
                {"repeats": repeats, "score": name}
                | {"method": shared_rate(np.isin(own, (BETTER, WORSE)), drawn, trainings)}
                | {"as_trained": float(np.isin(own, (MODEL_BETTER, MODEL_WORSE)).mean())}
            )
    return found


def shared_rate(hits: np.ndarray, drawn: np.ndarray, trainings: int) -> dict[str, float]:
    """A share over pairs [P] that share trainings, drawn [P, folds, 2 R], with a 95 % interval."""
    share, size = float(hits.mean()), drawn.shape[2]
    variance = share * (1 - share) / len(hits)
    for fold in range(drawn.shape[1]):
        there = np.zeros((len(hits), trainings), bool)
        np.put_along_axis(there, drawn[:, fold], True, axis=1)
        times = there.sum(0)
        with_it = (there * hits[:, None]).sum(0) / np.maximum(1, times)
        # What is left of the spread between trainings when that of drawing so few pairs of each is taken off.
        own = with_it.var(ddof=1) - share * (1 - share) / times.mean() * (1 - size / trainings)
        variance += size**2 / trainings * max(0.0, own)
    half = 1.96 * math.sqrt(variance)
    return {"share": share, "low": max(0.0, share - half), "high": share + half}


@dataclass(frozen=True)
class Drawn:
    """How a simulated pair is drawn: with how many bootstrap samples, whether the second run has other folds, and its number."""

    replicates: int
    other_folds: bool = False
    number: int = 0


def simulate(people: int, sd: float, pairs: int, drawn: Drawn) -> dict[str, Any]:
    """Share of independent pairs of equal methods that get a verdict on macro F1, by repeats."""
    scale = spread_for(sd)
    rates = {}
    for repeats in REPEATS:
        found = [judged(people, repeats, scale, 0.0, replace(drawn, number=number)) for number in range(pairs)]
        rates[str(repeats)] = {
            "method": rate([row.verdict in (BETTER, WORSE) for row in found]),
            "as_trained": rate([row.verdict in (MODEL_BETTER, MODEL_WORSE) for row in found]),
        }
    return {"people": people, "seed_sd": sd, "pairs": pairs, "other_folds": drawn.other_folds, "verdicts": rates}


def power(people: int, sd: float, pairs: int, drawn: Drawn) -> dict[str, Any]:
    """Share of pairs with the verdict better on macro F1 by true difference, beside that of a normal test at 5 % that knows the
    standard deviation of the difference over people and seeds (taken from these very pairs)."""
    scale = spread_for(sd)
    table = []
    for target in (0.01, 0.02, 0.03, 0.05, 0.08):
        gain = gain_for(target)
        row: dict[str, Any] = {"true_difference": true_score(gain) - true_score(0.0)}
        for repeats in REPEATS:
            found = [judged(people, repeats, scale, gain, replace(drawn, number=number)) for number in range(pairs)]
            difference = np.array([one.difference for one in found])
            row[str(repeats)] = {
                "better": rate([one.verdict == BETTER for one in found]),
                "as_trained": float(np.mean([one.verdict == MODEL_BETTER for one in found])),
                "known_variance": float((difference > 1.96 * difference.std(ddof=1)).mean()),
                "said_to_show_from": float(np.median([one.detectable for one in found if one.detectable is not None])),
            }
        table.append(row)
    return {"people": people, "seed_sd": sd, "pairs": pairs, "power": table}


def judged(people: int, repeats: int, scale: float, gain: float, drawn: Drawn) -> Difference:
    """Macro F1 of one pair: `repeats` trainings with the share `gain` less noise against as many without."""
    rng = np.random.default_rng([people, repeats, drawn.number, 7])
    first = People.drawn(people, rng)
    second = replace(first, fold=rng.permutation(first.fold)) if drawn.other_folds else first
    cell, *folds = training_noise.of_cells(first.fold, second.fold)
    a, b = (
        [one.training(mean + scale * rng.normal(size=FOLDS), rng, (cell, own)) for _ in range(repeats)]
        for one, mean, own in ((first, 0.0, folds[0]), (second, gain, folds[1]))
    )
    return paired_difference.compare(a, b, Asked(drawn.replicates, drawn.number))[0]


@dataclass(frozen=True)
class People:
    """Simulated people of the contest's shape, in folds, and what of their looks all models share."""

    gender: np.ndarray  # [P]
    age: np.ndarray  # [P]
    fold: np.ndarray  # [P]
    shared: np.ndarray  # [2, P] years, looks

    @staticmethod
    def drawn(people: int, rng: np.random.Generator) -> "People":
        gender, age = (rng.random(people) < 0.6).astype(int), rng.choice(3, people, p=[0.47, 0.45, 0.08])
        dealt = np.empty(people, int)  # stratified: people alike are dealt to the folds in turn
        dealt[np.lexsort((rng.random(people), age, gender))] = np.arange(people) % FOLDS
        return People(gender, age, dealt, rng.normal(size=(2, people)))

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(MASKS * 6 + (self.gender * 3 + self.age)[:, None])

    def answers(self, gain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Classes [P, 7] that models with a share `gain` [folds] less noise predict."""
        left, people = 1 - gain[self.fold], len(self.age)
        own, photo = rng.normal(size=(2, people)), rng.normal(size=(2, people, len(MASKS)))
        years = np.array([-1.3, 0.6, 2.1])[self.age] + left * (0.7 * self.shared[0] + 0.3 * own[0])
        looks = (2 * self.gender - 1) + left * (0.5 * self.shared[1] + 0.25 * own[1])
        years, looks = years[:, None] + 0.5 * left[:, None] * photo[0], looks[:, None] + 0.3 * left[:, None] * photo[1]
        wrong = rng.random(photo[0].shape) < 0.04 * left[:, None]
        masks = np.where(wrong, rng.integers(0, 3, wrong.shape), MASKS)
        return np.asarray(masks * 6 + (looks > 0) * 3 + (years > -0.3) + (years > 1.7))

    def training(self, gain: np.ndarray, rng: np.random.Generator, cells: tuple[np.ndarray, np.ndarray]) -> Training:
        """cells: of each person, and the fold of each (training_noise.of_cells)."""
        answers, person = self.answers(gain, rng).ravel(), np.repeat(np.arange(len(self.age)), len(MASKS))
        of_people, of_cells = (
            bootstrap.pick(
                bootstrap.of_run(units, self.labels.ravel(), answers, classes=CONTEST.classes), ("macro_f1",)
            )
            for units in (person, cells[0][person])
        )
        return Training(of_people, of_cells, cells[1])


@cache
def true_score(gain: float) -> float:
    """Macro F1 over MANY people of models with a share `gain` less noise."""
    rng = np.random.default_rng(1)
    many = People.drawn(MANY, rng)
    return float(f1_score(many.labels.ravel(), many.answers(np.full(FOLDS, gain), rng).ravel(), average="macro"))


def gain_for(target: float) -> float:
    """The share of noise to take from a model so that its true macro F1 rises by `target` (bisection)."""
    low, high = 0.0, 0.9
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if true_score(middle) - true_score(0.0) < target else (low, middle)
    return (low + high) / 2


def spread_for(sd: float) -> float:
    """Standard deviation of the folds' gains with which macro F1 of a training, their mean, has the standard deviation `sd`."""
    step = 0.05
    slope = (true_score(step) - true_score(-step)) / (2 * step)
    return sd * math.sqrt(FOLDS) / slope


if __name__ == "__main__":
    main()
