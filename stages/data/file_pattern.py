"""What tells a photo's file in a table: a column, or a pattern over columns, as `train_images/{id_code}.png`."""

import re
from collections.abc import Collection

import pandas as pd

_COLUMN = re.compile(r"\{([^{}]+)\}")


def is_pattern(told: str) -> bool:
    return _COLUMN.search(told) is not None


def columns(told: str, names: Collection[str]) -> tuple[str, ...]:
    """The columns that are read for it, each once. names: the table's own; one that is called like a pattern is a column."""
    return (told,) if told in names or not is_pattern(told) else tuple(dict.fromkeys(_COLUMN.findall(told)))


def lacking(told: str, names: Collection[str]) -> str | None:
    """The first of its columns that the table has not; None: all are there."""
    return next((column for column in columns(told, names) if column not in names), None)


def filled(told: str, table: pd.DataFrame) -> "pd.Series[str]":
    """The files of all rows, text [N], from a table of text with the pattern's columns; "" where one of these is empty."""
    if told in table:
        return table[told]
    parts = _COLUMN.split(told)  # text, column, text, column, ..., text
    files = pd.Series(parts[0], index=table.index, dtype=object)
    for column, text in zip(parts[1::2], parts[2::2], strict=True):
        files = files + table[column] + text
    return files.mask((table[list(columns(told, ()))] == "").any(axis=1), "")
