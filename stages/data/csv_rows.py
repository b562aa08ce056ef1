"""The tables that a person brings: CSV files read so that whatever is wrong with them is named by line."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

NOT_FOUND = (
    "put the contest's data set there, or let `maskcli init` see which layout your photos have (contest, folder, table)"
)
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # a quoted value may hold the tabs that separate values
CONTROLLED = ("holds a control character", "write the row anew")  # problem and mend of such a row
LONGEST = 80  # characters of a value that a message shows


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the data set: where, what, and how to mend it. `group` is left out by data.on_fault: skip."""

    where: str
    problem: str
    mend: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.mend}"


def normal(name: str) -> str:
    """A name in the normal form that names are compared in (NFC)."""
    return unicodedata.normalize("NFC", name)


def printable(text: str) -> str:
    """Text fit for a terminal and a table: control characters and what is not Unicode are escaped."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def shown(value: str) -> str:
    """A value as messages quote it, shortened."""
    return f"`{printable(value[:LONGEST])}{'...' if len(value) > LONGEST else ''}`"


def read(path: Path, columns: tuple[str, ...]) -> tuple[list[tuple[int, dict[str, str]]], list[Fault]]:
    """Rows of a CSV with commas by `columns`, with their line numbers; and what is wrong with it. Other columns may be there."""
    text = text_of(path)
    names = text if isinstance(text, Fault) else header(path, text)
    problem = names if isinstance(names, Fault) else header_fault(path, names, columns)
    if problem or isinstance(text, Fault):
        return [], [problem] if problem else []
    rows: list[tuple[int, dict[str, str]]] = []
    faults: list[Fault] = []
    for line, values, fault in walk(path, text, columns):
        row = dict(zip(columns, values, strict=True))
        if fault:
            faults.append(replace(fault, group=normal(printable(row.get("id", "")))))
        else:
            rows.append((line, row))
    if not rows and not faults:
        faults.append(Fault(str(path), "has a header but no rows", "add the rows"))
    return rows, faults


def header(path: Path, text: str, separator: str = ",") -> list[str] | Fault:
    """Names of a CSV's columns, or why they cannot be read."""
    try:
        return [name.strip() for name in next(_reader(text, separator), [])]
    except csv.Error as error:
        return _broken(path, 1, error)


def walk(
    path: Path, text: str, columns: Sequence[str], separator: str = ","
) -> Iterator[tuple[int, list[str], Fault | None]]:
    """Rows of a CSV below its header: the line on which each begins, its values in `columns`, without blanks around them, and
    what is wrong with it. Rows without any value, which spreadsheets leave at the end, are passed over.
    """
    reader = _reader(text, separator)
    names = [name.strip() for name in next(reader)]
    places = [names.index(column) for column in columns]
    line = reader.line_num + 1  # where the row begins; reader.line_num is where it ends
    try:
        for values in reader:
            while len(values) > len(names) and not values[-1].strip():
                values.pop()
            row = [values[place].strip() if place < len(values) else "" for place in places]
            if any(row) or any(value.strip() for value in values):
                problem = ("", "")
                if reader.line_num > line:
                    problem = "a quoted value goes on over the end of the line", "close the quote"
                elif len(values) != len(names):
                    mend = f"mend the row (quote values that hold {SEPARATORS[separator]})"
                    problem = f"{len(values)} values where the header has {len(names)}", mend
                elif CONTROL.search("".join(row)):
                    problem = CONTROLLED
                yield line, row, Fault(f"{path} line {line}", *problem) if problem[0] else None
            line = reader.line_num + 1
    except csv.Error as error:
        yield line, [""] * len(columns), _broken(path, line, error)


def _reader(text: str, separator: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _broken(path: Path, line: int, error: csv.Error) -> Fault:
    mend = "mend the row; look for a quote that is not closed"
    return Fault(f"{path} line {line}", f"is not valid CSV ({error})", mend)


def text_of(path: Path) -> str | Fault:
    """The text of a table, with or without a byte order mark; or why it cannot be read."""
    content = content_of(path)
    return content if isinstance(content, Fault) else decoded(path, content)


def content_of(path: Path) -> bytes | Fault:
    """The bytes of a table; or why it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return Fault(str(path), "not found", NOT_FOUND)
    except OSError as error:
        return Fault(str(path), f"cannot be read ({error.strerror})", "check that it is a readable file")


def decoded(path: Path, content: bytes) -> str | Fault:
    """The text that a table's bytes are; or where they are none."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        mend = "save the table as UTF-8 (in Excel `CSV UTF-8`; Korean Excel writes cp949 otherwise)"
        return Fault(f"{path} line {line}", "is not UTF-8 text", mend)


def header_fault(path: Path, names: list[str], columns: tuple[str, ...]) -> Fault | None:
    """What is wrong with a table's header, where it must have these columns."""
    header = ",".join(columns)
    if not any(names):
        return Fault(str(path), "is empty", f"it must begin with the line {header}")
    missing = [name for name in columns if name not in names]
    if missing:
        mend = f"the header must be {header}"
        other = next((sign for sign in SEPARATORS if len(names) == 1 and sign in names[0]), None)
        if other:
            mend = f"separate the columns by commas, not by {SEPARATORS[other]}"
        return Fault(f"{path} line 1", f"column `{missing[0]}` is missing", mend)
    if any(name and names.count(name) > 1 for name in names):
        return Fault(f"{path} line 1", "a column stands twice", f"the header must be {header}")
    return None
