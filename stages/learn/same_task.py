"""Whether a model tells the classes that are asked for: weights keep their numbers, and another task gives these other names."""

from stages.base import paths
from stages.base.errors import UserError
from stages.data.task_and_classes import Axis, Task, number_text

NAMED = 4  # levels of an axis


def check(own: Task, wanted: Task, what: str) -> None:
    """Raise UserError where a model (`what`) was trained to tell other classes than those of out/prepare/task.json."""
    if own.hash == wanted.hash:
        return
    old, new = in_words(own, wanted)
    raise UserError(
        f"{what}: was trained for another task ({old}) than {paths.TASK} has ({new}); train the folds again (`dvc repro`), "
        "or take weights of this task"
    )


def in_words(a: Task, b: Task) -> tuple[str, str]:
    """What two tasks differ by: the names of their axes, else of the first axis that differs the levels from there on."""
    if [axis.name for axis in a.axes] != [axis.name for axis in b.axes]:
        return _axes(a), _axes(b)
    pairs = [(one, other) for one, other in zip(a.axes, b.axes, strict=True) if _cut(one) != _cut(other)]
    one, other = pairs[0]
    alike = [x == y for x, y in zip(one.levels, other.levels, strict=False)]
    first = alike.index(False) if False in alike else min(len(one.levels), len(other.levels))
    return _levels(one, first), _levels(other, first)


def _cut(axis: Axis) -> tuple[object, ...]:
    return axis.levels, axis.bins


def _axes(task: Task) -> str:
    return f"{' x '.join(axis.name for axis in task.axes)}, {task.classes} classes"


def _levels(axis: Axis, first: int) -> str:
    """An axis with the levels from the first that differs; its bins where all levels have the same names."""
    start = max(0, min(first, len(axis.levels) - 1) - 1)
    named = axis.levels[start : start + NAMED]
    before, after = ("..., " if start else ""), (", ..." if start + NAMED < len(axis.levels) else "")
    bins = f" cut at {', '.join(number_text(edge) for edge in axis.bins[:NAMED])}" if axis.bins else ""
    return f"{axis.name}{bins} with {len(axis.levels)} levels: {before}{', '.join(named)}{after}"
