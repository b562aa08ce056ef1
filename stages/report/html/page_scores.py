"""The numbers of the report: every headline metric with its interval over groups, and what the tables show of them."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from stages.data.task_and_classes import Task
from stages.judge import bootstrap
from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.judge.paired_difference import TOO_FEW, Difference
from stages.report import verdicts
from stages.report.score_names import OF_ONE_REPEAT, headlines

SMALLEST = 1e-30  # a probability of 0 still has a finite loss


@dataclass(frozen=True)
class Oof:
    """OOF predictions of N photos."""

    photo: np.ndarray  # [N] file names
    group: np.ndarray  # [N] whose photo each is; its own name where there are no groups
    labels: np.ndarray  # [N] class numbers
    probabilities: np.ndarray  # [N, C], of the selected epochs, mean over repeats
    last: np.ndarray  # [N] classes predicted after the last epochs

    @property
    def predictions(self) -> np.ndarray:
        return self.probabilities.argmax(1)

    @property
    def losses(self) -> np.ndarray:
        """Cross entropy of each photo, nats, [N]."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        return -np.log(np.maximum(true, SMALLEST))

    def at(self, places: np.ndarray) -> "Oof":
        """The photos at these positions alone."""
        return Oof(*(getattr(self, field.name)[places] for field in fields(self)))


@dataclass(frozen=True)
class Intervals:
    """95 % intervals over groups: low and high end by key of metrics.json, and of each class's F1, [C] each.

    The ends of a class are NaN where it has one group or none, and where it was not asked for. few: bool [C], classes of fewer
    than FEWEST_PEOPLE groups, whose intervals are wide and rest on little.
    """

    headline: dict[str, tuple[float, float]]
    class_low: np.ndarray
    class_high: np.ndarray
    few: np.ndarray


def intervals(oof: Oof, task: Task, shown: np.ndarray, replicates: int, seed: int) -> Intervals:
    """Bootstrap-t intervals (stages.judge.bootstrap) of the headline metrics and of the F1 of the classes `shown` [K]."""
    group = bootstrap.numbered(oof.group)
    of_all = ("macro_f1", "accuracy", "nll", *(f"f1_{name}" for name in task.subsets))
    names = (*of_all, *(f"f1_{number}" for number in shown))
    sizes: dict[str, Any] = {"classes": task.classes, "subsets": task.subsets}
    scores = bootstrap.of_run(group, oof.labels, oof.predictions, oof.losses, **sizes)
    low, high = bootstrap.interval(bootstrap.replicate(bootstrap.pick(scores, names), replicates, seed))
    found = {name: (float(low[place]), float(high[place])) for place, name in enumerate(of_all)}
    found["macro_f1_last"] = bootstrap.macro_f1_interval(group, oof.labels, oof.last, replicates, seed, task.classes)
    for axis, true, predicted in zip(task.axes, task.parts(oof.labels), task.parts(oof.predictions), strict=True):
        if len(task.axes) > 1:
            key = f"f1_{axis.name}"
            found[key] = bootstrap.macro_f1_interval(group, true, predicted, replicates, seed, len(axis.levels))
    groups = bootstrap.groups_per_class(group, oof.labels, task.classes)
    class_low, class_high = np.full((2, task.classes), np.nan)
    class_low[shown], class_high[shown] = (
        np.where(groups[shown] > 1, end[len(of_all) :], np.nan) for end in (low, high)
    )
    return Intervals(found, class_low, class_high, groups < FEWEST_PEOPLE)


def highest_loss(oof: Oof, most: int) -> np.ndarray:
    """Positions of the photos with the highest loss, worst first."""
    return np.argsort(-oof.losses, kind="stable")[:most]


def confident_mistakes(oof: Oof, most: int) -> np.ndarray:
    """Positions of wrongly predicted photos, largest predicted probability first."""
    wrong = np.flatnonzero(oof.predictions != oof.labels)
    return wrong[np.argsort(-oof.probabilities[wrong].max(1), kind="stable")][:most]


def by_group(oof: Oof, places: np.ndarray) -> list[np.ndarray]:
    """`places`, worst first, gathered by group: the groups in the order of their worst photo, each one's photos in theirs."""
    _, first, number = np.unique(oof.group[places], return_index=True, return_inverse=True)
    return [places[number == one] for one in np.argsort(first)]


def headline_rows(
    task: Task, scores: list[dict[str, float]], found: list[Intervals], differences: dict[str, Difference]
) -> list[dict[str, object]]:
    """Rows of the headline table: name, a cell per run (value, interval), and the paired difference where there is one."""
    rows: list[dict[str, object]] = []
    for key, name, higher in headlines(task):
        if not any(key in score for score in scores):
            continue
        if key in OF_ONE_REPEAT and any(score.get("repeats", 1) > 1 for score in scores):
            name += ", of a repeat alone"
        arrow = {True: " ↑", False: " ↓", None: ""}[higher]
        cells = [_cell(key, score, one) for score, one in zip(scores, found, strict=True)]
        rows.append({"name": name + arrow, "cells": cells, "difference": difference(differences.get(key))})
    return rows


def _cell(key: str, score: dict[str, float], found: Intervals) -> dict[str, str]:
    if key not in score or np.isnan(score[key]):  # of an earlier version; of classes that no photo has
        return {"value": "–", "interval": ""}
    # metrics.json has an interval of the headline itself; it must not read otherwise here than there.
    low, high = (score.get(f"{key}_{end}") for end in ("low", "high"))
    if low is None or high is None:
        low, high = found.headline.get(key, (None, None))
    told = low is not None and high is not None and np.isfinite(high)  # of nll, too few groups give no end
    return {"value": f"{score[key]:.4f}", "interval": f"{low:.4f} to {high:.4f}" if told else ""}


def interval_text(found: Intervals, number: int, units: str) -> str:
    """The interval of a class's F1 in words."""
    low, high = found.class_low[number], found.class_high[number]
    few = f", few {units}" if found.few[number] else ""
    return f"{low:.3f} to {high:.3f}{few}" if np.isfinite(low) else "no interval"


def difference(row: Difference | None) -> dict[str, str] | None:
    """What the page says of a paired difference, without an interval where there are too few groups for one, or no spread."""
    if row is None:
        return None
    interval = "" if row.verdict == TOO_FEW else verdicts.interval(row.low, row.high, 4)
    return {"value": f"{row.difference:+.4f}", "interval": interval, "verdict": verdicts.of_row(row)}
