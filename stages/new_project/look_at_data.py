"""What a data set holds, for the one who begins with it: photos, classes, groups, sizes, and what looks suspicious."""

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages import eda
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.data import near_duplicates, photos
from stages.data.csv_rows import normal
from stages.data.found_photos import Found
from stages.data.task_and_classes import Task
from stages.new_project.choices import Seen, folds_of
from stages.params.schema import Params
from stages.report.class_lists import listed

LOOKED_AT = 3_000  # photos that are decoded, spread evenly over all
NAMED = 5  # classes or photos that a line names
COMMON = 3  # sizes that are told
MOST_FOLDERS = 20  # that dvc.yaml names one by one


@dataclass(frozen=True)
class Overview:
    """The data set in short. photos: group, file and label of each. sizes: int [N, 2], height and width, of those looked at.

    folders: what of the photos' folder the stages read, by path below it; empty: all of it. suspicious: a line each.
    """

    layout: str
    place: str
    task: Task
    photos: pd.DataFrame
    eval_photos: int
    folders: tuple[str, ...]
    sizes: np.ndarray
    suspicious: tuple[str, ...]

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Columns class (name), photos, groups; all classes, the largest first."""
        counts = self.photos.groupby("label")["group"].agg(["size", "nunique"])
        counts = counts.reindex(range(self.task.classes), fill_value=0)
        table = pd.DataFrame(
            {
                "class": self.task.class_names,
                "photos": counts["size"].to_numpy(),
                "groups": counts["nunique"].to_numpy(),
            }
        )
        return table.sort_values("photos", ascending=False, kind="stable").reset_index(drop=True)

    @cached_property
    def units(self) -> int:
        """People, groups or photos: what splits and bootstraps draw."""
        return int(self.photos["group"].nunique())

    @property
    def seen(self) -> Seen:
        return Seen(len(self.photos), self.units, self.task.class_names, self.sizes)

    @property
    def common_sizes(self) -> list[dict[str, int]]:
        """Height, width and photos of the most common sizes among those looked at."""
        sizes, counts = np.unique(self.sizes, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:COMMON]
        names = ("height", "width", "photos")
        return [dict(zip(names, (*map(int, sizes[place]), int(counts[place])), strict=True)) for place in order]

    def as_dict(self) -> dict[str, Any]:
        told = {"layout": self.layout, "place": self.place, "photos": len(self.photos), "eval_photos": self.eval_photos}
        told |= {} if self.task.unit == "photo" else {self.task.units: self.units}
        told |= {"axes": {axis.name: list(axis.levels) for axis in self.task.axes}}
        told |= {"classes": self.classes.to_dict("records"), "looked_at": len(self.sizes)}
        return told | {"sizes": self.common_sizes, "suspicious": list(self.suspicious)}


def look(params: Params, place: Path, talk: Talk) -> Overview:
    """Read the tables and names of all photos, and decode LOOKED_AT of them; `place` is what the data is called.

    Raises UserError where there is no photo that can be used, or only one class.
    """
    found = photos.as_listed(params)  # corrections.csv of this folder may be another project's
    if found.photos.empty:
        raise UserError(str(found.faults[0]) if found.faults else f"{place}: has no photo in it; add some")
    labels = found.task.labels(found.photos)
    if len(np.unique(labels)) < 2:
        raise UserError(f"{place}: all photos are of one class; at least two are wanted")
    sizes, seen = _decode_some(found, params, talk)
    told = Overview(
        params.data.layout,
        str(place),
        found.task,
        found.photos.assign(label=labels),
        len(found.eval),
        _folders(found) if params.data.layout == "table" else (),
        sizes,
        tuple(seen),
    )
    suspicious = (
        *_faults(found),
        *small_classes(told.classes, found.task.units, folds_of(told.units)),
        *_names(found.task),
        *seen,
    )
    return replace(told, suspicious=suspicious)


def _decode_some(found: Found, params: Params, talk: Talk) -> tuple[np.ndarray, list[str]]:
    """Sizes, int [N, 2], of photos spread over all, and what is odd about them: unreadable, blank, or twice there."""
    files = eda.all_photos(found, params)
    which = np.unique(np.linspace(0, len(files) - 1, min(LOOKED_AT, len(files))).astype(int))
    greys = np.zeros((len(which), near_duplicates.SIDE, near_duplicates.SIDE), np.uint8)
    scan = eda.scan_photos([files[place] for place in which.tolist()], greys, params, talk)
    owners = pd.factorize(np.array([files.groups[place] for place in which], object))[0]
    pairs, complete = near_duplicates.duplicates(scan.hashes, scan.greys, owners, scan.comparable)
    among = "" if len(which) == len(files) else f" among the {len(which):,} photos looked at"
    root = Path(params.data.root or "")

    def name(place: int) -> Path:
        path = files[int(which[place])]
        return path.relative_to(root) if path.is_relative_to(root) else path

    told = []
    if scan.faults:
        place, fault = scan.faults[0]
        told.append(f"{_count(len(scan.faults), 'photo')} cannot be used{among}, first {name(place)}: {fault.problem}")
    blank = int(((scan.sizes[:, 0] > 0) & ~scan.comparable).sum())
    told += [f"of one flat colour{among}: {_count(blank, 'photo')}"] if blank else []
    if len(pairs):
        first = " and ".join(str(name(pairs[side].iloc[0])) for side in ("a", "b"))
        apart = "" if found.task.unit == "photo" else f" in different {found.task.units}"
        many = f"{'' if complete else 'at least '}{_count(len(pairs), 'pair')}"
        told.append(
            f"{many} of near-duplicates{apart}{among}, first {first}: a twin on the other side of a fold flatters the score; "
            "`data.group_duplicates: true` keeps them together"
        )
    return scan.sizes[scan.sizes[:, 0] > 0], told


def _faults(found: Found) -> list[str]:
    faults = [*found.faults, *found.eval_faults]
    if not faults:
        return list(found.warnings)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return [f"{faults[0]}{more}: `maskcli prepare` stops at these, and lists all", *found.warnings]


def small_classes(classes: pd.DataFrame, units: str, folds: int) -> list[str]:
    """What to know of classes with fewer groups than folds, or without any; a line each."""
    small = classes[(classes["groups"] > 0) & (classes["groups"] < folds)]
    absent = list(classes["class"][classes["groups"] == 0])
    told = []
    if len(small):
        few = [f"{name} ({count})" for name, count in zip(small["class"], small["groups"], strict=True)][::-1]
        told.append(f"too few {units} for {folds} folds, so that some folds cannot score them: {listed(few, NAMED)}")
    return told + ([f"no photo is of the class {listed(absent, NAMED)}: it is never learnt"] if absent else [])


def _names(task: Task) -> list[str]:
    """Levels of an axis that differ so little that one may have been meant."""
    return [
        f"{axis.name}: {' and '.join(f'`{name}`' for name in same)} differ in case, blanks or Unicode form alone; are they one?"
        for axis in task.axes
        for same in alike(axis.levels)
    ]


def alike(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Names that differ in case, blanks, hyphens or Unicode form alone."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        same["".join(letter for letter in normal(name).casefold() if letter not in " -_")].append(name)
    return [tuple(group) for group in same.values() if len(group) > 1]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _folders(found: Found) -> tuple[str, ...]:
    """The folders that a table's photos lie in, the topmost ones; none where they are many, or photos lie in no folder."""
    parts = (file.partition("/") for file in [*found.photos["file"], *found.eval["ImageID"]])
    tops = {top if below else "" for top, _, below in parts}
    return tuple(sorted(tops)) if "" not in tops and len(tops) <= MOST_FOLDERS else ()
