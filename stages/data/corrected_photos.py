"""The data set as corrections.csv has it: labels changed, groups joined, photos taken out. Nothing on the disk is touched.

Groups are joined first, whatever the order of the rows, so that a row on one of them is a row on all; then labels are changed,
each in the order of its rows; photos are taken out last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.data import decision_chains, joined_groups
from stages.data.corrected_values import meaning, names_group, problem, value_in_words
from stages.data.corrections import GROUP, PHOTO, Row
from stages.data.csv_rows import Fault, normal, printable, shown
from stages.data.found_photos import Found
from stages.data.task_and_classes import Task

NAMED = 8  # axes that a message lists


@dataclass
class Sheet:
    """The rows over a data set: where the photos and groups that they name stand, and what is wrong with rows."""

    found: Found
    rows: Sequence[Row]
    photos: dict[str, list[int]] = field(default_factory=dict)  # positions by name in normal form
    groups: dict[str, list[int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unknown: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        wanted = {normal(row.id) for row in self.rows} | {normal(row.new) for row in self.rows if row.axis == GROUP}
        for column, known in (("file", self.photos), ("group", self.groups)):
            for position, name in enumerate(self.found.photos[column]):
                if (name := normal(name)) in wanted:
                    known.setdefault(name, []).append(position)

    def tell(self, row: Row, what: str, mend: str) -> None:
        self.faults.append(Fault(f"{paths.CORRECTIONS} {row.place}", what, mend))

    def of_photos(self, axis: str) -> bool:
        """Whether rows on an axis name photos; else groups."""
        return not names_group(axis, self.found.task)

    def places(self, name: str, axis: str) -> list[int]:
        return (self.photos if self.of_photos(axis) else self.groups)[name]


@dataclass(frozen=True)
class Applied:
    """How many decisions hold, and what they did."""

    labels: int
    units: int  # people (groups) whose labels are others now
    removed: int
    joined: int
    kept: int

    def in_words(self, task: Task) -> str:
        several = task.unit if self.units == 1 else task.units
        parts = {
            f"{_counted(self.labels, 'label')} of {self.units} {several} changed": self.labels,
            f"{_counted(self.removed, 'photo')} removed": self.removed,
            f"{self.joined} {task.unit if self.joined == 1 else task.units} joined to others": self.joined,
            f"{self.kept} looked at and kept": self.kept,
        }
        return ", ".join(words for words, count in parts.items() if count) or "all decisions are undone"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def apply(found: Found, rows: Sequence[Row]) -> Found:
    """The data set with the decisions of these rows. Rows that do not fit are told among the faults and change nothing."""
    if not rows:
        return found
    sheet = Sheet(found, rows)
    fitting = [row for row in rows if _fits(row, sheet)]
    held, wrong = decision_chains.joins(row for row in fitting if row.axis == GROUP)
    for row, other in wrong:
        _tell_contradiction(sheet, row, other, f"`{printable(row.id)}`")
    called = decision_chains.names(held)
    columns = {axis.name: found.photos[axis.name].to_numpy(copy=True) for axis in found.task.axes}
    columns[PHOTO] = np.zeros(len(found.photos), bool)
    changed, kept = _change(sheet, [row for row in fitting if row.axis != GROUP], called, columns)
    gone = columns.pop(PHOTO)
    _agree(sheet, held, called, columns)
    table = found.photos.assign(**columns)
    task, table, groups = _regrouped(found, table, called)
    labels = {key: places for key, places in changed.items() if key[1] != PHOTO}
    applied = Applied(
        labels=len(labels),
        units=table["group"].iloc[sorted({place for places in labels.values() for place in places})].nunique(),
        removed=int(gone.sum()),
        joined=len(called) - len(set(called.values())),
        kept=kept + sum(row.old == row.new for row in held),
    )
    return replace(
        found,
        task=task,
        photos=table[~gone].reset_index(drop=True),
        groups=groups,
        faults=found.faults + sheet.faults,
        warnings=found.warnings + _unknown(sheet),
        corrected=applied.in_words(found.task),
    )


def _fits(row: Row, sheet: Sheet) -> bool:
    """Whether a row names what is there; else that is told."""
    own = sheet.found.task
    axes = [axis.name for axis in own.axes]
    if row.axis not in (*axes, GROUP, PHOTO):
        listed = ", ".join([*axes[:NAMED], *["..."] * (len(axes) > NAMED), GROUP])
        sheet.tell(row, f"axis {shown(row.axis)} is not known", f"write {listed} or {PHOTO}")
        return False
    if not all(_named(row, name, sheet) for name in dict.fromkeys((row.id, *[row.new] * (row.axis == GROUP)))):
        return False
    for text in (row.old, row.new) if row.axis != GROUP else ():
        told = problem(text, row.axis, own, sheet.found.photos)
        if told:
            sheet.tell(row, *told)
            return False
    return True


def _named(row: Row, name: str, sheet: Sheet) -> bool:
    """Whether a photo or group of this name is there, the one of both that the row's axis belongs to."""
    own, key = sheet.found.task, normal(name)
    of_photos = sheet.of_photos(row.axis)
    mine, others = (sheet.photos, sheet.groups) if of_photos else (sheet.groups, sheet.photos)
    if key in mine:
        return True
    if key in others and of_photos:
        mend = f"name the photo by its file, as {paths.PHOTOS} does"
        sheet.tell(row, f"{shown(name)} is a {own.unit}, and {row.axis} is told of each photo", mend)
    elif key in others:
        whose = shown(str(sheet.found.photos["group"].iat[others[key][0]]))
        what = f"is told of the whole {own.unit}" if row.axis != GROUP else f"is about a {own.unit}"
        sheet.tell(row, f"{shown(name)} is a photo, and {row.axis} {what}", f"name the {own.unit}: {whose}")
    elif key in {normal(one) for one in sheet.found.eval["ImageID"]}:
        sheet.tell(row, f"{shown(name)} is an eval photo, from which nothing is learnt", "delete the row")
    elif any(fault.group for fault in sheet.found.faults):
        sheet.unknown.append(row)  # of those with faults, perhaps, whom data.on_fault: skip leaves out
    else:
        kind = "photo" if of_photos else own.unit
        sheet.tell(
            row, f"there is no {kind} {shown(name)}", f"mend the row, or delete it ({paths.PHOTOS} has the names)"
        )
    return False


def _unknown(sheet: Sheet) -> list[str]:
    if not sheet.unknown:
        return []
    return [
        f"{paths.CORRECTIONS}: {_counted(len(sheet.unknown), 'row')} on what is not there, or has faults, first "
        f"{shown(sheet.unknown[0].id)} on line {sheet.unknown[0].line}: not applied"
    ]


def _change(
    sheet: Sheet, rows: Sequence[Row], called: Mapping[str, str], columns: dict[str, np.ndarray]
) -> tuple[dict[tuple[str, str], list[int]], int]:
    """Write what holds into the columns [N]: positions that differ now, by (id, axis); and how many were kept."""
    changed, kept = {}, 0
    members: dict[str, list[str]] = {}
    for name, now in called.items():
        members.setdefault(now, []).append(name)
    of_groups = {name: now for name, now in called.items() if sheet.found.task.unit != "photo"}
    for (name, axis), chain in decision_chains.chains(rows, of_groups).items():
        all_names = members.get(name, [name]) if not sheet.of_photos(axis) else [name]
        places = [place for one in all_names for place in sheet.places(one, axis)]
        column = columns[axis]
        first = column[sheet.places(normal(chain[0].id), axis)[0]].item()
        of = meaning(axis, sheet.found.task, sheet.found.photos)
        steps, wrong = decision_chains.standing(chain, first, of)
        for row, other in wrong:
            told = value_in_words(steps[-1].after if steps else first, axis, sheet.found.task)
            _tell_contradiction(sheet, row, other, told)
        values = column[places]
        for step in steps:
            values[values == step.before] = step.after
        others = np.flatnonzero(values != column[places]).tolist()
        if others:
            changed[name, axis] = [places[place] for place in others]
        else:
            kept += bool(steps)
        column[places] = values
    return changed, kept


def _tell_contradiction(sheet: Sheet, row: Row, other: Row | None, now: str) -> None:
    """That a row does not find what it says, because of another or because of the data."""
    what = f"{row.axis} of {shown(row.id)}"
    if row.undoes:
        problem = f"takes back {shown(row.new)} to {shown(row.old)} on {what}, which does not stand"
        sheet.tell(row, problem, "delete the row")
    elif other is None:
        problem = f"{what} is {now} in the data, not {shown(row.old)}"
        sheet.tell(row, problem, "mend the row, or delete it")
    else:
        problem = f"{what} is no longer {shown(row.old)}: {other.place} made it {now}"
        sheet.tell(row, problem, "settle which of the two is right, and delete the other")


def _agree(sheet: Sheet, held: Sequence[Row], called: Mapping[str, str], columns: dict[str, np.ndarray]) -> None:
    """Of joined groups, give all the number of the one they joined; tell where their levels differ on an axis that a group has
    but one level of."""
    own = sheet.found.task
    if own.unit == "photo":
        return
    for name, now in called.items():
        differing = []
        for axis in own.axes if name != now else ():
            mine, theirs = (columns[axis.name][sheet.groups[one][:1]] for one in (name, now))
            if axis.constant and axis.codes(mine)[0] == axis.codes(theirs)[0]:
                columns[axis.name][sheet.groups[name]] = theirs[0]
            elif axis.constant:
                values = " and ".join(value_in_words(one[0].item(), axis.name, own) for one in (mine, theirs))
                differing.append(f"{axis.name} ({values})")
        if differing:
            row = next(row for row in reversed(held) if called.get(normal(row.id)) == now and row.old != row.new)
            sheet.tell(
                row,
                f"{shown(name)} and {shown(now)} become one {own.unit}, but differ in {', '.join(differing)}",
                "add a row that corrects one of them",
            )


def _regrouped(found: Found, table: pd.DataFrame, called: Mapping[str, str]) -> tuple[Task, pd.DataFrame, pd.DataFrame]:
    """The task, photos and groups with the corrected columns of photos, and with joined groups as one."""
    groups = found.groups
    firsts = table.drop_duplicates("group").set_index("group")
    told: dict[str, Any] = {}
    for axis in found.task.axes:
        if axis.name in groups:
            values = groups["group"].map(firsts[axis.name])
            told[axis.name] = values.where(values.notna(), groups[axis.name]).astype(firsts[axis.name].dtype)
    groups = groups.assign(**told)
    if not called:
        return found.task, table, groups
    now = {name: called.get(normal(name), name) for name in table["group"].unique()}
    spelled = {normal(name): name for name in now}
    table = table.assign(group=table["group"].map({name: spelled[normal(one)] for name, one in now.items()}))
    task, table, groups = joined_groups.regrouped(found.task, table, groups)
    if found.task.unit == "photo":  # what a label is told of stays the photo
        task = replace(task, axes=tuple(replace(axis, constant=False) for axis in task.axes))
        groups = groups[["group"]]
    return task, table, groups
