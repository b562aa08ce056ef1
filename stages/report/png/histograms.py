"""How many groups (or photos) have each number of an axis: the table that eda writes and the bars that it draws."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.data.task_and_classes import Axis, Task, number_text
from stages.report.colours import LEVELS

MOST_ONES = 120  # bars of one, for whole numbers: ages
MOST_BARS = 60  # of other widths


@dataclass(frozen=True)
class Histogram:
    """Bars of one axis. table: the axis's column (where a bar begins), the stacked axis's level by name where there is one,
    `units`, bin_from (where the bin begins that the bar begins in), and `to` (where a bar ends) unless bars are one wide.
    members: how many have a number in each bin: a wide bar may reach over an edge."""

    axis: Axis
    stacked: Axis | None  # bars are parted by its levels
    units: str  # what is counted: people, groups or photos
    unit: str  # of the numbers, as known: year, or empty
    step: float  # width of a bar
    whole: bool  # all numbers are whole
    table: pd.DataFrame
    members: tuple[int, ...]


def count(photos: pd.DataFrame, axis: Axis, task: Task) -> Histogram:
    """Count each group once where all its photos have the same number, else every photo; photos: as photos.read gives them."""
    alike = axis.constant and task.unit != "photo"
    counted = photos.drop_duplicates("group") if alike else photos
    units = task.units if alike else "photos"
    values = counted[axis.name].to_numpy()
    step = _step(values)
    begins = values if step == 1 and _whole(values) else np.floor(values / step) * step
    columns = {axis.name: begins.astype(int) if _whole(begins) else np.round(begins, 10)}
    stacked = _stacked(task, alike)
    if stacked:
        columns[stacked.name] = counted[stacked.name].to_numpy()
    table = pd.DataFrame(columns).groupby(list(columns)).size().rename(units).reset_index()
    if stacked:
        table[stacked.name] = np.array(stacked.levels, object)[table[stacked.name]]
    numbers = table[axis.name].to_numpy()
    # Numbers are mostly of 0 and more; where the first bin lies below 0, nothing is said of its beginning.
    edges = np.array([0 if axis.bins[0] > 0 else np.nan, *axis.bins])
    table["bin_from"] = (edges.astype(int) if _whole(edges) else edges)[np.digitize(numbers, axis.bins)]
    if step != 1:
        table["to"] = np.round(numbers + step, 10)
    members = tuple(np.bincount(axis.codes(values), minlength=len(axis.levels)).tolist())
    return Histogram(
        axis, stacked, units, "year" if task.layout == "contest" else "", step, _whole(values), table, members
    )


def in_bins(found: Histogram) -> dict[str, int]:
    """How many have a number in each bin, by the bin in words."""
    return dict(zip(bin_words(found.axis.bins, found.whole), found.members, strict=True))


def bin_words(bins: tuple[float, ...], whole: bool) -> list[str]:
    """Bins in words: below 30, 30 to 59, 60 and over; of numbers that are not all whole `30 to below 60`."""
    whole = whole and _whole(np.array(bins))
    texts = [number_text(edge) for edge in bins]
    ends = [f"to {number_text(edge - 1)}" if whole else f"to below {number_text(edge)}" for edge in bins[1:]]
    middle = [f"{text} {end}" for text, end in zip(texts[:-1], ends, strict=True)]
    return [f"below {texts[0]}", *middle, f"{texts[-1]} and over"]


def _stacked(task: Task, alike: bool) -> Axis | None:
    """The axis whose levels part the bars: the first with named levels and few of them, that is alike in a group if the numbers
    are counted by group."""
    fitting = (
        axis for axis in task.axes if not axis.numeric and len(axis.levels) <= len(LEVELS) and axis.constant >= alike
    )
    return next(fitting, None)


def _step(values: np.ndarray) -> float:
    """Width of a bar: 1 for whole numbers within MOST_ONES; else 1, 2 or 5 times a power of ten, for MOST_BARS at most."""
    spread = float(values.max() - values.min())
    whole = _whole(values)
    if whole and spread <= MOST_ONES:
        return 1.0
    if spread == 0:
        return 1.0
    size = 10 ** np.floor(np.log10(spread / MOST_BARS))
    step = next(float(times * size) for times in (1, 2, 5, 10) if spread / (times * size) <= MOST_BARS)
    return max(step, 1.0) if whole else step


def _whole(values: np.ndarray) -> bool:
    return bool((np.floor(values) == values).all())
