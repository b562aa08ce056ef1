"""What the photos of two runs are, where corrections.csv has changed labels or groups between the two: one truth for both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stages.data import decision_chains
from stages.data.corrected_values import NUMBER
from stages.data.corrections import GROUP, Row
from stages.data.csv_rows import normal
from stages.data.task_and_classes import Axis, Task


@dataclass(frozen=True)
class Side:
    """M photos as one run has them, and the rows of corrections.csv beside it."""

    name: np.ndarray  # [M]
    group: np.ndarray  # [M]
    label: np.ndarray  # [M]
    rows: Sequence[Row]

    @cached_property
    def chains(self) -> dict[tuple[str, str], list[Row]]:
        return decision_chains.chains((row for row in self.rows if row.axis != GROUP), {})


@dataclass(frozen=True)
class Truth:
    """What M photos are. Where a difference is none of corrections.csv, `label` and `group` are those of the first run."""

    label: np.ndarray  # [M]
    group: np.ndarray  # [M]
    known: np.ndarray  # bool [M] both runs agree, or corrections.csv says which of them is right
    differs: np.ndarray  # bool [M] the runs have other labels or groups
    of_a: int  # photos that run a has right and b has not
    of_b: int


def settle(task: Task, a: Side, b: Side) -> Truth:
    """One truth for both runs: of two labels of a photo, the one that the decisions on it end with.

    A run's own decisions count where they go on from the other's, or the other has none on that photo; where the two have
    decided differently, or neither label is the decided one, the photo's truth is not known.
    """
    group, same_group = _groups(a, b)
    members = _members([*a.rows, *b.rows])
    label, known = a.label.copy(), same_group.copy()
    right = {"a": 0, "b": 0}
    differing = np.flatnonzero(a.label != b.label)
    sizes = task.sizes
    for place in differing.tolist():
        own = {normal(str(side.name[place])) for side in (a, b)} | {normal(str(side.group[place])) for side in (a, b)}
        ids = own | {other for name in own for other in members.get(name, ())}
        parts = (np.unravel_index(int(side.label[place]), sizes) for side in (a, b))
        codes = [
            int(one)
            if one == other
            else _decided(axis, (int(one), int(other)), _chain(a, ids, axis), _chain(b, ids, axis))
            for axis, one, other in zip(task.axes, *parts, strict=True)
        ]
        known[place] &= None not in codes
        if known[place]:
            label[place] = np.ravel_multi_index([code for code in codes if code is not None], sizes)
            for which, side in (("a", a), ("b", b)):
                right[which] += bool(label[place] == side.label[place])
    differs = (a.label != b.label) | (a.group != b.group)
    return Truth(label, group, known, differs, right["a"], right["b"])


def _chain(side: Side, ids: set[str], axis: Axis) -> list[Row]:
    found = [row for name in ids for row in side.chains.get((name, axis.name), ())]
    return sorted(found, key=lambda row: row.line)


def _decided(axis: Axis, codes: tuple[int, int], of_a: list[Row], of_b: list[Row]) -> int | None:
    """Which of two levels the decisions end with; None where they do not say."""
    if of_a == of_b[: len(of_a)]:
        last = of_b[-1:]
    elif of_b == of_a[: len(of_b)] or of_a[-1].new == of_b[-1].new:
        last = of_a[-1:]
    else:
        return None
    code = code_of(axis, last[0].new) if last else None
    return code if code in codes else None


def code_of(axis: Axis, text: str) -> int | None:
    """The level that a text of corrections.csv says, by its name or by a number in it; None where it says none."""
    if text in axis.levels:
        return axis.levels.index(text)
    return int(axis.codes(np.array([float(text)]))[0]) if axis.numeric and NUMBER.fullmatch(text) else None


def _groups(a: Side, b: Side) -> tuple[np.ndarray, np.ndarray]:
    """The groups of both, [M], joined as rows say, and where the two agree on them, bool [M]."""
    if np.array_equal(a.group, b.group):
        return a.group, np.ones(len(a.group), bool)
    held, _ = decision_chains.joins(dict.fromkeys(row for row in [*a.rows, *b.rows] if row.axis == GROUP))
    called = decision_chains.names(held)
    one, other = (_called(side.group, called) for side in (a, b))
    return one, one == other


def _called(group: np.ndarray, called: dict[str, str]) -> np.ndarray:
    names, places = np.unique(group, return_inverse=True)
    now = [called.get(normal(str(name)), str(name)) for name in names]
    return np.array(now)[places]


def _members(rows: Iterable[Row]) -> dict[str, set[str]]:
    """By the name of each group that rows join with others: all that are one with it."""
    held, _ = decision_chains.joins(dict.fromkeys(row for row in rows if row.axis == GROUP))
    called = decision_chains.names(held)
    of_name: dict[str, set[str]] = {}
    for name, now in called.items():
        of_name.setdefault(now, set()).add(name)
    return {name: of_name[now] for name, now in called.items()}
