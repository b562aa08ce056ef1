"""How stages speak to the person who runs them, without knowing about terminals."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


def _silent(line: str) -> None:
    return None


def _plain(items: Iterable[Any], total: int, label: str) -> Iterator[Any]:
    return iter(items)


def _no_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    return None


@dataclass(frozen=True)
class Talk:
    """`say` prints one line; `track(items, total, label)` wraps a loop in a progress display; `table(title, columns,
    rows)` prints a table. Silent by default."""

    say: Callable[[str], None] = _silent
    track: Callable[[Iterable[Any], int, str], Iterator[Any]] = _plain
    table: Callable[[str, Sequence[str], Sequence[Sequence[str]]], None] = _no_table


SILENT = Talk()
