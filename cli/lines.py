"""Tables and paragraphs that fit the width they are given: numbers are never cut, words, paths and commands never broken.

A table that is too wide for one line a row becomes blocks: names and verdict on one line, the numbers below them.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Literal

from rich.cells import cell_len
from rich.console import Console

Kind = Literal["text", "number", "prose"]
Cells = Sequence[str]
Lines = list[tuple[str, str]]  # text, and its style in rich's words

USUAL = 80  # columns, where nobody says how many there are
NARROWEST = 24  # columns of prose beside other columns; with fewer it goes below them
GAP = "  "
STYLES = {"better": "green", "worse": "red", "base": "bold", "failed": "red", "warning": "yellow", "all": "bold"}
_WORD = re.compile(r"[^\s`]*`[^`]+`[^\s`]*|\S*\d %\S*|\S+")  # a command in backquotes is one word, so is 95 %


@dataclass(frozen=True)
class Column:
    """`text` is a name or one word, `number` stands to the right, `prose` may be wrapped at words."""

    name: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells as they are to be read; `styles` has a word of STYLES, or nothing, for each row."""

    columns: Sequence[Column]
    rows: Sequence[Cells]
    title: str = ""
    styles: Sequence[str] = ()


def width(stream: IO[str]) -> int:
    """Columns of a line: COLUMNS where it is set, else those of the terminal that `stream` writes to, elsewhere 80."""
    asked = os.environ.get("COLUMNS", "")
    columns = int(asked) if asked.isdecimal() else 0
    if not columns and stream.isatty():
        with suppress(OSError, ValueError):
            columns = os.get_terminal_size(stream.fileno()).columns
    return max(20, columns or USUAL)


def paragraph(text: str, width: int, indent: str = GAP) -> list[str]:
    """Lines of at most `width` columns, broken between words; all but the first begin with `indent`.

    A word or a command in backquotes that is wider than that stands alone on its line, whole.
    """
    if cell_len(text) <= width:
        return [text]
    lines, line = [], ""
    for word in _WORD.findall(text):
        if line.strip() and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(line)
            line = indent + word
        else:
            line += f" {word}" if line.strip() else word
    return [*lines, line]


def plain(texts: Iterable[str], width: int) -> Lines:
    """Paragraphs without a style, one after the other."""
    return [(line, "") for text in texts for line in paragraph(text, width)]


def labelled(label: str, text: str, width: int, size: int = 11) -> list[str]:
    """A label, padded to `size` columns, and a paragraph beside it that goes on below itself."""
    head = pad(label, size) + GAP
    wide = cell_len(head)
    if width - wide < NARROWEST:  # no room beside it
        return [label, *(GAP + line for line in paragraph(text, width - len(GAP), ""))]
    lines = paragraph(text, width - wide, "")
    return [(" " * wide if number else head) + line for number, line in enumerate(lines)]


def table(shown: Table, width: int) -> Lines:
    """Lines of a table with the style of each."""
    found: Lines = [(line, "italic") for line in paragraph(shown.title, width)] if shown.title else []
    sizes = _sizes(shown, range(len(shown.columns)))
    others = sum(sizes[:-1]) + len(GAP) * (len(sizes) - 1)
    if shown.columns[-1].kind == "prose":
        sizes[-1] = min(sizes[-1], max(width - others, NARROWEST))
    if others + sizes[-1] <= width:
        return found + _in_columns(shown, sizes)
    return found + _in_blocks(shown, width)


def show(lines: Iterable[str] | Lines, console: Console) -> None:
    """Print lines as they are, with their styles where the console is a terminal that shows them."""
    for line in lines:
        text, style = line if isinstance(line, tuple) else (line, "")
        console.print(text.rstrip(), style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)


def pad(text: str, size: int, kind: Kind = "text") -> str:
    """`text` filled up to `size` columns on the terminal, where one of a Korean syllable's letters takes two."""
    space = " " * max(0, size - cell_len(text))
    return space + text if kind == "number" else text + space


def _in_columns(shown: Table, sizes: list[int]) -> Lines:
    """A line a row, more only where the last cell is prose."""
    kinds = [column.kind for column in shown.columns]

    def line(cells: Cells) -> str:
        return GAP.join(pad(cell, size, kind) for cell, size, kind in zip(cells, sizes, kinds, strict=True)).rstrip()

    lines = [(line([column.name for column in shown.columns]), "bold")]
    for row, style in _rows(shown):
        last = paragraph(row[-1], sizes[-1], "") if kinds[-1] == "prose" else [row[-1]]
        lines.append((line([*row[:-1], last[0]]), style))
        lines += [(line([*[""] * (len(row) - 1), more]), style) for more in last[1:]]
    return lines


def _in_blocks(shown: Table, width: int) -> Lines:
    """A row's names side by side, then its numbers below them, then its prose, each with its column's name."""
    texts, numbers, proses = (
        [place for place, column in enumerate(shown.columns) if column.kind == kind]
        for kind in ("text", "number", "prose")
    )
    if not texts:  # what there is stands for the row's name
        texts, numbers, proses = (numbers[:1], numbers[1:], proses) if numbers else (proses[:1], [], proses[1:])
    names = [column.name for column in shown.columns]
    lines = [(line, "bold") for line in [*_names(shown, texts, names, width), *_numbers(shown, numbers, None, width)]]
    size = max([cell_len(names[place]) for place in proses], default=0) + len(GAP)
    for row, style in _rows(shown):
        found = [*_names(shown, texts, row, width), *_numbers(shown, numbers, row, width)]
        for place in proses:
            found += labelled(GAP + names[place], row[place], width, size) if row[place] else []
        lines += [(line, style) for line in found if line.strip()]
    return lines


def _names(shown: Table, places: list[int], cells: Cells, width: int) -> list[str]:
    """Text cells of a block, below each other over the blocks where they all fit."""
    sizes = _sizes(shown, places)
    if sum(sizes) + len(GAP) * (len(places) - 1) > width:
        return packed([cells[place] for place in places if cells[place]], width, "")
    return [GAP.join(pad(cells[place], size) for place, size in zip(places, sizes, strict=True)).rstrip()]


def _numbers(shown: Table, places: list[int], row: Cells | None, width: int) -> list[str]:
    """Numbers of a block below their columns' names (row: None), or each after its name where they do not fit so."""
    sizes, names = _sizes(shown, places), [column.name for column in shown.columns]
    if sum(sizes) + len(GAP) * len(places) <= width:
        cells = names if row is None else row
        padded = [pad(cells[place], size, "number") for place, size in zip(places, sizes, strict=True)]
        return [GAP + GAP.join(padded)] if places else []
    pairs = [f"{names[place]} {row[place]}" for place in places if row[place]] if row else []
    return packed(pairs, width, GAP)


def packed(parts: Sequence[str], width: int, indent: str) -> list[str]:
    """Parts side by side, as many as fit on a line; none is broken."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + len(GAP) + cell_len(part) <= width:
            lines[-1] += GAP + part
        else:
            lines.append(indent + part)
    return lines


def _sizes(shown: Table, places: Iterable[int]) -> list[int]:
    return [
        max([cell_len(shown.columns[place].name), *(cell_len(row[place]) for row in shown.rows)]) for place in places
    ]


def _rows(shown: Table) -> list[tuple[Cells, str]]:
    styles = [*shown.styles, *[""] * (len(shown.rows) - len(shown.styles))]
    return [(row, STYLES.get(style, "")) for row, style in zip(shown.rows, styles, strict=True)]


def duration(seconds: float) -> str:
    """Seconds in the unit that people would take."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def units(found: Mapping[str, Any]) -> str:
    """What a result counts beside photos, by the key that it has: people or groups; else photos."""
    return next((name for name in ("people", "groups") if name in found), "photos")


def counted(found: Mapping[str, Any]) -> str:
    """How many people, groups or photos a result is about."""
    return f"{found[units(found)]} {units(found)}"


def described(texts: Iterable[tuple[str, str]], width: int, style: str = "") -> Lines:
    """Labels and what is told of each; a label is written once for several texts in a row."""
    found: Lines = []
    before = None
    for label, text in texts:
        found += [(line, style) for line in labelled("" if label == before else label, text, width)]
        before = label
    return found


def next_steps(why: str, commands: list[str], width: int) -> Lines:
    """Commands to type, each whole on a line of its own, to be copied."""
    return [*described([("next", why)], width), *((GAP + command, "") for command in commands)]
