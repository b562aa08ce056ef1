"""Progress and talk on stderr (a bar with rate and ETA on a terminal, plain lines elsewhere), answers on stdout."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from cli import lines
from stages.base.talk import Talk, rate

PLAIN_EVERY = 10.0  # seconds between plain progress lines


class Heard:
    """A stream whose reader may go away, as a terminal does when its connection is lost: then nothing is written any more,
    and work that is told of there goes on.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        return Text(rate(task.speed) if task.speed else "", style="dim")


def talk() -> Talk:
    """A Talk to stderr, so that stdout carries results alone."""
    stream = cast(IO[str], Heard(sys.stderr))
    # A bar that is running moves out of the way of what is printed through its own console alone.
    console = Console(file=stream)

    def say(line: str) -> None:
        lines.show(lines.paragraph(line, lines.width(stream)), console)

    def track(items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
        if console.is_terminal:
            return _bar(console, items, total, label, done)
        return _lines(say, items, total, label, done)

    def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        kinds = [lines.Column(columns[0]), *(lines.Column(name, "prose") for name in columns[1:])]
        lines.show(lines.table(lines.Table(kinds, rows, title), lines.width(stream)), console)

    return Talk(say, track, table)


def answer(made: Callable[[int], lines.Lines]) -> None:
    """Print what `made` says for the width of stdout."""
    lines.show(made(lines.width(sys.stdout)), Console(file=sys.stdout))


def _bar(console: Console, items: Iterable[Any], total: int, label: str, done: int) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=max(5, min(40, console.width - 60))),
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
