"""What a person is asked, in order: suspects of the audit, near-duplicates under two groups, photos that cannot be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv
from stages.data.corrections import GROUP, PHOTO, REMOVED, THERE
from stages.data.csv_rows import normal, printable
from stages.review.numbered_photos import Numbered, name_below

AUDIT, EDA = "audit", "eda"
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("id", "axis", "given", "suggested"), str),
    "score": float,
    "ambiguous": int,
    "why": str,
}
Kind = Literal["suspect", "pair", "unreadable"]


@dataclass(frozen=True)
class Question:
    """Is `given` right, or rather `suggested`? As corrections.csv would say it: of `id`, on `axis`."""

    kind: Kind
    id: str
    axis: str
    given: str
    suggested: str
    why: str
    photos: tuple[int, ...]  # what it is about, the first photo first
    score: float | None = None  # estimated probability that `given` is wrong
    ambiguous: bool = False
    likely_wrong: bool = False  # the audit counts it so; unknown, so not said, of an audit by an earlier version
    other: str = ""  # of a pair: the group that `id` might join


@dataclass(frozen=True)
class Tables:
    """What the tables hold, as they are read."""

    suspects: pd.DataFrame | None  # None: no audit has been made
    pairs: pd.DataFrame | None
    unreadable: pd.DataFrame | None


def read() -> Tables:
    """The tables of `maskcli audit` and `maskcli eda`, where they are. Raises UserError where one is damaged."""
    return Tables(
        _table(paths.SUSPECTS, AUDIT, COLUMNS),
        _table(paths.EDA_DUPLICATES, EDA, dict.fromkeys(("photo_a", "photo_b"), str)),
        _table(paths.EDA_UNREADABLE, EDA, dict.fromkeys(("where", "problem"), str)),
    )


def _table(path: Path, made_by: str, columns: Mapping[str, type]) -> pd.DataFrame | None:
    """A table, which may have no rows."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline().strip().split(",")
        empty = not file.readline()
    if empty and set(columns) <= set(header):
        return pd.DataFrame(columns=header)
    return read_csv(path, made_by, columns)


def unreadable(tables: Tables) -> list[tuple[str, str]]:
    """Paths of unreadable photos, and what is wrong with each; of rows of tables too, which are no photos."""
    table = tables.unreadable
    return [] if table is None else list(zip(table["where"], table["problem"], strict=True))


def asked(tables: Tables, photos: Numbered, changed: set[str]) -> list[Question]:
    """All questions in order. changed: ids, in normal form, that corrections.csv has rows on.

    Raises UserError where the suspects are of other data than photos.csv. Pairs with eval photos are left out, since nothing
    can be decided about those, and so are pairs of which a photo is in the data set no more.
    """
    return [*_suspects(tables.suspects, photos, changed), *_pairs(tables.pairs, photos), *_unreadable(tables, photos)]


def _suspects(table: pd.DataFrame | None, photos: Numbered, changed: set[str]) -> list[Question]:
    found: list[Question] = []
    if table is None:
        return found
    counted = table["likely_wrong"].eq(1) if "likely_wrong" in table else pd.Series(False, table.index)
    for row, likely in zip(table[list(COLUMNS)].to_dict("records"), counted, strict=True):
        name, axis, given, suggested, score, ambiguous, why = row.values()
        which = photos.of(name, axis)
        problem = _of_other_data(name, axis, (given, suggested), which, photos)
        if problem and normal(name) in changed:  # what was decided has been applied since the audit
            continue
        if problem:
            raise UserError(f"{paths.SUSPECTS}: {problem}: it is of other data; run `maskcli {AUDIT}` again")
        score = min(1.0, max(0.0, score))
        how = {"score": score, "ambiguous": bool(ambiguous), "likely_wrong": bool(likely)}
        found.append(Question("suspect", name, axis, given, suggested, why, tuple(which), **how))
    return found


def _of_other_data(name: str, axis: str, levels: tuple[str, str], which: list[int], photos: Numbered) -> str:
    """Why a suspect is none of these photos; empty where it is."""
    known = next((one for one in photos.task.axes if one.name == axis), None)
    if known is None:
        return f"`{printable(axis)}` is no axis of {paths.TASK}"
    odd = next((level for level in levels if level not in known.levels), None)
    if odd is not None:
        return f"`{printable(odd)}` is no level of {axis}"
    if not which:
        return f"`{printable(name)}` is not in {paths.PHOTOS}"
    now = known.levels[int(known.codes(photos.table[axis].to_numpy()[which[:1]])[0])]
    return "" if now == levels[0] else f"{axis} of `{printable(name)}` is {now} in {paths.PHOTOS}, not {levels[0]}"


def _pairs(table: pd.DataFrame | None, photos: Numbered) -> list[Question]:
    found = []
    for first, second in () if table is None else zip(table["photo_a"], table["photo_b"], strict=True):
        names = [normal(name_below(path, photos.folder)) for path in (first, second)]
        which = [photos.number.get(name, photos.listed) for name in names]
        if max(which) >= photos.listed:  # an eval photo, or one that is no longer in photos.csv
            continue
        other, own = (photos.groups[place] for place in which)
        if other != own:
            found.append(
                Question("pair", own, GROUP, own, other, "the two photos look the same", tuple(which), other=other)
            )
    return found


def _unreadable(tables: Tables, photos: Numbered) -> list[Question]:
    found = []
    for path, problem in unreadable(tables):
        place = photos.number.get(normal(name_below(path, photos.folder)))
        if place is not None:
            found.append(Question("unreadable", photos.files[place], PHOTO, THERE, REMOVED, problem, (place,)))
    return found


def told(questions: Sequence[Question]) -> str:
    """How many of what: 120 suspects, 1 pair of near-duplicates."""
    words = {
        "suspect": ("suspect", "suspects"),
        "pair": ("pair of near-duplicates", "pairs of near-duplicates"),
        "unreadable": ("photo that cannot be used", "photos that cannot be used"),
    }
    counts = {kind: sum(one.kind == kind for one in questions) for kind in words}
    return ", ".join(f"{count:,} {words[kind][count > 1]}" for kind, count in counts.items() if count) or "no questions"
