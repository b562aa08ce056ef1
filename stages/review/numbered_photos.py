"""The photos that can be looked at. The page asks for them by number, so that no name that it sends is ever a path."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from stages.data import corrected_values, listed_files, photos
from stages.data.corrections import PHOTO
from stages.data.csv_rows import normal
from stages.data.task_and_classes import Task
from stages.params.schema import Params


@dataclass(frozen=True)
class Numbered:
    """Photos by number: those of photos.csv in its order, then others that a table names (unreadable ones), without labels."""

    task: Task
    folder: Path
    files: list[str]  # below `folder`
    groups: list[str]  # empty: not known
    table: pd.DataFrame  # [N] a column an axis, as in photos.csv, of the N first photos
    others: list[str] = field(default_factory=list)  # what is wrong with each of the rest

    @property
    def listed(self) -> int:
        return len(self.files) - len(self.others)

    @cached_property
    def number(self) -> dict[str, int]:
        """A photo's number, by its file in normal form."""
        return {normal(file): place for place, file in enumerate(self.files)}

    @cached_property
    def members(self) -> dict[str, list[int]]:
        """The photos of each group, by its id in normal form."""
        found: dict[str, list[int]] = {}
        for place, group in enumerate(self.groups[: self.listed]):
            found.setdefault(normal(group), []).append(place)
        return found

    @cached_property
    def labels(self) -> np.ndarray:
        """Class numbers [N] as prepared."""
        return self.task.labels(self.table)

    @cached_property
    def searched(self) -> list[str]:
        """What a text is looked for in, a photo: its group and its file, in normal form and lower case."""
        alone = self.task.unit == "photo"
        return [
            normal(file if alone else f"{group} {file}").lower()
            for group, file in zip(self.groups, self.files, strict=True)
        ]

    def names_group(self, axis: str) -> bool:
        """Whether corrections.csv names groups on an axis; else photos."""
        return corrected_values.names_group(axis, self.task)

    def of(self, name: str, axis: str) -> list[int]:
        """The photos that an id of corrections.csv stands for on an axis, or as `group` or `photo`; none: not known."""
        if self.names_group(axis):
            return self.members.get(normal(name), [])
        place = self.number.get(normal(name))
        return [] if place is None or (place >= self.listed and axis != PHOTO) else [place]

    def named(self, number: int, axis: str) -> str:
        """The id that corrections.csv calls a photo by on an axis."""
        return self.groups[number] if self.names_group(axis) else self.files[number]


def read(params: Params, task: Task, others: Iterable[tuple[str, str]]) -> Numbered:
    """The photos that prepare listed, and `others`: paths and what is wrong, of which those below the data are taken."""
    table, folder = photos.read(task), photos.folder(params)
    files = table["file"].tolist()
    known = {normal(file) for file in files}
    named = {name_below(path, folder): problem for path, problem in others}
    below = {file: problem for file, problem in named.items() if file and normal(file) not in known}
    names, faults = listed_files.on_disk(below, folder)
    pairs = enumerate(zip(names, below.values(), strict=True))
    added = [(name, problem) for place, (name, problem) in pairs if place not in faults]
    return Numbered(
        task,
        folder,
        files + [name for name, _ in added],
        table["group"].tolist() + [""] * len(added),
        table[[axis.name for axis in task.axes]],
        [problem for _, problem in added],
    )


def name_below(path: str, folder: Path) -> str:
    """A path's name below the folder of the photos; empty where it lies elsewhere."""
    try:
        return Path(path).relative_to(folder).as_posix()
    except ValueError:
        return ""
