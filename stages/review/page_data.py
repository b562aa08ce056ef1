"""What the page is told, as JSON: a question with its photos and its keys, a photo by itself, lists of photos."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.data.corrections import GROUP, PHOTO, REMOVED, THERE, Row
from stages.data.csv_rows import normal
from stages.data.task_and_classes import Axis
from stages.review.decisions import Decisions, in_words
from stages.review.numbered_photos import Numbered
from stages.review.questions import Question

MOST_PHOTOS = 24  # of a group, beside each other
PAGE = 60  # photos in a list
AHEAD = 2  # next questions whose photos a browser may load before they are asked
DIGITS = 10  # levels that have a key: 1 to 9, and 0
TITLES = {
    "pair": "Is this one {unit} or two?",
    "unreadable": "This photo cannot be used",
}


@dataclass(frozen=True)
class Filter:
    """Which questions or photos: empty or None means all."""

    about: str = ""  # an axis, `pair` or `unreadable`
    label: int | None = None  # class number, as prepared
    text: str = ""  # part of a group's id, or of a photo's name

    @property
    def is_open(self) -> bool:
        return self == Filter()


@dataclass
class View:
    """What can be shown, and what was found lately by the same filter."""

    decisions: Decisions
    found: dict[Filter, np.ndarray] = field(default_factory=dict)

    @property
    def photos(self) -> Numbered:
        return self.decisions.photos

    @property
    def questions(self) -> list[Question]:
        return self.decisions.questions

    def step(self, way: str, at: int, wanted: Filter) -> dict[str, Any]:
        """A question and how far the work is. way: `next` undecided after `at` (then from the beginning), `after` and `before`
        for whichever stands there, `at` for this one."""
        self.decisions.refresh()
        which = self._matching(wanted)
        undone = which[~self.decisions.done[which]]
        number = _pick(way, at, which, undone)
        ahead = undone[undone > (at if number is None else number)][:AHEAD]
        return {
            "question": None if number is None else self.question(number),
            "place": None if number is None else int(np.searchsorted(which, number)) + 1,
            "asked": len(which),
            "decided": len(which) - len(undone),
            "ahead": [self.questions[int(place)].photos[0] for place in ahead],
        }

    def question(self, number: int) -> dict[str, Any]:
        one, unit = self.questions[number], self.photos.task.unit
        rows = self.decisions.rows_of(one)
        axis = self._axis(one.axis)
        shown = list(one.photos)[:MOST_PHOTOS]
        if one.kind == "suspect" and axis and not axis.constant:  # the others of the group tell what this one is not
            shown += [place for place in self._beside(one.photos[0]) if place not in shown][: MOST_PHOTOS - len(shown)]
        title = TITLES.get(one.kind, f"Is the {one.axis} right?").format(unit=unit)
        return {
            "number": number,
            "kind": one.kind,
            "title": title,
            "id": one.id,
            "axis": one.axis,
            "given": one.given if one.kind == "suspect" else "",
            "suggested": one.suggested if one.kind == "suspect" else "",
            "why": one.why,
            "score": one.score,
            "ambiguous": one.ambiguous,
            "likely_wrong": one.likely_wrong,
            "photos": [self.photo(place) for place in shown],
            "about": [place for place in one.photos if place in shown],
            "more": max(0, len(one.photos) - len(shown)),
            "decided": in_words(rows[-1]) if self.decisions.done[number] and rows else "",
            "seen": len(rows),
            "actions": self._actions(one, axis),
            "number_of": self._number(one.id, axis) if axis and axis.numeric else None,
        }

    def alone(self, number: int) -> dict[str, Any]:
        """A photo by itself, with all that can be decided about it."""
        self.decisions.refresh()
        shown = [number, *(place for place in self._beside(number) if place != number)][:MOST_PHOTOS]
        return {
            "number": None,
            "kind": "photo",
            "title": self.photos.files[number],
            "why": self._problem(number),
            "photos": [self.photo(place) for place in shown],
            "about": [number],
            "more": max(0, len(self._members(number)) - len(shown)),
            "axes": [self._of_axis(number, axis) for axis in self.photos.task.axes]
            if number < self.photos.listed
            else [],
            "actions": [self._removal(number)],
            "history": self._history(number),
        }

    def listed(self, wanted: Filter, page: int) -> dict[str, Any]:
        """A page of the photos that match, as the files stand in photos.csv."""
        self.decisions.refresh()
        which = np.flatnonzero(self._photos_matching(wanted))
        shown = which[page * PAGE : (page + 1) * PAGE]
        return {
            "photos": [self.photo(int(place)) for place in shown],
            "total": len(which),
            "page": page,
            "pages": max(1, -(-len(which) // PAGE)),
        }

    def photo(self, number: int) -> dict[str, Any]:
        """A photo's name, whose it is, its labels as they are now, and what was decided about it."""
        photos, axes = self.photos, self.photos.task.axes
        known = number < photos.listed
        labels = {axis.name: self._said(photos.named(number, axis.name), axis) for axis in axes} if known else {}
        changed = [
            axis.name for axis in axes if known and self.decisions.last(photos.named(number, axis.name), axis.name)
        ]
        group = photos.groups[number] if photos.task.unit != "photo" else ""
        joined = self.decisions.value(group, GROUP) if group else ""
        return {
            "number": number,
            "file": photos.files[number],
            "group": group if joined == group else f"{group} (now {joined})",
            "labels": labels,
            "changed": changed,
            "removed": self.decisions.is_removed(number),
        }

    def _of_axis(self, number: int, axis: Axis) -> dict[str, Any]:
        name = self.photos.named(number, axis.name)
        return {
            "name": axis.name,
            "id": name,
            "level": self.decisions.level(name, axis.name),
            "all": axis.constant and len(self._members(number)) > 1,
            "seen": len(self.decisions.rows(name, axis.name)),
            "actions": self._levels(name, axis),
            "number_of": self._number(name, axis) if axis.numeric else None,
        }

    def _actions(self, one: Question, axis: Axis | None) -> list[dict[str, str]]:
        """Everything that can be decided about a question: its key, what it says, and the row that it asks for."""
        if one.kind == "pair":
            unit = self.photos.task.unit
            files = [self.photos.files[place] for place in one.photos]
            sides = zip("12", ("left", "right"), files, strict=True)
            return [
                _action("a", f"Same {unit}", one.id, GROUP, one.other),
                _action("k", "Keep apart", one.id, GROUP, one.id),
                *(_action(key, f"Remove the {side} photo", file, PHOTO, REMOVED) for key, side, file in sides),
            ]
        if one.kind == "unreadable":
            return [_action("a", "Remove", one.id, PHOTO, REMOVED), _action("k", "Keep", one.id, PHOTO, THERE)]
        assert axis is not None
        return [
            _action("a", f"Accept: {one.suggested}", one.id, one.axis, one.suggested),
            _action(
                "k", f"Keep: {one.given}", one.id, one.axis, self._number(one.id, axis) if axis.numeric else one.given
            ),
            *self._levels(one.id, axis),
        ]

    def _levels(self, name: str, axis: Axis) -> list[dict[str, str]]:
        return [
            _action(str((place + 1) % 10) if place < DIGITS else "", level, name, axis.name, level)
            for place, level in enumerate(axis.levels)
        ]

    def _removal(self, number: int) -> dict[str, str]:
        return _action("d", "Remove from the data", self.photos.files[number], PHOTO, REMOVED)

    def _number(self, name: str, axis: Axis) -> str:
        return self.decisions.value(name, axis.name)

    def _said(self, name: str, axis: Axis) -> str:
        """A label in words: female; 61 (60+)."""
        level = self.decisions.level(name, axis.name)
        return f"{self._number(name, axis)} ({level})" if axis.numeric else level

    def _axis(self, name: str) -> Axis | None:
        return next((axis for axis in self.photos.task.axes if axis.name == name), None)

    def _members(self, number: int) -> list[int]:
        return self.photos.members.get(normal(self.photos.groups[number]), [])

    def _beside(self, number: int) -> list[int]:
        """Photos of the same group around this one: of a group of thousands its neighbours."""
        members = self._members(number)
        if len(members) <= MOST_PHOTOS:
            return members
        place = min(max(0, members.index(number) - MOST_PHOTOS // 2), len(members) - MOST_PHOTOS)
        return members[place : place + MOST_PHOTOS]

    def _problem(self, number: int) -> str:
        return self.photos.others[number - self.photos.listed] if number >= self.photos.listed else ""

    def _history(self, number: int) -> list[dict[str, Any]]:
        """The decisions on a photo, and on its group, that have not been taken back, oldest first."""
        photos = self.photos
        names = (
            {(photos.named(number, axis.name), axis.name) for axis in photos.task.axes}
            if number < photos.listed
            else set()
        )
        names |= {(photos.files[number], PHOTO), (photos.groups[number], GROUP)}
        rows = [row for name, axis in names if name and (row := self.decisions.last(name, axis))]
        return [
            {"told": in_words(row), "when": row.when, "row": as_json(row)}
            for row in sorted(rows, key=lambda row: row.line)
        ]

    def _matching(self, wanted: Filter) -> np.ndarray:
        """Numbers of the questions that match, ascending."""
        if wanted not in self.found:
            firsts = np.array([one.photos[0] for one in self.questions], np.int64)
            matching = self._photos_matching(wanted)[firsts] if len(firsts) else np.zeros(0, bool)
            if wanted.text:  # a pair is found by both its groups
                for place, one in enumerate(self.questions):
                    matching[place] |= wanted.text.lower() in f"{one.id} {one.other}".lower()
            if wanted.about:
                matching &= np.array([wanted.about in (one.axis, one.kind) for one in self.questions], bool)
            if len(self.found) >= 16:
                self.found.clear()
            self.found[wanted] = np.flatnonzero(matching)
        return self.found[wanted]

    def _photos_matching(self, wanted: Filter) -> np.ndarray:
        """Bool [photos]: by class and by text; `about` is of questions."""
        photos = self.photos
        matching = np.ones(len(photos.files), bool)
        if wanted.label is not None:
            matching[: photos.listed] = photos.labels == wanted.label
            matching[photos.listed :] = False
        if wanted.text:
            text = normal(wanted.text).lower()
            matching &= np.fromiter((text in name for name in photos.searched), bool, len(photos.files))
        return matching


def start(view: View, who: str, notes: Sequence[str]) -> dict[str, Any]:
    """What the page begins with: what can be filtered by, and what has to be said."""
    task = view.photos.task
    abouts = dict.fromkeys([*(one.axis for one in view.questions if one.kind == "suspect")], "")
    kinds = {one.kind for one in view.questions}
    return {
        "who": who,
        "notes": list(notes),
        "unit": task.unit,
        "units": task.units,
        "abouts": [[name, name] for name in abouts]
        + [[kind, text] for kind, text in (("pair", "near-duplicates"), ("unreadable", "unreadable")) if kind in kinds],
        "classes": list(task.numbered_names),
        "questions": len(view.questions),
        "photos": view.photos.listed,
    }


def as_json(row: Row) -> dict[str, str]:
    return {key: value for key, value in asdict(row).items() if key != "line"}


def row_of(value: Mapping[str, Any]) -> Row:
    """A row as a browser sends it back. Raises UserError."""
    names = ("id", "axis", "old", "new", "who", "when", "why")
    if any(not isinstance(value.get(name), str) for name in names):
        raise UserError("this is no row of corrections.csv")
    return Row(*(value[name] for name in names))


def _action(key: str, text: str, name: str, axis: str, new: str) -> dict[str, str]:
    return {"key": key, "text": text, "id": name, "axis": axis, "new": new}


def _pick(way: str, at: int, which: np.ndarray, undone: np.ndarray) -> int | None:
    """A question's number, or None where there is none."""
    found: np.ndarray
    if way == "next":
        found = undone[undone > at] if (undone > at).any() else undone
    elif way == "after":
        found = which[which > at]
    elif way == "before":
        found = which[which < at][::-1]
    else:
        found = which[which == at]
    return int(found[0]) if len(found) else None
