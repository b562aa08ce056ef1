"""Submissions: the one writer of answers, and their reader.

contest: ImageID, ans (class number). Other layouts: file, the level of each axis where there are several, label (the class's
name).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.base.files import write_csv
from stages.data.task_and_classes import Axis, Task

SHOWN = 8  # names that a line lists


def table(task: Task, images: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
    """The answers [N], class numbers, to the photos [N], in the columns of the task's layout."""
    if task.layout == "contest":
        return pd.DataFrame({"ImageID": images, "ans": answers})
    several = zip(task.axes, task.parts(answers), strict=True) if len(task.axes) > 1 else ()
    levels = {axis.name: np.array(axis.levels, object)[codes] for axis, codes in several}
    return pd.DataFrame({"file": images, **levels, "label": np.array(task.class_names, object)[answers]})


def write(path: Path, task: Task, images: np.ndarray, answers: np.ndarray) -> None:
    """Write a submission, one row a photo in the order given."""
    write_csv(path, table(task, images, answers))


def columns(task: Task) -> tuple[str, ...]:
    """Those that a submission, or a truth, must have."""
    if task.layout == "contest":
        return "ImageID", "ans"
    return ("file", *(axis.name for axis in task.axes)) if len(task.axes) > 1 else ("file", "label")


def read(path: Path, task: Task) -> pd.DataFrame:
    """A submission, or a truth in its form, by photo: `answer` (class number) beside its own columns as text.

    Raises UserError where columns are missing, a photo stands twice or an answer is no class of the task.
    """
    photo, *answered = columns(task)
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if any(name not in found for name in (photo, *answered)) or found[photo].duplicated().any():
            raise ValueError
    except ValueError:  # pandas' parser and decoding errors are too
        named = f"{', '.join((photo, *answered[:-1]))} and {answered[-1]}"
        raise UserError(f"{path}: must have the columns {named}, each {photo} once") from None
    return found.set_index(photo).assign(answer=_answers(path, task, found))


def _answers(path: Path, task: Task, found: pd.DataFrame) -> np.ndarray:
    """Class numbers [N] of a table of text."""
    if task.layout == "contest":
        numbers = pd.to_numeric(found["ans"], errors="coerce")
        if not pd.api.types.is_integer_dtype(numbers) or not numbers.between(0, task.classes - 1).all():
            raise UserError(f"{path}: ans must be whole numbers from 0 to {task.classes - 1}")
        return numbers.to_numpy(np.int64)
    if len(task.axes) == 1:
        return _codes(path, found["label"], task.class_names, "label")
    return task.numbers(tuple(_levels(path, found[axis.name], axis) for axis in task.axes))


def _levels(path: Path, told: "pd.Series[str]", axis: Axis) -> np.ndarray:
    """Codes of an axis from its levels' names, or from the numbers that its bins cut."""
    if axis.numeric:
        numbers = pd.to_numeric(told, errors="coerce")
        if numbers.notna().all():
            return axis.codes(numbers.to_numpy())
    return _codes(path, told, axis.levels, axis.name)


def _codes(path: Path, told: "pd.Series[str]", names: tuple[str, ...], column: str) -> np.ndarray:
    codes = pd.Index(names).get_indexer(pd.Index(told))
    if (codes < 0).any():
        place = int(np.flatnonzero(codes < 0)[0])
        known = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        raise UserError(f"{path} line {place + 2}: {column} `{told.iloc[place]}` is not known; write one of {known}")
    return np.asarray(codes, np.int64)
