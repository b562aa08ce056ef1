"""The numbers of the report: every headline metric with its interval over people, and what the tables show of them."""

from dataclasses import dataclass

import numpy as np

from stages.data.layout import CLASSES, parts
from stages.judge import bootstrap
from stages.judge.paired_difference import FEWEST_PEOPLE, Difference, in_words

# Key in metrics.json, name on the page, whether higher is better.
HEADLINES = (
    ("macro_f1", "macro F1", True),
    ("macro_f1_last", "macro F1 of the last epochs", True),
    ("macro_f1_other_folds", "macro F1, epochs fixed from the other folds", True),
    ("macro_f1_best_epochs", "macro F1 of the best epochs (chosen on the scored photos: too high)", True),
    ("accuracy", "accuracy", True),
    ("nll", "cross entropy, nats a photo", False),
    ("f1_60plus", "F1 of the 60+ classes", True),
    ("f1_mask", "F1 of mask alone", True),
    ("f1_gender", "F1 of gender alone", True),
    ("f1_age", "F1 of age bin alone", True),
    ("ece", "expected calibration error (ECE)", False),
    ("ece_calibrated", "ECE after temperature scaling", False),
    ("temperature", "fitted temperature (above 1: too sure)", None),
)
SMALLEST = 1e-30  # a probability of 0 still has a finite loss


@dataclass(frozen=True)
class Oof:
    """OOF predictions of N photos."""

    photo: np.ndarray  # [N] file names
    person: np.ndarray  # [N]
    labels: np.ndarray  # [N] class numbers
    probabilities: np.ndarray  # [N, 18], of the selected epochs, mean over repeats
    last: np.ndarray  # [N] classes predicted after the last epochs

    @property
    def predictions(self) -> np.ndarray:
        return self.probabilities.argmax(1)

    @property
    def losses(self) -> np.ndarray:
        """Cross entropy of each photo, nats, [N]."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        return -np.log(np.maximum(true, SMALLEST))


@dataclass(frozen=True)
class Intervals:
    """95 % intervals over people: low and high end by key of metrics.json, and of each class's F1, [18] each.

    The ends of a class are NaN where it has too few people for an interval, or all its replicates are alike.
    """

    headline: dict[str, tuple[float, float]]
    class_low: np.ndarray
    class_high: np.ndarray


def intervals(oof: Oof, replicates: int, seed: int) -> Intervals:
    """Bootstrap-t intervals (stages.judge.bootstrap) of the headline metrics and of each class's F1."""
    names = ("macro_f1", "accuracy", "nll", "f1_60plus", *(f"f1_{number}" for number in range(CLASSES)))
    person = bootstrap.numbered(oof.person)
    scores = bootstrap.of_run(person, oof.labels, oof.predictions, oof.losses)
    low, high = bootstrap.interval(bootstrap.replicate(bootstrap.pick(scores, names), replicates, seed))
    low, high = np.maximum(low, 0), np.where(np.array(names) == "nll", high, np.minimum(high, 1))
    found = {name: (float(low[place]), float(high[place])) for place, name in enumerate(names[:4])}
    found["macro_f1_last"] = bootstrap.macro_f1_interval(person, oof.labels, oof.last, replicates, seed)
    for key, true, predicted in zip(
        ("f1_mask", "f1_gender", "f1_age"), parts(oof.labels), parts(oof.predictions), strict=True
    ):
        found[key] = bootstrap.macro_f1_interval(person, true, predicted, replicates, seed)
    people = bootstrap.people_per_class(person, oof.labels)
    unknown = (people < FEWEST_PEOPLE) | (low[4:] == high[4:])
    return Intervals(found, np.where(unknown, np.nan, low[4:]), np.where(unknown, np.nan, high[4:]))


def highest_loss(oof: Oof, most: int) -> np.ndarray:
    """Positions of the photos with the highest loss, worst first."""
    return np.argsort(-oof.losses, kind="stable")[:most]


def confident_mistakes(oof: Oof, most: int) -> np.ndarray:
    """Positions of wrongly predicted photos, largest predicted probability first."""
    wrong = np.flatnonzero(oof.predictions != oof.labels)
    return wrong[np.argsort(-oof.probabilities[wrong].max(1), kind="stable")][:most]


def by_person(oof: Oof, places: np.ndarray) -> list[np.ndarray]:
    """`places`, worst first, gathered by person: the persons in the order of their worst photo, each one's photos in theirs."""
    _, first, number = np.unique(oof.person[places], return_index=True, return_inverse=True)
    return [places[number == one] for one in np.argsort(first)]


def headline_rows(
    scores: list[dict[str, float]], found: list[Intervals], differences: dict[str, Difference]
) -> list[dict[str, object]]:
    """Rows of the headline table: name, a cell per run (value, interval), and the paired difference where there is one."""
    rows: list[dict[str, object]] = []
    for key, name, higher in HEADLINES:
        if not any(key in score for score in scores):
            continue
        arrow = {True: " ↑", False: " ↓", None: ""}[higher]
        cells = [_cell(key, score, one) for score, one in zip(scores, found, strict=True)]
        rows.append({"name": name + arrow, "cells": cells, "difference": difference(differences.get(key))})
    return rows


def _cell(key: str, score: dict[str, float], found: Intervals) -> dict[str, str]:
    if key not in score:
        return {"value": "–", "interval": ""}
    # metrics.json has an interval of the headline itself; it must not read otherwise here than there.
    low, high = (score.get(f"{key}_{end}") for end in ("low", "high"))
    if low is None or high is None:
        low, high = found.headline.get(key, (None, None))
    return {"value": f"{score[key]:.4f}", "interval": "" if low is None else f"{low:.4f} to {high:.4f}"}


def interval_text(low: float, high: float) -> str:
    """An interval of a class's F1 in words."""
    return f"{low:.3f} to {high:.3f}" if np.isfinite(low) else "no interval"


def difference(row: Difference | None) -> dict[str, str] | None:
    """What the page says of a paired difference, without an interval where there are too few people for one."""
    if row is None:
        return None
    interval = "" if row.verdict == "too few people" else f"{row.low:+.4f} to {row.high:+.4f}"
    return {"value": f"{row.difference:+.4f}", "interval": interval, "verdict": in_words(row)}
