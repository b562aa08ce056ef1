"""What the page shows class by class: confusion and F1. Of more than WHOLE classes the ones that matter most
(stages/report/class_lists.py), and pictures of all."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.data.task_and_classes import Task
from stages.judge import metrics
from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.judge.paired_difference import Difference
from stages.report import class_lists, lettering
from stages.report.class_lists import WHOLE
from stages.report.html import charts, page_scores
from stages.report.html.page_scores import Intervals, Oof

WIDTHS = (640, 320)  # px of a chart of F1: on a laptop, on a phone
SIDES = (charts.MATRIX, 320)  # px of a matrix of many classes there


@dataclass(frozen=True)
class Group:
    """Classes that stand in one chart and one table, in this order."""

    title: str  # empty where all classes are in it
    numbers: np.ndarray  # int [K]


@dataclass(frozen=True)
class Scored:
    """F1 of each class, [C], of one revision, with its interval where it was asked for."""

    name: str
    f1: np.ndarray
    found: Intervals

    @property
    def drawn(self) -> charts.ClassF1:
        return charts.ClassF1(self.name, self.f1, self.found.class_low, self.found.class_high, self.found.few)


def f1_of(oof: Oof, task: Task) -> np.ndarray:
    """F1 of each class, [C]."""
    return metrics.f1_per_class(oof.labels, oof.predictions, task.classes)


def groups(task: Task, photos: np.ndarray, f1: np.ndarray) -> list[Group]:
    """All classes, or of many the worst and the rarest. photos, f1: [C]; of two revisions, their mean F1."""
    if task.classes <= WHOLE:
        return [Group("", np.arange(task.classes))]
    fewest = FEWEST_PEOPLE if (photos >= FEWEST_PEOPLE).any() else 1
    worst, rare = class_lists.lowest(f1, photos, fewest=fewest), class_lists.rarest(f1, photos)
    return [
        Group(f"Lowest F1, {len(worst)} of the classes with {fewest} photos or more", worst),
        Group(f"Fewest photos, {len(rare)} classes", rare),
    ]


def confusion(oof: Oof, task: Task) -> dict[str, Any]:
    """Of one revision: `matrices` (pictures in photos and in per cent; of many classes one, for a laptop and for a phone).

    Of many classes also `pairs` (rows of the pairs most mistaken), and how many pairs are `mistaken` at all.
    """
    counts = metrics.confusion(oof.labels, oof.predictions, task.classes)
    if task.classes <= WHOLE:
        names = lettering.legible(task.class_names, range(task.classes))
        matrices = [picture(charts.confusion(counts, names, normalised)) for normalised in (False, True)]
        return {"matrices": matrices, "pairs": [], "mistaken": 0}
    photos = counts.sum(1)
    rows = [
        {
            "true": task.class_names[true],
            "predicted": task.class_names[predicted],
            "photos": int(counts[true, predicted]),
            "of": int(photos[true]),
            "share": f"{charts.per_cent(counts[true, predicted] / photos[true])}\u00a0%",
        }
        for true, predicted in class_lists.confused(counts)
    ]
    mistaken = int((counts > 0).sum() - (np.diag(counts) > 0).sum())
    matrices = [picture(charts.confusion_of_many(counts, side)) for side in SIDES]
    return {"matrices": matrices, "pairs": rows, "mistaken": mistaken}


def f1_charts(task: Task, photos: np.ndarray, scored: list[Scored], shown: list[Group]) -> list[list[str]]:
    """Pictures of F1 for each width of WIDTHS: each group's, and of many classes one of all before them."""
    names = np.array(lettering.legible(task.class_names, range(task.classes)))
    every = [] if task.classes <= WHOLE else [
        [picture(charts.f1_by_photos(photos, [one.drawn for one in scored], width)) for width in WIDTHS]
    ]  # fmt: skip
    return every + [
        [
            picture(
                charts.per_class(
                    names[group.numbers].tolist(),
                    photos[group.numbers],
                    [_at(one.drawn, group.numbers) for one in scored],
                    width,
                    group.title,
                )
            )
            for width in WIDTHS
        ]
        for group in shown
    ]


def rows(
    task: Task, photos: np.ndarray, scored: list[Scored], differences: dict[str, Difference], group: Group
) -> list[dict[str, Any]]:
    """The same numbers as text: class, photos, F1 with interval of each revision, and the paired difference."""
    return [
        {
            "name": _named(task, number),
            "photos": int(photos[number]),
            "cells": [
                {
                    "value": f"{one.f1[number]:.3f}",
                    "interval": page_scores.interval_text(one.found, number, task.units),
                }
                for one in scored
            ],
            "difference": page_scores.difference(differences.get(f"f1_{number}")),
        }
        for number in group.numbers
    ]


def _named(task: Task, number: int) -> str:
    """A class's name, with its number where charts have that alone."""
    name = task.class_names[number]
    return name if lettering.drawable(class_lists.cut(name)) else f"class {number}: {name}"


def absent(oof: Oof, task: Task) -> str:
    """Classes in neither truth nor prediction, over which macro F1 is not a mean, in words; empty if there is none."""
    there = np.zeros(task.classes, bool)
    there[metrics.present(oof.labels, oof.predictions)] = True
    return class_lists.listed([name for name, seen in zip(task.class_names, there, strict=True) if not seen])


def picture(svg: str) -> str:
    """A data: URI. Charts are images of their own, so that ids and styles of one never meet those of another."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def _at(drawn: charts.ClassF1, which: np.ndarray) -> charts.ClassF1:
    return charts.ClassF1(drawn.name, drawn.f1[which], drawn.low[which], drawn.high[which], drawn.few[which])
