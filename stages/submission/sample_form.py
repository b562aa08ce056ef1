"""A contest's sample submission, filled in: its columns, its photos in its order, and in each column what that asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from stages.base.errors import UserError, nearest
from stages.data import file_pattern
from stages.data.csv_rows import normal, shown
from stages.data.table_file import Table
from stages.data.task_and_classes import Task
from stages.submission import write

SAME = 1e-3  # how far probabilities of a photo may be from 1, together


@dataclass(frozen=True)
class Predicted:
    """What is known of the eval photos [N]: class numbers [N], and the function that has probabilities [N, C] at hand.

    told: how their own table tells their files, a column or a pattern of columns.
    """

    images: Sequence[str]
    answers: np.ndarray
    probabilities: Callable[[], np.ndarray]
    told: str = ""


@dataclass(frozen=True)
class Filled:
    """The sample's table with answers in it; and what its columns hold now, in words."""

    table: pd.DataFrame
    holds: str
    notes: tuple[str, ...] = ()


def fill(
    sample: Table, rows: pd.DataFrame, task: Task, found: Predicted, axes: Mapping[str, str], one_class: str | None
) -> Filled:
    """Fill the sample's `rows`, text by column, with what was predicted of its photos.

    One column beside the photos' takes the class, or, where one_class names one, its probability; columns called as the axes, or
    as the columns that these are read from (axes: their names by column), take levels, and columns called as all classes their
    probabilities. Raises UserError where a photo was not predicted, or columns are none of these.
    """
    photo, which = _photos(sample, rows, found)
    columns = [str(name) for name in rows.columns if name not in photo]
    if one_class is not None and one_class not in task.class_names:
        raise UserError(f"--probability-of {one_class}: is no class{nearest(one_class, task.class_names)}")
    if one_class is not None and len(columns) == 1:
        values = _probabilities(found)[which, task.class_names.index(one_class)]
        return Filled(rows.assign(**{columns[0]: values}), f"the probability of {shown(one_class)}")
    if len(columns) > 1 and sorted(columns) == sorted(task.class_names):
        probabilities = pd.DataFrame(_probabilities(found)[which], index=rows.index, columns=list(task.class_names))
        return Filled(rows.assign(**probabilities), "the probability of each class")
    answers = write.table(task, np.asarray(found.images), found.answers).iloc[which]
    own = answers.drop(columns=write.columns(task)[0])
    known: Mapping[str, str] = dict.fromkeys(columns, own.columns[-1]) if len(columns) == 1 else {}
    known = {**known, **{name: axis for name in columns if (axis := axes.get(name, name)) in own}}
    unknown = next((name for name in columns if name not in known), None)
    if one_class is not None or unknown is not None or not columns:
        there = f"are {', '.join(map(shown, columns))}" if columns else "are missing"
        wanted = ["one for the class", *([", ".join(map(shown, own.columns[:-1]))] if len(own.columns) > 1 else [])]
        raise UserError(
            f"{sample.path}: the columns beside {', '.join(map(shown, photo))} {there}; wanted are {', or '.join(wanted)}, or "
            "all classes by name"
        )
    filled = rows.assign(**{name: own[known[name]].to_numpy() for name in columns})
    notes = [note for name in columns if (note := _note(sample, rows[name], filled[name], task))]
    return Filled(filled, "the class" if len(columns) == 1 else "the level of each axis", tuple(notes))


def _photos(sample: Table, rows: pd.DataFrame, predicted: Predicted) -> tuple[tuple[str, ...], np.ndarray]:
    """The sample's columns that name its photos, and the place of each of its rows in the predicted ones; by the pattern of
    their own table, or by one column, with or without folders and endings."""
    places: dict[str, int] = {}
    for place, image in enumerate(predicted.images):
        path = PurePosixPath(image)
        for name in dict.fromkeys(map(normal, (str(path.with_suffix("")), path.name, path.stem))):
            places[name] = -1 if name in places else place  # -1: two photos are called so
    places |= {normal(image): place for place, image in enumerate(predicted.images)}
    ways = []
    if file_pattern.lacking(predicted.told, rows.columns) is None:
        ways = [(file_pattern.columns(predicted.told, rows.columns), file_pattern.filled(predicted.told, rows))]
    ways += [((str(name),), rows[name]) for name in rows]
    found = [texts.map(lambda text: places.get(normal(text), -1)).to_numpy() for _, texts in ways]
    best = max(range(len(ways)), key=lambda way: len(np.unique(found[way][found[way] >= 0])))
    (photo, names), which = ways[best], found[best]
    if not (which >= 0).any():
        raise UserError(
            f"{sample.path}: no column names the eval photos, as {shown(predicted.images[0])}; name the contest's own sample"
        )
    unknown, twice = which < 0, pd.Series(which).duplicated().to_numpy()
    if (unknown | twice).any():
        first = int(np.flatnonzero(unknown if unknown.any() else twice)[0])
        row = f"{sample.where(int(rows.index[first]))}: {shown(str(names.iat[first]))}"
        if not unknown.any():
            raise UserError(f"{row} stands there already; keep one row")
        raise UserError(
            f"{row} is no eval photo, or one of several ({unknown.sum()} such rows); name the contest's table of them by "
            "data.eval, then `maskcli init --update` and `dvc repro`"
        )
    return photo, which


def _probabilities(found: Predicted) -> np.ndarray:
    probabilities = found.probabilities()
    if (np.abs(probabilities.sum(1) - 1) > SAME).any():
        raise UserError("fill: ranks are no probabilities; set ensemble.vote to soft or geometric, then `dvc repro`")
    return probabilities


def _note(sample: Table, before: "pd.Series[str]", after: pd.Series, task: Task) -> str:
    """What is odd about a column's own values; empty where nothing is."""
    values = before[before != ""].unique()
    if not len(values) or set(values) & {*map(str, after), *task.class_names}:
        return ""
    hint = "; where the contest wants a probability, say whose by --probability-of" if task.classes == 2 else ""
    own = shown(str(after.iat[0]))
    return (
        f"{sample.path}: {shown(str(before.name))} has {shown(values[0])}, which is no class here; {own} is one{hint}"
    )
