"""A table that a person brings, CSV or parquet: some of its columns as text, each row with its number in the file."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from stages.base.errors import UserError
from stages.data import csv_rows
from stages.data.csv_rows import Fault

SEPARATORS = (",", ";", "\t")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Table:
    """A table whose header has been read."""

    path: Path
    names: list[str]  # of its columns
    content: str | pd.DataFrame  # a CSV's text, or a parquet's columns
    separator: str = ","

    def where(self, number: int) -> str:
        """How messages name a row."""
        return f"{self.path} {'line' if isinstance(self.content, str) else 'row'} {number}"


def open_table(path: Path, key: str) -> Table:
    """Read a table's header. Raises UserError; `key` of params.yaml names the file."""
    if path.suffix.lower() in PARQUET:
        return _open_parquet(path, key)
    text = csv_rows.text_of(path)
    if isinstance(text, Fault):
        if text.problem == "not found":
            raise UserError(f"{path}: not found; name the table by {key} in params.yaml")
        raise UserError(str(text))
    separator = _separator(text)
    names = [name.strip() for name in _header(text, separator)]
    if not any(names):
        raise UserError(f"{path}: is empty; it must begin with a line of column names")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise UserError(f"{path} line 1: the column `{twice}` stands twice; give each column a name of its own")
    return Table(path, names, text, separator)


def columns(table: Table, wanted: Sequence[str]) -> tuple[pd.DataFrame, list[Fault]]:
    """The wanted columns, text without blanks around it ("" where there is none), by the number of the row in the file; and
    which rows cannot be read. Rows without any value are passed over.
    """
    if not isinstance(table.content, str):
        return _of_parquet(table.content, wanted), []
    places, width = [table.names.index(name) for name in wanted], len(table.names)
    found: list[list[str]] = [[] for _ in wanted]
    numbers: list[int] = []
    faults: list[Fault] = []
    suspicious = CONTROL.search(table.content) is not None
    line = 1
    try:
        for line, end, values in _rows(table.content, table.separator):
            if line == 1 or not any(values):
                continue
            fault = None
            if suspicious or end > line or len(values) != width:
                values, fault = _checked(table.where(line), values, width, end > line)
            if fault:
                faults.append(fault)
                continue
            row = [values[place].strip() for place in places]
            if any(row) or any(value.strip() for value in values):
                numbers.append(line)
                for column, value in zip(found, row, strict=True):
                    column.append(value)
    except csv.Error as error:
        mend = "mend the row; look for a quote that is not closed"
        faults.append(Fault(table.where(line + 1), f"is not valid CSV ({error})", mend))
    data = dict(zip(wanted, found, strict=True))
    return pd.DataFrame(data, index=numbers, dtype=object), faults


def _header(text: str, separator: str) -> list[str]:
    try:
        return next(_rows(text, separator), (1, 1, []))[2]
    except csv.Error:
        return []


def _rows(text: str, separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """Rows of a CSV with the lines where each begins and ends. Raises csv.Error."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    for values in reader:
        yield line, reader.line_num, values
        line = reader.line_num + 1


def _checked(where: str, values: list[str], width: int, spread: bool) -> tuple[list[str], Fault | None]:
    """A row without empty values beyond the header's, or what is wrong with it."""
    while len(values) > width and not values[-1].strip():
        values = values[:-1]
    if spread:
        return values, Fault(where, "a quoted value goes on over the end of the line", "close the quote")
    if len(values) != width and any(value.strip() for value in values):
        problem = f"{len(values)} values where the header has {width}"
        return values, Fault(where, problem, "mend the row (quote values that hold the separator)")
    if any(CONTROL.search(value) for value in values):
        return values, Fault(where, "holds a control character", "write the row anew")
    return values + [""] * (width - len(values)), None


def _separator(text: str) -> str:
    """Comma, semicolon or tab: the one that parts the header into most columns."""
    header = text.partition("\n")[0]
    return max(SEPARATORS, key=lambda sign: header.count(sign))


def _open_parquet(path: Path, key: str) -> Table:
    if not path.is_file():
        raise UserError(f"{path}: not found; name the table by {key} in params.yaml")
    if find_spec("pyarrow") is None:
        raise UserError(f"{path}: reading parquet needs pyarrow; `pip install pyarrow`, or save the table as CSV")
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises kinds of its own
        raise UserError(
            f"{path}: is not a parquet file that can be read ({type(error).__name__}); write it anew"
        ) from None
    return Table(path, [str(name) for name in frame.columns], frame.set_axis([str(n) for n in frame.columns], axis=1))


def _of_parquet(frame: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Columns as text, rows counted from 1; whole numbers without a point, though a column with gaps holds floats."""
    found = {}
    for name in wanted:
        column = frame[name]
        if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
            column = column.astype("Int64")
        text = column.astype(object).where(column.notna(), "")
        found[name] = [str(value).strip() for value in text]
    return pd.DataFrame(found, index=range(1, len(frame) + 1), dtype=object)
