"""What is classified: the axes, their levels, and the class that each combination of levels is.

prepare makes the one Task of a project from params.yaml and the data, and writes it to out/prepare/task.json; every later
stage, the report and weights that leave the project read it. A class is one level of each axis, the first axis slowest:
with mask (3 levels), gender (2) and age (3), class = mask * 6 + gender * 3 + age. One axis is plain classification.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import damaged, read_json, write_json
from stages.params.schema import Params

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 1000
DIGITS = 15  # significant ones of a number: as many as a float keeps of every decimal number
UNITS = {"person": "people", "group": "groups", "photo": "photos"}


@dataclass(frozen=True)
class Axis:
    """One thing that is told of a photo: a level by name, or a number cut into bins."""

    name: str
    levels: tuple[str, ...]  # names, in the order of their codes
    bins: tuple[float, ...] = ()  # where the second and each further level begins; empty: levels have no numbers
    constant: bool = False  # all photos of a group have the same
    regressed: bool = False  # the number may also be learnt by regression
    scale: float = 1.0  # unit of the regression's error, in the number's own unit

    @property
    def numeric(self) -> bool:
        """Whether its column in photos.csv holds numbers; else it holds codes of levels."""
        return bool(self.bins)

    def codes(self, values: np.ndarray, bins: tuple[float, ...] | None = None) -> np.ndarray:
        """Codes of levels, int [N], from this axis's column of photos.csv [N]; `bins` cut otherwise, for training labels."""
        return np.digitize(values, bins or self.bins) if self.numeric else np.asarray(values, np.int64)


@dataclass(frozen=True)
class Task:
    """The axes in order, and what a group of photos is called."""

    layout: str  # contest, folder or table
    axes: tuple[Axis, ...]
    unit: str  # of a split: person, group or photo (no groups are known)
    # Named groups of classes that get an F1 of their own: class numbers. From params.yaml, not in task.json: a new one
    # must not train again.
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Levels of each axis."""
        return tuple(len(axis.levels) for axis in self.axes)

    @cached_property
    def axis_sizes(self) -> dict[str, int]:
        """Levels of each axis, by its name."""
        return {axis.name: len(axis.levels) for axis in self.axes}

    @property
    def classes(self) -> int:
        return int(np.prod(self.sizes))

    @property
    def units(self) -> str:
        """People, groups or photos: what splits and bootstraps draw."""
        return UNITS[self.unit]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of all classes, by number: the levels, parted by blanks."""
        return tuple(
            " ".join(axis.levels[code] for axis, code in zip(self.axes, codes, strict=True))
            for codes in np.ndindex(*self.sizes)
        )

    @cached_property
    def numbered_names(self) -> tuple[str, ...]:
        """Class names with their numbers before them, of one width: `00 wear male <30`."""
        width = max(2, len(str(self.classes - 1)))
        return tuple(f"{number:0{width}d} {name}" for number, name in enumerate(self.class_names))

    @property
    def regressed(self) -> Axis | None:
        """The axis whose number may be regressed, or None."""
        return next((axis for axis in self.axes if axis.regressed), None)

    def axis(self, name: str) -> Axis:
        return next(axis for axis in self.axes if axis.name == name)

    def numbers(self, codes: tuple[np.ndarray, ...]) -> np.ndarray:
        """Class numbers, int [N], from the codes [N] of every axis."""
        return np.ravel_multi_index(codes, self.sizes).astype(np.int64)

    def parts(self, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
        """Codes [N] of every axis from class numbers [N]: the inverse of `numbers`."""
        return np.unravel_index(np.asarray(numbers), self.sizes)

    @cached_property
    def factors(self) -> tuple[slice, ...]:
        """Where each axis's logits stand among those of `targets: factored`, side by side."""
        ends = np.cumsum(self.sizes)
        return tuple(slice(int(end - size), int(end)) for end, size in zip(ends, self.sizes, strict=True))

    def outputs(self, targets: str) -> int:
        """Logits of a model: one a class (joint), or one a level of each axis (factored)."""
        return self.classes if targets == "joint" else sum(self.sizes)

    def labels(
        self, columns: "Mapping[str, np.ndarray] | pd.DataFrame", bins: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Class numbers, int [N], from the axes' columns of photos.csv; `bins` of an axis replace its own."""
        return self.numbers(
            tuple(axis.codes(np.asarray(columns[axis.name]), (bins or {}).get(axis.name)) for axis in self.axes)
        )

    def classes_of(self, levels: Mapping[str, str | tuple[str, ...]]) -> tuple[int, ...]:
        """Numbers of the classes that have these levels: {age: 60+}, or several of an axis {age: [30-59, 60+]}.

        Raises KeyError with the axis or level that is not known.
        """
        chosen = np.ones(self.classes, bool)
        parts = self.parts(np.arange(self.classes))
        for name, wanted in levels.items():
            place = next((place for place, axis in enumerate(self.axes) if axis.name == name), None)
            if place is None:
                raise KeyError(name)
            known = self.axes[place].levels
            names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
            for level in names:
                if level not in known:
                    raise KeyError(level)
            chosen &= np.isin(parts[place], [known.index(level) for level in names])
        return tuple(int(number) for number in np.flatnonzero(chosen))

    @cached_property
    def hash(self) -> str:
        """16 hex digits of what defines the classes: equal where two runs answer the same question."""
        told = [[axis.name, list(axis.levels), list(axis.bins)] for axis in self.axes]
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()[:16]


def made(params: Params, found: Mapping[str, Sequence[str]], constant: Collection[str], unit: str) -> Task:
    """The task that params.yaml declares and the data completes, without its subsets.

    found: names of the levels of axes that declare neither levels nor bins, in the order of their codes, and of those whose
    numbers in the data are not whole. constant: axes
    of which all photos of a group have the same.
    """
    axes = tuple(
        Axis(
            name,
            given.levels or (bin_names(given.bins) if given.bins and name not in found else tuple(found[name])),
            given.bins or (),
            name in constant,
            given.regress,
            given.scale,
        )
        for name, given in params.axes.items()
    )
    return Task(params.data.layout, axes, unit)


def write(task: Task) -> None:
    """task.json: the axes, the names of the classes, the unit and the hash."""
    write_json(paths.TASK, to_json(task))


def to_json(task: Task) -> dict[str, Any]:
    """A Task as plain values, without its subsets; class names and hash are for other readers than `from_json`."""
    axes = [
        {
            "name": axis.name,
            "levels": list(axis.levels),
            "bins": list(axis.bins),
            "constant": axis.constant,
            "regressed": axis.regressed,
            "scale": axis.scale,
        }
        for axis in task.axes
    ]
    return {
        "layout": task.layout,
        "unit": task.unit,
        "axes": axes,
        "classes": list(task.class_names),
        "hash": task.hash,
    }


def read(params: Params) -> Task:
    """task.json with the named subsets of params.yaml. Raises UserError where it is missing or damaged, or a subset names what
    it does not have."""
    try:
        found = from_json(read_json(paths.TASK, "prepare"))
    except (KeyError, TypeError, ValueError):
        raise damaged(paths.TASK, "is not what this version of prepare writes", "prepare") from None
    try:
        return with_subsets(found, params.subsets)
    except KeyError as error:
        raise UserError(
            f"{paths.PARAMS}: subsets: {error} is no axis or level of {paths.TASK}; name one of those"
        ) from None


def from_json(value: Mapping[str, Any]) -> Task:
    """A Task from what `to_json` gave, and its subsets where something added them."""
    axes = tuple(
        Axis(
            axis["name"],
            tuple(axis["levels"]),
            tuple(axis["bins"]),
            bool(axis["constant"]),
            bool(axis["regressed"]),
            float(axis["scale"]),
        )
        for axis in value["axes"]
    )
    subsets = {name: tuple(numbers) for name, numbers in value.get("subsets", {}).items()}
    return Task(value["layout"], axes, value["unit"], subsets)


def with_subsets(task: Task, subsets: Mapping[str, Mapping[str, Any]]) -> Task:
    """The same with named subsets: {60plus: {age: 60+}} becomes {60plus: its class numbers}."""
    return Task(task.layout, task.axes, task.unit, {name: task.classes_of(chosen) for name, chosen in subsets.items()})


def number_text(value: float) -> str:
    """A number as tables and names of bins have it: whole ones of an integer type in full, others with DIGITS digits."""
    return str(value) if isinstance(value, int | np.integer) else f"{value:.{DIGITS}g}"


def bin_names(bins: tuple[float, ...], whole: bool = True) -> tuple[str, ...]:
    """Names of a number's bins: <30, 30-59, 60+; <0.5, 0.5-1, 1+ (up to, without, the second) where bins, or the data (whole:
    False), are no whole numbers."""
    whole = whole and all(float(edge).is_integer() for edge in bins)
    texts = [number_text(edge) for edge in bins]
    ends = [number_text(edge - 1) for edge in bins] if whole else texts
    middle = [
        first if whole and first == last else f"{first}-{last}"
        for first, last in zip(texts[:-1], ends[1:], strict=True)
    ]
    return (f"<{texts[0]}", *middle, f"{texts[-1]}+")


CONTEST = Task(
    "contest",
    (
        Axis("mask", ("wear", "incorrect", "none")),
        Axis("gender", ("male", "female"), constant=True),
        Axis("age", ("<30", "30-59", "60+"), (30, 60), constant=True, regressed=True, scale=10.0),
    ),
    "person",
    {"60plus": (2, 5, 8, 11, 14, 17)},
)
