"""Do the intervals of calibration error, of a bin's accuracy and of the temperature cover the truth? Simulation with known truth.

python bench/calibration.py [--people 132] [--sets 1000] [--replicates 1000]      (no photos, no training; prints JSON)

Simulated people have 7 photos each, whose probabilities of 18 classes have a part that a person's photos share. The true class
is drawn from them, so that they are calibrated, and whether it is the likeliest depends between photos of one person as well.
An overconfident model gives these logits times a factor, which is its true temperature; its true errors are means over
160,000 people of what is known of each photo, not of what was drawn. Beside maskcli's interval stands the percentile
bootstrap over people.
"""

import argparse
import json
from typing import Any

import numpy as np
from intervals import rate
from scipy.special import ndtr

from stages.judge import calibration
from stages.judge.metrics import log_softmax

CLASSES, PHOTOS = 18, 7
FACTORS = (1.0, 1.1, 1.5)
TRUTH = [(20_000, seed) for seed in range(8)]  # people, seeds
SHARED = 0.5  # of the variance of what decides the class
FEW = 20  # groups: bins of fewer are told apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=132)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=1000)
    options = parser.parse_args()
    rows = [simulate(factor, options.people, options.sets, options.replicates) for factor in FACTORS]
    print(json.dumps(rows, indent=2))


def simulate(factor: float, people: int, sets: int, replicates: int) -> dict[str, Any]:
    """Means of the estimates, and coverage of the intervals with their mean widths, of a model with this factor."""
    gaps, accuracy = truth(factor)
    true = float(np.abs(gaps).sum())
    covered: dict[str, list[bool]] = {}
    sizes: dict[str, list[float]] = {}

    def note(name: str, low: float, value: float, high: float) -> None:
        covered.setdefault(name, []).append(bool(low <= value <= high))
        sizes.setdefault(f"{name} width", []).append(high - low)

    for number in range(sets):
        group, honest, labels = one_set(people, 1000 + number)
        logs = log_softmax(honest * factor)
        probabilities, how = np.exp(logs), (replicates, number)
        found = calibration.calibration_error(calibration.top(probabilities, labels), group, *how)
        note("ece", found.low, true, found.high)
        low, high = percentile(probabilities, labels, number)
        note("ece percentile", low, true, high)
        covered.setdefault("told from chance", []).append(found.low > 0)
        for name in ("ece", "debiased", "by_chance"):
            sizes.setdefault(name, []).append(getattr(found, name))
        bins = calibration.reliability(probabilities, labels, group, *how)
        for place in np.flatnonzero(np.isfinite(bins.low)):
            name = f"bin of {'5 to 19' if bins.groups[place] < FEW else '20 or more'} people"
            note(name, bins.low[place], accuracy[place], bins.high[place])
        fitted = calibration.temperature(logs, labels)
        low, high = calibration.temperature_interval(logs, labels, group, fitted, *how)
        note("temperature", low, factor, high)
    return {
        "people": people,
        "sets": sets,
        "temperature": factor,
        "true_ece": true,
        "means": {name: float(np.mean(values)) for name, values in sizes.items()},
        "shares": {name: rate(hits) for name, hits in covered.items()},
    }


def one_set(people: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbered groups [N], calibrated log probabilities [N, C] and labels [N] of one data set."""
    rng = np.random.default_rng([people, seed])
    group = np.repeat(np.arange(people), PHOTOS)
    photos = len(group)
    scale = np.exp(rng.normal(0.45, 0.4, people)[group] + rng.normal(0, 0.3, photos))
    logits = 1.5 * (rng.normal(size=(people, CLASSES))[group] + rng.normal(size=(photos, CLASSES)))
    honest = log_softmax(logits * scale[:, None])
    shared, own = rng.normal(size=people)[group], rng.normal(size=photos)
    drawn = ndtr(np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own)
    order = np.argsort(-honest, axis=1)
    chance = np.exp(np.take_along_axis(honest, order, axis=1)).cumsum(axis=1)
    rank = np.minimum((drawn[:, None] > chance).sum(axis=1), CLASSES - 1)
    return group, honest, order[np.arange(photos), rank]


def truth(factor: float) -> tuple[np.ndarray, np.ndarray]:
    """True gap and accuracy of each bin, [bins]."""
    sums = np.zeros((3, calibration.BINS))
    for people, seed in TRUTH:
        _, honest, _ = one_set(people, seed)
        confidence, right = np.exp(log_softmax(honest * factor)).max(axis=1), np.exp(honest).max(axis=1)
        place = np.minimum((confidence * calibration.BINS).astype(int), calibration.BINS - 1)
        for row, values in enumerate((right - confidence, right, np.ones(len(right)))):
            sums[row] += np.bincount(place, values, minlength=calibration.BINS)
    gaps, hits, photos = sums
    return gaps / photos.sum(), hits / np.maximum(photos, 1)


def percentile(probabilities: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """What users would do by habit: the error of people drawn anew, 1,000 times."""
    place = np.minimum((probabilities.max(axis=1) * calibration.BINS).astype(int), calibration.BINS - 1)
    gaps = (probabilities.argmax(axis=1) == labels) - probabilities.max(axis=1)
    people = len(labels) // PHOTOS
    where = np.repeat(np.arange(people), PHOTOS) * calibration.BINS + place
    sums = np.bincount(where, gaps, minlength=people * calibration.BINS).reshape(people, calibration.BINS)
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), 1000)
    low, high = np.quantile(np.abs(drawn @ sums).sum(axis=1) / len(labels), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
