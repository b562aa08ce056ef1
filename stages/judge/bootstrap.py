"""Intervals by resampling people: a person's photos come and go together (cluster bootstrap, Field & Welsh 2007)."""

import numpy as np

from stages.data.layout import CLASSES
from stages.judge.metrics import f1_from_counts, present


def person_counts(
    person: np.ndarray, labels: np.ndarray, predictions: np.ndarray, classes: int = CLASSES
) -> np.ndarray:
    """Per person the photos hit, true and predicted of each class, float32 [P, 3, C]; F1 needs no more."""
    _, index = np.unique(person, return_inverse=True)
    people, right = int(index.max()) + 1, labels == predictions

    def count(who: np.ndarray, which: np.ndarray) -> np.ndarray:
        return np.bincount(who * classes + which, minlength=people * classes).reshape(people, classes)

    hits = count(index[right], labels[right])
    return np.stack([hits, count(index, labels), count(index, predictions)], axis=1).astype(np.float32)


def resampled(counts: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Sums of `counts` [P, ...] over people drawn with replacement, [replicates, ...]."""
    people = len(counts)
    flat = counts.reshape(people, -1)
    sums = np.empty((replicates, flat.shape[1]), np.float32)
    step = max(1, 20_000_000 // people)  # people x replicates of weights at a time, so that memory stays flat
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        weights = rng.multinomial(people, np.full(people, 1 / people), size=size)
        sums[start : start + size] = weights.astype(np.float32) @ flat
    return sums.reshape(replicates, *counts.shape[1:])


def macro_f1_interval(
    person: np.ndarray, labels: np.ndarray, predictions: np.ndarray, replicates: int, seed: int, share: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of macro F1 over people; the label set is that of the whole sample in every replicate."""
    sums = resampled(person_counts(person, labels, predictions), replicates, np.random.default_rng(seed))
    f1 = f1_from_counts(sums[:, 0], sums[:, 1], sums[:, 2])[:, present(labels, predictions)].mean(1)
    low, high = np.quantile(f1, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
