"""Which decisions of corrections.csv hold: the rows on one thing in the order of the file, and which groups are one by them.

Each row says what it found (`old`) and what it left (`new`), so that of two rows that contradict each other the later one is
seen not to fit. One that says the same again counts once, and one that takes the last back (`why` is `undone`) leaves what
stood before it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stages.data.corrections import Row
from stages.data.csv_rows import normal

Value = TypeVar("Value")


@dataclass(frozen=True)
class Step(Generic[Value]):
    """A decision that holds: what it found and what it left."""

    row: Row
    before: Value
    after: Value


@dataclass(frozen=True)
class Meaning(Generic[Value]):
    """What texts say: whether `old` means a value, and which value `new` means, given the one that stands."""

    same: Callable[[str, Value], bool]
    meant: Callable[[str, Value], Value]


TEXTS: Meaning[str] = Meaning(str.__eq__, lambda text, _: text)  # of values that are texts


def standing(
    chain: Iterable[Row], first: Value, of: Meaning[Value]
) -> tuple[list[Step[Value]], list[tuple[Row, Row | None]]]:
    """The decisions of one chain that hold, the last at the end; and rows that do not fit, each with the one it contradicts, if
    it is a row and not the data. first: the value in the data.
    """
    steps: list[Step[Value]] = []
    undone: Step[Value] | None = None  # by the row before
    wrong: list[tuple[Row, Row | None]] = []
    for row in chain:
        current = steps[-1].after if steps else first
        last = steps[-1].row if steps else None
        if row.undoes:
            if steps and _takes_back(row, steps[-1], of):
                undone = steps.pop()
            elif undone is None or not _takes_back(row, undone, of):
                wrong.append((row, last))
            continue
        undone = None
        if any(step.after == current and _says_again(row, step, of) for step in steps):
            continue
        if of.same(row.old, current):
            steps.append(Step(row, current, of.meant(row.new, current)))
        else:
            wrong.append((row, last))
    return steps, wrong


def _takes_back(row: Row, step: Step[Value], of: Meaning[Value]) -> bool:
    return of.same(row.old, step.after) and of.same(row.new, step.before)


def _says_again(row: Row, step: Step[Value], of: Meaning[Value]) -> bool:
    return of.same(row.old, step.before) and of.meant(row.new, step.before) == step.after


def joins(rows: Iterable[Row]) -> tuple[list[Row], list[tuple[Row, Row | None]]]:
    """The rows on groups that hold: each says that `id` and `new` are one, or, where both are the same, that it was looked at.

    And those that do not fit, as `standing` gives them: `old` is neither the group nor what it has been called since.
    """
    held: list[Row] = []
    of_name: dict[str, list[Row]] = {}  # the same
    undone: set[tuple[str, str, str]] = set()
    wrong: list[tuple[Row, Row | None]] = []
    for row in rows:
        name = normal(row.id)
        mine = of_name.setdefault(name, [])
        if row.undoes:
            taken = next((other for other in reversed(mine) if (other.old, other.new) == (row.new, row.old)), None)
            if taken is not None:
                held.remove(taken)
                mine.remove(taken)
                undone.add((name, row.old, row.new))
            elif (name, row.old, row.new) not in undone:
                wrong.append((row, mine[-1] if mine else None))
        elif not any((other.old, other.new) == (row.old, row.new) for other in mine):
            if normal(row.old) == name or normal(row.old) == names(held).get(name):
                held.append(row)
                mine.append(row)
            else:
                wrong.append((row, mine[-1] if mine else None))
    return held, wrong


def names(held: Sequence[Row]) -> dict[str, str]:
    """What each group that rows of `joins` made one with others is called: as the group that the last of them joined."""
    called: dict[str, str] = {}
    for row in held:
        one, other = (called.get(name, name) for name in (normal(row.id), normal(row.new)))
        if one != other:
            called = {name: other if now == one else now for name, now in called.items()}
            called |= {one: other, normal(row.id): other, normal(row.new): other, other: other}
    return called


def chains(rows: Iterable[Row], called: Mapping[str, str]) -> dict[tuple[str, str], list[Row]]:
    """Rows by id, in normal form and as `called` by now, and axis, in the order of the file."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        name = normal(row.id)
        found.setdefault((called.get(name, name), row.axis), []).append(row)
    return found
