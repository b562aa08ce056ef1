"""The rows of suspects.csv: whose label it is, what it should be, and why, in a sentence for a person."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from stages.data.task_and_classes import Axis, Task, number_text
from stages.judge import label_suspects
from stages.judge.label_suspects import OfAxis

MOST_PHOTOS = 8  # of a group that a row names
Row = dict[str, Any]


class _OfGroups:
    """Which photos, by their places in photos.csv, belong to a group."""

    def __init__(self, group: np.ndarray) -> None:
        self._order = np.argsort(group, kind="stable")
        self._ends = np.append(0, np.cumsum(np.bincount(group)))

    def photos(self, number: int) -> np.ndarray:
        return self._order[self._ends[number] : self._ends[number + 1]]


def described(
    task: Task,
    table: pd.DataFrame,
    probabilities: np.ndarray,
    axes: Sequence[OfAxis],
    place: np.ndarray,
    unit: np.ndarray,
) -> dict[str, list[Any]]:
    """Columns of suspects.csv but rank, likely_wrong and decided, of the labels that the axis at `place` [M] gives `unit` [M].

    table: photos.csv [N]; probabilities [N, C].
    """
    rows: list[Row] = [{}] * len(place)
    columns = {name: table[name].to_numpy(object) for name in ("file", "group")}
    columns |= {axis.name: table[axis.name].to_numpy(float) for axis in task.axes if axis.numeric}
    for number, axis in enumerate(task.axes):
        found = axes[number]
        levels = label_suspects.levels(probabilities, task, number)
        group = _OfGroups(found.group[found.unit])
        for row in np.flatnonzero(place == number):
            rows[row] = _row(_Suspect(axis, found, int(unit[row]), levels, group), columns)
    names = ("id", "axis", "given", "suggested", "score", "ambiguous", "value", "group", "photos", "why")
    return {name: [row[name] for row in rows] for name in names}


class _Suspect:
    """A label, and what its group's photos say."""

    def __init__(self, axis: Axis, found: OfAxis, unit: int, levels: np.ndarray, groups: _OfGroups) -> None:
        self.axis, self.found, self.unit, self.levels = axis, found, unit, levels
        self.given, self.suggested = int(found.given[unit]), int(found.suggested[unit])
        self.of_group = len(found.score) < len(levels)
        self.members = groups.photos(int(found.group[unit]))
        self.photos = self.members if self.of_group else np.append(unit, self.members[self.members != unit])

    def partner(self) -> int:
        """Of a swap: the photo of the group with the suggested label that looks most like the given one."""
        others = self.members[self.found.given[self.members] == self.suggested]
        return int(others[np.argmax(self.levels[others, self.given] - self.levels[others, self.suggested])])


def _row(one: _Suspect, table: Mapping[str, np.ndarray]) -> Row:
    axis, found, first = one.axis, one.found, int(one.photos[0])
    files, groups = table["file"], table["group"]
    value = float(table[axis.name][first]) if axis.numeric else None
    return {
        "id": groups[first] if one.of_group else files[first],
        "axis": axis.name,
        "given": axis.levels[one.given],
        "suggested": axis.levels[one.suggested],
        "score": float(found.score[one.unit]),
        "ambiguous": int(found.ambiguous[one.unit]),
        "value": "" if value is None else number_text(value),
        "group": groups[first],
        "photos": "|".join(files[photo] for photo in one.photos[:MOST_PHOTOS]),
        "why": "; ".join([_looks(one, files), *_doubt(one, value)]),
    }


def _looks(one: _Suspect, files: np.ndarray) -> str:
    """What the photos look like to the models of other folds, with the mean probability."""
    level = one.axis.levels[one.suggested]
    if one.of_group and len(one.members) > 1:
        own = one.levels[one.members]
        agree = int((own.argmax(1) == one.suggested).sum())
        return f"{agree} of {len(own)} photos look {level} ({own[:, one.suggested].mean():.2f})"
    sure = f"looks {level} ({one.levels[one.photos[0], one.suggested]:.2f})"
    if not one.found.swapped[one.unit]:
        return sure
    other = one.partner()
    name, given = PurePosixPath(files[other]).name, one.axis.levels[one.given]
    return f"{sure}, and {name} of the same group {given} ({one.levels[other, one.given]:.2f}): swapped?"


def _doubt(one: _Suspect, value: float | None) -> list[str]:
    """Why a label may be right all the same."""
    if value is not None and one.found.ambiguous[one.unit]:
        edge = one.axis.bins[max(one.given, one.suggested) - 1]
        return [f"{number_text(value)} is next to the edge at {number_text(edge)}"]
    return [] if one.found.told_apart[one.unit] else ["the models hardly tell these two apart"]
