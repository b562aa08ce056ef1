"""How stages speak to the person who runs them, without knowing about terminals."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


def _silent(line: str) -> None:
    return None


def _plain(items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
    return iter(items)


def _no_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    return None


def rate(items_a_second: float, items: str = "") -> str:
    """A speed in words, which is never 0: 57/s, 57 photos/s, 3.0 s each."""
    if items_a_second >= 1:
        return f"{items_a_second:.{0 if items_a_second >= 10 else 1}f}{items and f' {items}'}/s"
    return f"{1 / items_a_second:.1f} s each" if items_a_second > 0 else ""


class Track(Protocol):
    """Wraps a loop over `items` in a progress display, which begins at `done` of `total`."""

    def __call__(self, items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Talk:
    """`say` prints one line; `track(items, total, label, done=0)` wraps a loop in a progress display; `table(title, columns,
    rows)` prints a table. Silent by default."""

    say: Callable[[str], None] = _silent
    track: Track = _plain
    table: Callable[[str, Sequence[str], Sequence[Sequence[str]]], None] = _no_table


SILENT = Talk()
