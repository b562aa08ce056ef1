"""A photo's file in a table: a column, or columns put into a pattern."""

import pandas as pd
import pytest

from stages.data import file_pattern

TABLE = pd.DataFrame({"id": ["7", "", "a b"], "place": ["x", "y", "é"], "{id}": ["one", "two", "three"]})


@pytest.mark.parametrize(
    ("told", "columns", "files"),
    [
        ("place", ("place",), ["x", "y", "é"]),
        ("{id}.png", ("id",), ["7.png", "", "a b.png"]),
        ("in/{place}/{id}-{id}.jpg", ("place", "id"), ["in/x/7-7.jpg", "", "in/é/a b-a b.jpg"]),
        ("{place}{id}", ("place", "id"), ["x7", "", "éa b"]),
        ("{id}", ("{id}",), ["one", "two", "three"]),
    ],
    ids=["a column", "a pattern", "one column twice", "no text between", "a column called like a pattern"],
)
def test_a_row_makes_its_file(told: str, columns: tuple[str, ...], files: list[str]) -> None:
    assert file_pattern.columns(told, TABLE.columns) == columns
    assert file_pattern.filled(told, TABLE[list(columns)]).tolist() == files


@pytest.mark.parametrize("told", ["file", "{", "}{", "{}", "a{b", "a}b"])
def test_what_has_no_column_in_braces_is_a_column_itself(told: str) -> None:
    assert not file_pattern.is_pattern(told)
    assert file_pattern.columns(told, ()) == (told,)
