"""What a data set holds, for the one who begins with it: photos, classes, groups, sizes, and what looks suspicious."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.data.csv_rows import normal
from stages.data.task import Task
from stages.new_project import declare
from stages.new_project.choices import FOLDS, Seen
from stages.new_project.declare import Declared

LOOKED_AT = 3_000  # photos that are decoded, spread evenly over all
NAMED = 5  # classes or photos that a line names
COMMON = 3  # sizes that are told


@dataclass(frozen=True)
class Found:
    """photos: a row each, with columns group, file and label. sizes: int [N, 2], height and width, of those looked at.

    folders: what of the photos' folder the stages read, by path below it; empty: all of it. warnings: what looks suspicious, a
    line each.
    """

    layout: str
    place: str
    task: Task
    photos: pd.DataFrame
    eval_photos: int
    folders: tuple[str, ...]
    sizes: np.ndarray
    looked_at: int
    warnings: tuple[str, ...]

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Columns class (name), photos, groups; all classes, the largest first."""
        of_class = self.photos.groupby("label")["group"].agg(["size", "nunique"])
        of_class = of_class.reindex(range(self.task.classes), fill_value=0)
        table = pd.DataFrame(
            {
                "class": self.task.class_names,
                "photos": of_class["size"].to_numpy(),
                "groups": of_class["nunique"].to_numpy(),
            }
        )
        return table.sort_values("photos", ascending=False, kind="stable").reset_index(drop=True)

    @property
    def units(self) -> int:
        return int(self.photos["group"].nunique())

    @property
    def seen(self) -> Seen:
        return Seen(len(self.photos), self.units, self.task.class_names, self.sizes)

    @property
    def common_sizes(self) -> list[tuple[int, int, int]]:
        """Height, width and photos of the most common sizes among those looked at."""
        sizes, counts = np.unique(self.sizes, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:COMMON]
        return [(int(sizes[place][0]), int(sizes[place][1]), int(counts[place])) for place in order]

    def as_dict(self) -> dict[str, Any]:
        axes = {axis.name: list(axis.levels) for axis in self.task.axes}
        told = {"layout": self.layout, "place": self.place, "photos": len(self.photos), "eval_photos": self.eval_photos}
        told |= {} if self.task.unit == "photo" else {self.task.units: self.units}
        told |= {"axes": axes, "classes": self.classes.to_dict("records"), "looked_at": self.looked_at}
        sizes = [{"height": height, "width": width, "photos": count} for height, width, count in self.common_sizes]
        return told | {"sizes": sizes, "warnings": list(self.warnings)}


@dataclass(frozen=True)
class _Contents:
    """A data set as its layout's reader finds it. files: all photos, those of the eval set at the end."""

    task: Task
    photos: pd.DataFrame
    files: list[Path]
    folders: tuple[str, ...]
    faults: list[Fault]


def look(of: Declared, talk: Talk) -> Found:
    """Read the tables and names of all photos, and decode LOOKED_AT of them.

    Raises UserError where there is no photo that can be used, or only one class.
    """
    params = declare.params(of, None, {})
    read = _read(params)
    if read.photos.empty:
        raise UserError(str(read.faults[0]) if read.faults else f"{of.place}: has no photo in it; add some")
    which = np.unique(np.linspace(0, len(read.files) - 1, min(LOOKED_AT, len(read.files))).astype(int))
    scan = eda.scan([read.files[place] for place in which], params, talk)
    found = Found(
        of.layout,
        str(of.place),
        read.task,
        read.photos,
        len(read.files) - len(read.photos),
        read.folders,
        scan.sizes[scan.sizes[:, 0] > 0],
        len(which),
        (),
    )
    if found.classes["photos"].gt(0).sum() < 2:
        raise UserError(f"{of.place}: all photos are of one class; at least two are wanted")
    return replace(found, warnings=tuple(_suspicious(found, read, scan, which)))


def alike(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Names that differ in case, blanks, hyphens or Unicode form alone."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        key = "".join(letter for letter in normal(name).casefold() if letter not in " -_")
        same[key].append(name)
    return [tuple(group) for group in same.values() if len(group) > 1]


def small_classes(classes: pd.DataFrame, units: str) -> list[str]:
    """What to know of classes with fewer groups than folds: a line, or none."""
    small = classes[(classes["groups"] > 0) & (classes["groups"] < FOLDS)]
    absent = classes[classes["groups"] == 0]
    told = []
    if len(small):
        few = ", ".join(f"{row['class']} ({row['groups']})" for _, row in small.tail(NAMED).iterrows())
        told.append(
            f"{len(small)} classes have fewer than {FOLDS} {units}, so that some folds cannot score them: {few}"
            + (", ..." if len(small) > NAMED else "")
        )
    if len(absent):
        told.append(f"no photo is of {_named(list(absent['class']))}: that class is never learnt")
    return told


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
