"""What the texts of `old` and `new` in corrections.csv say: a level by its name, a number, a photo there or removed."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd

from stages.base.errors import nearest
from stages.data import level_names
from stages.data.corrections import GROUP, PHOTO, REMOVED, THERE
from stages.data.csv_rows import shown
from stages.data.decision_chains import Meaning
from stages.data.task_and_classes import Axis, Task, number_text
from stages.params.data_and_axes import OLDEST

NUMBER = re.compile(f"(?:{level_names.NUMBER.pattern})(e[+-]?[0-9]+)?")  # with an exponent, as number_text may write it
LISTED = 8  # levels that a message names
DIGITS = 6  # significant ones of the largest number below a bin, where numbers are not whole


def names_group(axis: str, task: Task) -> bool:
    """Whether the ids of rows on an axis, on `group` or on `photo` are groups; else they are photos."""
    if axis in (GROUP, PHOTO):
        return axis == GROUP
    return task.unit != "photo" and any(one.name == axis and one.constant for one in task.axes)


def problem(text: str, axis: str, task: Task, photos: pd.DataFrame) -> tuple[str, str] | None:
    """What is wrong with a text as a value of the axis, and how to mend it; None where it is one. photos: as Found has them."""
    if axis == PHOTO:
        return (
            None
            if text in (THERE, REMOVED)
            else (f"{shown(text)} is nothing a photo is", f"write {THERE} or {REMOVED}")
        )
    own = task.axis(axis)
    if text in own.levels:
        return None
    listed = ", ".join([*own.levels[:LISTED], *["..."] * (len(own.levels) > LISTED)])
    if not own.numeric:
        return f"{shown(text)} is no level of {axis}{nearest(text, own.levels)}", f"the levels are {listed}"
    if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        return f"{shown(text)} is no number and no level of {axis}", f"write a number, or one of {listed}"
    if task.layout == "contest" and not (float(text).is_integer() and 0 <= float(text) <= OLDEST):
        return f"{axis} {shown(text)} is not a whole number from 0 to {OLDEST}", "mend the row"
    if _whole(photos[axis]) and not float(text).is_integer():
        return f"{axis} {shown(text)} is not a whole number, as all others are", "mend the row"
    return None


def meaning(axis: str, task: Task, photos: pd.DataFrame) -> Meaning[Any]:
    """How texts of the axis are read; values are as in photos.csv, those of `photo` whether it is removed."""
    if axis == PHOTO:
        return Meaning(lambda text, gone: (text == REMOVED) == gone, lambda text, _: text == REMOVED)
    own = task.axis(axis)
    if not own.numeric:
        return Meaning(lambda text, code: own.levels[code] == text, lambda text, _: own.levels.index(text))
    whole = _whole(photos[axis])

    def same(text: str, number: float) -> bool:
        if text in own.levels:
            return own.levels.index(text) == own.codes(np.array([number]))[0]
        return float(text) in (number, float(f"{number:.{DIGITS}g}"))  # as versions before 15 digits read it

    def meant(text: str, number: float) -> float:
        found = _nearest_in(own, text, number, whole) if text in own.levels else float(text)
        return int(found) if whole else float(number_text(found))

    return Meaning(same, meant)


def value_in_words(value: Any, axis: str, task: Task) -> str:
    if axis == PHOTO:
        return shown(REMOVED if value else THERE)
    own = task.axis(axis)
    return shown(number_text(value) if own.numeric else own.levels[value])


def _nearest_in(axis: Axis, level: str, number: float, whole: bool) -> float:
    """The value of a level that is nearest to a number: where the level begins, or the largest below where the next does."""
    code = axis.levels.index(level)
    ends = (-math.inf, *axis.bins, math.inf)
    low, high = ends[code], ends[code + 1]
    if number < low:
        return math.ceil(low) if whole else low
    if number < high:
        return number
    if whole:
        return math.ceil(high) - 1
    step = 10.0 ** (math.floor(math.log10(abs(high))) - DIGITS + 1) if high else 10.0**-DIGITS
    return max(low, high - step)  # a bin may be narrower than the step


def _whole(numbers: "pd.Series[Any]") -> bool:
    return pd.api.types.is_integer_dtype(numbers)
