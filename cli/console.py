"""Progress and talk on stderr: a bar with rate and ETA on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from stages.talk import Talk, rate

PLAIN_EVERY = 10.0  # seconds between plain progress lines


class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        return Text(rate(task.speed) if task.speed else "", style="dim")


def talk() -> Talk:
    """A Talk to stderr, so that stdout carries results alone."""
    console = Console(stderr=True, highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    def track(items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
        if console.is_terminal:
            return _bar(console, items, total, label, done)
        return _lines(say, items, total, label, done)

    def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        shown = Table(title=escape(title), title_justify="left")
        for name in columns:
            shown.add_column(name, overflow="fold")
        for row in rows:
            shown.add_row(*map(escape, row))
        (console if console.is_terminal else Console(stderr=True, highlight=False, width=160)).print(shown)

    return Talk(say, track, table)


def _bar(console: Console, items: Iterable[Any], total: int, label: str, done: int) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, total, completed=done, description=label)


def _lines(say: Any, items: Iterable[Any], total: int, label: str, done: int) -> Iterator[Any]:
    began = told = time.monotonic()
    for number, item in enumerate(items, done + 1):
        yield item
        now = time.monotonic()
        if now - told >= PLAIN_EVERY:
            told = now
            speed = (number - done) / (now - began)
            say(f"{label}: {number}/{total}, {rate(speed)}, ETA {(total - number) / speed:.0f} s")
