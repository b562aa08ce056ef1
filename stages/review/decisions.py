"""What has been decided, read from corrections.csv as it is now, and decisions written into it.

Whoever else writes the file (another browser, another person's process, an editor) is seen at the next look. A decision is made
on what holds at that moment, while nobody else can write: so no row that is written here contradicts another one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import paths
from stages.base.errors import UserError
from stages.data import corrected_values, corrections, decision_chains
from stages.data.corrections import GROUP, PHOTO, REMOVED, THERE, UNDONE, Row
from stages.data.csv_rows import normal, printable
from stages.data.decision_chains import Step
from stages.data.pixel_cache_record import file_times
from stages.data.task_and_classes import number_text
from stages.review.numbered_photos import Numbered
from stages.review.questions import Question

APART = "apart from "  # begins `why` of a row that keeps two groups apart; the other one's id follows
NEVER = (-2, -2)  # no time of a file


@dataclass(frozen=True)
class Asked:
    """A decision as a browser sends it."""

    id: str
    axis: str
    new: str
    who: str
    seen: int  # rows on the question that the browser knew of
    question: int | None  # its number; None: a photo that was looked at by itself


@dataclass(frozen=True)
class Answer:
    """What came of it: the row that was written, or None, and what whoever decided has to be told."""

    row: Row | None
    told: str = ""


@dataclass
class Decisions:
    """All rows, and which questions they decide. Not for two threads at a time."""

    photos: Numbered
    questions: list[Question]
    path: Path = paths.CORRECTIONS
    done: np.ndarray = field(init=False)  # bool [questions]
    asking: dict[str, list[int]] = field(init=False)  # questions by the ids, in normal form, whose rows may decide them
    chains: dict[tuple[str, str], list[Row]] = field(default_factory=dict)  # by id, as it is called by now, and axis
    called: dict[str, str] = field(default_factory=dict)  # groups that are one with others, and by which name
    apart: set[frozenset[str]] = field(default_factory=set)  # two groups that were looked at and kept apart
    removing: bool = False  # whether any row is about a photo as such
    read_at: tuple[int, int] = NEVER  # size and time of the file

    def __post_init__(self) -> None:
        self.done = np.zeros(len(self.questions), bool)
        self.asking = {}
        for place, one in enumerate(self.questions):
            files = (self.photos.files[number] for number in one.photos)
            for name in {normal(name) for name in (one.id, one.other, *files) if name}:
                self.asking.setdefault(name, []).append(place)
        self.refresh()

    def refresh(self) -> None:
        """Look at the file again if it has changed. Raises UserError where it cannot be read any more."""
        times = file_times(self.path)
        if times != self.read_at:
            self._take(corrections.read(self.path))
            self.read_at = times

    def rows(self, name: str, axis: str) -> list[Row]:
        """All rows on an id and axis, in the order of the file."""
        return self.chains.get(self._key(name, axis), [])

    def rows_of(self, question: Question) -> list[Row]:
        """All rows that may decide a question, in the order of the file."""
        keys = {(question.id, question.axis)}
        if question.kind == "pair":
            keys |= {(question.other, GROUP), *((self.photos.files[number], PHOTO) for number in question.photos)}
        return sorted((row for key in keys for row in self.rows(*key)), key=lambda row: row.line)

    def value(self, name: str, axis: str) -> str:
        """What holds now of an id on an axis, as corrections.csv says it."""
        if axis == GROUP:
            return self.called.get(normal(name), name)
        return self._text(self._now(name, axis)[0], axis)

    def last(self, name: str, axis: str) -> Row | None:
        """The last decision on an id and axis that has not been taken back."""
        if axis == GROUP:
            left = _left(row for row in self.rows(name, axis) if normal(row.id) == normal(name))
            return left[-1] if left else None
        steps = self._now(name, axis)[1]
        return steps[-1].row if steps else None

    def is_removed(self, number: int) -> bool:
        return self.removing and self._now(self.photos.files[number], PHOTO)[0]

    def decide(self, asked: Asked) -> Answer:
        """Write a decision: a row from what holds now to what was asked for. Raises UserError for what cannot be."""
        self._check(asked)
        question = None if asked.question is None else self.questions[asked.question]
        told = []

        def rows(latest: list[Row]) -> list[Row]:
            self._take(latest)
            old, new = asked.id if asked.axis == GROUP else self.value(asked.id, asked.axis), asked.new
            if asked.axis != GROUP and self._stays(asked):
                new = old
            told.append(self._told(asked, question, new))
            return [
                Row(
                    asked.id, asked.axis, old, new, asked.who, corrections.now(), self._why(asked, question, old == new)
                )
            ]

        corrections.append(rows, self.path)
        self.refresh()
        return Answer(
            next(row for row in reversed(self.rows(asked.id, asked.axis)) if row.new and not row.undoes), told[0]
        )

    def undo(self, row: Row, who: str) -> Answer:
        """Take a decision back, unless another one has been made on it since."""
        self._check(Asked(row.id, row.axis, row.new, who, 0, None))
        told = []

        def rows(latest: list[Row]) -> list[Row]:
            self._take(latest)
            last = self.last(row.id, row.axis)
            if last == row:
                told.append("")
                return [Row(row.id, row.axis, row.new, row.old, who, corrections.now(), UNDONE)]
            same = last is not None and (last.old, last.new) == (row.old, row.new)
            order = "before you, the same, and that stays" if same else "after you, and that stays"
            told.append(f"{in_words(last)} {order}" if last else "it had been taken back already")
            return []

        corrections.append(rows, self.path)
        self.refresh()
        return Answer(None if told[0] else self.rows(row.id, row.axis)[-1], told[0])

    def differing(self, question: Question) -> list[str]:
        """Axes that a group has one level of, and the two groups of a pair different ones."""
        if self.photos.task.unit == "photo":
            return []
        axes = [axis for axis in self.photos.task.axes if axis.constant]
        ends = {axis.name: {self.level(name, axis.name) for name in (question.id, question.other)} for axis in axes}
        return [f"{name} ({' and '.join(sorted(levels))})" for name, levels in ends.items() if len(levels) > 1]

    def level(self, name: str, axis: str) -> str:
        """The level of an id on an axis of the task, as it is now."""
        own = self.photos.task.axis(axis)
        return own.levels[int(own.codes(np.array([self._now(name, axis)[0]]))[0])]

    def _take(self, rows: list[Row]) -> None:
        """Rows as they are in the file now: what they come to, and which questions they decide."""
        before, called = self.chains, self.called
        on_groups = [row for row in rows if row.axis == GROUP]
        if on_groups or called:
            self.called = decision_chains.names(decision_chains.joins(on_groups)[0])
        self.chains = {}
        for of_groups in (True, False):
            mine = [row for row in rows if self.photos.names_group(row.axis) is of_groups]
            self.chains |= decision_chains.chains(mine, self.called if of_groups else {})
        self.removing = any(axis == PHOTO for _, axis in self.chains)
        kept = (row for row in _left(on_groups) if row.old == row.new and row.why.startswith(APART))
        self.apart = {self._ends(row.id, row.why.removeprefix(APART)) for row in kept}
        changed = {key for key in before.keys() | self.chains.keys() if before.get(key) != self.chains.get(key)}
        names = {name for name, _ in changed}
        if any(axis == GROUP for _, axis in changed):  # what is one with these, or was, is concerned too
            ends = names | {called.get(name, name) for name in names} | {self.called.get(name, name) for name in names}
            names |= {name for table in (called, self.called) for name, now in table.items() if now in ends}
        for place in {place for name in names for place in self.asking.get(name, ())}:
            self.done[place] = self._is_decided(self.questions[place])

    def _is_decided(self, question: Question) -> bool:
        if question.kind == "pair":
            ends = self._ends(question.id, question.other)
            return len(ends) == 1 or ends in self.apart or any(map(self.is_removed, question.photos))
        return self.last(question.id, question.axis) is not None or all(map(self.is_removed, question.photos))

    def _ends(self, *groups: str) -> frozenset[str]:
        return frozenset(self.called.get(normal(group), normal(group)) for group in groups)

    def _key(self, name: str, axis: str) -> tuple[str, str]:
        name = normal(name)
        return self.called.get(name, name) if self.photos.names_group(axis) else name, axis

    def _now(self, name: str, axis: str) -> tuple[Any, list[Step[Any]]]:
        """The value of an id on an axis as photos.csv has values (of `photo`: whether it is removed), and the decisions on it."""
        first = False if axis == PHOTO else self.photos.table[axis].to_numpy()[self.photos.of(name, axis)[0]].item()
        chain = self.rows(name, axis)
        if not chain:
            return first, []
        of = corrected_values.meaning(axis, self.photos.task, self.photos.table)
        # What prepare has applied already is in photos.csv: the value before it is what the first row found.
        first = of.meant(chain[0].new if chain[0].undoes else chain[0].old, first)
        steps, _ = decision_chains.standing(chain, first, of)
        return (steps[-1].after if steps else first), steps

    def _text(self, value: Any, axis: str) -> str:
        if axis == PHOTO:
            return REMOVED if value else THERE
        own = self.photos.task.axis(axis)
        if not own.numeric:
            return own.levels[value]
        return number_text(value)

    def _stays(self, asked: Asked) -> bool:
        """Whether what is asked for holds already."""
        of = corrected_values.meaning(asked.axis, self.photos.task, self.photos.table)
        now = self._now(asked.id, asked.axis)[0]
        return bool(of.meant(asked.new, now) == now)

    def _check(self, asked: Asked) -> None:
        """Raise UserError where a decision names what is not there."""
        task = self.photos.task
        if asked.axis not in (GROUP, PHOTO, *(axis.name for axis in task.axes)):
            raise UserError(f"`{printable(asked.axis)[:80]}` is no axis; nothing was written")
        ids = [asked.id, asked.new] if asked.axis == GROUP else [asked.id]
        unknown = next((name for name in ids if not self.photos.of(name, asked.axis)), None)
        if unknown is not None:
            kind = task.unit if self.photos.names_group(asked.axis) else "photo"
            raise UserError(f"there is no {kind} `{printable(unknown)[:80]}`; nothing was written")
        wrong = (
            None if asked.axis == GROUP else corrected_values.problem(asked.new, asked.axis, task, self.photos.table)
        )
        if wrong:
            raise UserError(f"{wrong[0]}; {wrong[1]}")

    def _why(self, asked: Asked, question: Question | None, kept: bool) -> str:
        if question and question.kind == "pair":
            files = [self.photos.files[number] for number in question.photos]
            if asked.axis == PHOTO:
                return f"looks the same as {next(file for file in files if file != asked.id)}"
            return f"{APART}{question.other}" if kept else f"{files[0]} and {files[1]} look the same"
        if kept:
            return "looked at: right"
        suggested = question and (question.id, question.axis, question.suggested) == (asked.id, asked.axis, asked.new)
        return f"suggested: {question.why}" if question and suggested else "looked at: wrong"

    def _told(self, asked: Asked, question: Question | None, new: str) -> str:
        """What others decided meanwhile, and what else has to be decided now; empty: nothing."""
        found = []
        rows = self.rows_of(question) if question else self.rows(asked.id, asked.axis)
        if len(rows) > asked.seen:
            same = rows[-1].new == asked.new and not rows[-1].undoes
            end = ", the same; both are kept" if same else "; both are kept, and yours holds"
            found.append(f"{in_words(rows[-1])} before you{end}")
        if question and question.kind == "pair" and asked.axis == GROUP and new != asked.id:
            differing = self.differing(question)
            found += [f"their {' and '.join(differing)} differ: correct one of them too"] if differing else []
        return ". ".join(found)


def in_words(row: Row) -> str:
    """A row for people: `ann decided gender of 000012: female`."""
    who, name, new = printable(row.who) or "somebody", printable(row.id), printable(row.new)
    kept = row.old == row.new
    if row.undoes:
        return f"{who} took a decision on {row.axis} of {name} back"
    if row.axis == GROUP:
        return f"{who} kept {name} apart" if kept else f"{who} made {name} one with {new}"
    return f"{who} decided {row.axis} of {name}: {new}{' (as it was)' if kept else ''}"


def _left(rows: Iterable[Row]) -> list[Row]:
    """Those of rows on groups that have not been taken back."""
    left: list[Row] = []
    for row in rows:
        if not row.undoes:
            left.append(row)
            continue
        taken = [
            other for other in left if (normal(other.id), other.old, other.new) == (normal(row.id), row.new, row.old)
        ]
        if taken:
            left.remove(taken[-1])
    return left
