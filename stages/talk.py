"""How stages speak to the person who runs them, without knowing about terminals."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


def _silent(line: str) -> None:
    return None


def _plain(items: Iterable[Any], total: int, label: str) -> Iterator[Any]:
    return iter(items)


@dataclass(frozen=True)
class Talk:
    """`say` prints one line; `track(items, total, label)` wraps a loop in a progress display. Silent by default."""

    say: Callable[[str], None] = _silent
    track: Callable[[Iterable[Any], int, str], Iterator[Any]] = _plain


SILENT = Talk()
