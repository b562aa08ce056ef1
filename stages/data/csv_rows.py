"""The tables that a person brings: CSV files read so that whatever is wrong with them is named by line."""

import csv
import io
import unicodedata
from dataclasses import dataclass
from pathlib import Path

NOT_FOUND = (
    "put the contest's data set there, or let `maskcli init` see which layout your photos have (contest, folder, table)"
)
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
    """Rows of a CSV with their line numbers, and what is wrong with it. Values are text without blanks around it.

    Other columns than `columns` may be there. Rows without any value, which spreadsheets leave at the end, are passed over.
    """
    text = text_of(path)
    if isinstance(text, Fault):
        return [], [text]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    faults: list[Fault] = []
    line = 1  # where the row begins; reader.line_num is where it ends
    try:
        names = [name.strip() for name in next(reader, [])]
        problem = _header_fault(path, names, columns)
        if problem:
            return [], [problem]
        line = reader.line_num + 1
        for values in reader:
            _take(f"{path} line {line}", line, names, [value.strip() for value in values], rows, faults)
            line = reader.line_num + 1
    except csv.Error as error:
        mend = "mend the row; look for a quote that is not closed"
        faults.append(Fault(f"{path} line {line}", f"is not valid CSV ({error})", mend))
    if not rows and not faults:
        faults.append(Fault(str(path), "has a header but no rows", "add the rows"))
    return rows, faults


def text_of(path: Path) -> str | Fault:
    """The text of a table, with or without a byte order mark; or why it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Fault(str(path), "not found", NOT_FOUND)
    except OSError as error:
        return Fault(str(path), f"cannot be read ({error.strerror})", "check that it is a readable file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        mend = "save the table as UTF-8 (in Excel `CSV UTF-8`; Korean Excel writes cp949 otherwise)"
        return Fault(f"{path} line {line}", "is not UTF-8 text", mend)


def _header_fault(path: Path, names: list[str], columns: tuple[str, ...]) -> Fault | None:
    header = ",".join(columns)
    if not any(names):
        return Fault(str(path), "is empty", f"it must begin with the line {header}")
    missing = [name for name in columns if name not in names]
    if missing:
        mend = f"the header must be {header}"
        other = next((sign for sign in (";", "\t") if len(names) == 1 and sign in names[0]), None)
        if other:
            mend = f"separate the columns by commas, not by {'semicolons' if other == ';' else 'tabs'}"
        return Fault(f"{path} line 1", f"column `{missing[0]}` is missing", mend)
    if any(name and names.count(name) > 1 for name in names):
        return Fault(f"{path} line 1", "a column stands twice", f"the header must be {header}")
    return None


def _take(
    where: str,
    line: int,
    names: list[str],
    values: list[str],
    rows: list[tuple[int, dict[str, str]]],
    faults: list[Fault],
) -> None:
    """Add one row to `rows`, or what is wrong with it to `faults`."""
    if not any(values):
        return
    while len(values) > len(names) and not values[-1]:
        values = values[:-1]
    row = dict(zip(names, values, strict=False))
    person = normal(printable(row.get("id", "")))
    if len(values) != len(names):
        problem = f"{len(values)} values where the header has {len(names)}"
        faults.append(Fault(where, problem, "mend the row (quote values that hold commas)", person))
    elif any(unicodedata.category(character) == "Cc" for value in values for character in value):
        several = any(character in value for value in values for character in "\r\n")
        problem = "a quoted value goes on over the end of the line" if several else "holds a control character"
        faults.append(Fault(where, problem, "close the quote" if several else "write the row anew", person))
    else:
        rows.append((line, row))
