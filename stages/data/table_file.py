"""A table that a person brings, CSV or parquet: some of its columns as text, each row with its number in the file."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.data import csv_rows
from stages.data.csv_rows import CONTROL, CONTROLLED, Fault

PARQUET = (".parquet", ".pq")
MOST_INT64 = 2.0**63


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
    names = csv_rows.header(path, text, separator)
    if isinstance(names, Fault):
        raise UserError(str(names))
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
        return _of_parquet(table, table.content, wanted)
    found: list[list[str]] = [[] for _ in wanted]
    numbers: list[int] = []
    faults: list[Fault] = []
    for line, row, fault in csv_rows.walk(table.path, table.content, wanted, table.separator):
        if fault:
            faults.append(fault)
            continue
        numbers.append(line)
        for column, value in zip(found, row, strict=True):
            column.append(value)
    data = dict(zip(wanted, found, strict=True))
    return pd.DataFrame(data, index=numbers, dtype=object), faults


def _separator(text: str) -> str:
    """Comma, semicolon or tab: the one that parts the header into most columns."""
    header = text.partition("\n")[0]
    return max(csv_rows.SEPARATORS, key=lambda sign: header.count(sign))


def _open_parquet(path: Path, key: str) -> Table:
    if not path.is_file():
        raise UserError(f"{path}: not found; name the table by {key} in params.yaml")
    if find_spec("pyarrow") is None:
        raise UserError(f"{path}: reading parquet needs pyarrow; `pip install pyarrow`, or save the table as CSV")
    try:
        # As pandas' nullable types: else whole numbers beside a gap are floats, and two ids above 2**53 may become one.
        frame = pd.read_parquet(path, dtype_backend="numpy_nullable")
    except ImportError:
        raise UserError(
            f"{path}: the pyarrow that is installed is too old for this pandas or numpy; `pip install --upgrade pyarrow`, or "
            "save the table as CSV"
        ) from None
    except Exception as error:  # pyarrow raises kinds of its own
        raise UserError(
            f"{path}: is not a parquet file that can be read ({type(error).__name__}); write it anew"
        ) from None
    return Table(path, [str(name) for name in frame.columns], frame.set_axis([str(n) for n in frame.columns], axis=1))


def _of_parquet(table: Table, frame: pd.DataFrame, wanted: Sequence[str]) -> tuple[pd.DataFrame, list[Fault]]:
    """Columns as text, rows counted from 1; whole numbers without a point, though a column with gaps may hold floats; numbers of
    32 bits with the digits that such have: 0.7, not 0.699999988, which a bin at 0.7 would part from it."""
    found = {}
    for name in wanted:
        column = frame[name]
        fractions = pd.api.types.is_float_dtype(column)
        if fractions:
            numbers = column.dropna().astype(float)
            if ((numbers % 1 == 0) & (numbers.abs() < MOST_INT64)).all():
                column, fractions = column.astype("Int64"), False
        text = (column.astype(str) if fractions else column.astype(object)).where(column.notna(), "")
        found[name] = [_text(value) for value in text]
    rows = pd.DataFrame(found, index=range(1, len(frame) + 1), dtype=object)
    faulty = np.array([bool(CONTROL.search("".join(row))) for row in rows.to_numpy()], bool)
    return rows[~faulty], [Fault(table.where(number), *CONTROLLED) for number in rows.index[faulty]]


def _text(value: object) -> str:
    """A value as text; bytes, as which some programs write strings, are decoded where they are UTF-8."""
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            value = value.decode()
    return str(value).strip()
