import datetime
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.base.errors import UserError
from stages.data import table_file


def read(path: Path, content: str, *wanted: str) -> tuple[dict[int, list[str]], list[str]]:
    path.write_text(content, encoding="utf-8")
    frame, faults = table_file.columns(table_file.open_table(path, "data.train"), wanted)
    rows = {int(number): list(row) for number, row in zip(frame.index, frame.to_numpy(), strict=True)}
    return rows, [str(fault).removeprefix(f"{path} ") for fault in faults]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_each_separator_is_found_and_quoted_values_may_hold_it(tmp_path: Path, separator: str) -> None:
    content = f'b{separator}a{separator}"x{separator}y"\n1{separator} 2 {separator}"3{separator}4"\n'
    rows, faults = read(tmp_path / "t.csv", content, "a", f"x{separator}y")
    assert (rows, faults) == ({2: ["2", f"3{separator}4"]}, [])


def test_a_header_with_commas_and_semicolons_is_split_by_what_parts_more(tmp_path: Path) -> None:
    rows, _ = read(tmp_path / "t.csv", "a;b (x, y);c\n1;2;3\n", "b (x, y)")
    assert rows == {2: ["2"]}


def test_rows_keep_their_lines_and_bad_ones_are_told(tmp_path: Path) -> None:
    content = 'a,b\n1,2\n\n , \n3\n4,5,6\n7,8,,\n9,"x\ny"\n10,\x00\n11,12\n'
    rows, faults = read(tmp_path / "t.csv", content, "a", "b")
    assert rows == {2: ["1", "2"], 7: ["7", "8"], 11: ["11", "12"]}
    assert [fault.partition(";")[0] for fault in faults] == [
        "line 5: 1 values where the header has 2",
        "line 6: 3 values where the header has 2",
        "line 8: a quoted value goes on over the end of the line",
        "line 10: holds a control character",
    ]


def test_a_quote_that_is_not_closed_is_told_by_its_line(tmp_path: Path) -> None:
    rows, faults = read(tmp_path / "t.csv", 'a,b\n1,2\n3,"4\n5,6\n', "a")
    assert rows == {2: ["1"]}
    assert faults[0].startswith("line 3: is not valid CSV (unexpected end of data); mend the row")


def test_a_header_whose_quote_is_not_closed_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t.csv line 1: is not valid CSV \(unexpected end of data\); mend the row"):
        read(tmp_path / "t.csv", 'a,"b\n1,2\n', "a")


def test_control_characters_count_in_the_columns_that_are_read(tmp_path: Path) -> None:
    rows, faults = read(tmp_path / "t.csv", "a,note\n1,it\x92s\n\x9b2J,x\n", "a")
    assert rows == {2: ["1"]}
    assert faults == ["line 3: holds a control character; write the row anew"]


def test_na_and_leading_zeros_stay_text(tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", "a,b\nNA,007\n,null\n", "a", "b")[0] == {2: ["NA", "007"], 3: ["", "null"]}


def test_parquet_is_read_where_pyarrow_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"x")
    monkeypatch.setattr(table_file, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"t.parquet: reading parquet needs pyarrow; `pip install pyarrow`, or save the table"
    ):
        table_file.open_table(path, "data.train")
    monkeypatch.setattr(table_file, "find_spec", lambda _: True)
    frame = pd.DataFrame(
        {"file": ["a", "b", "c"], "kind": [1.0, None, 3.0], "share": [0.5, 1, None], "name": ["x", None, "NA"]}
    )
    monkeypatch.setattr(pd, "read_parquet", lambda _, dtype_backend: frame)
    table = table_file.open_table(path, "data.train")
    assert table.where(2) == f"{path} row 2"
    found, faults = table_file.columns(table, ["kind", "share", "name"])
    assert faults == []
    assert found.to_numpy().tolist() == [["1", "0.5", "x"], ["", "1.0", ""], ["3", "", "NA"]]


def test_numbers_of_a_parquet_have_the_digits_of_their_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").touch()
    monkeypatch.setattr(table_file, "find_spec", lambda _: True)
    frame = pd.DataFrame(
        {"single": np.array([0.7, np.nan], np.float32), "double": [0.7, 0.1 + 0.2], "large": [1e300, 2.0]}
    )
    monkeypatch.setattr(pd, "read_parquet", lambda _, dtype_backend: frame)
    found, _ = table_file.columns(table_file.open_table(tmp_path / "t.parquet", "data.train"), list(frame))
    assert found.to_numpy().tolist() == [["0.7", "0.7", "1e+300"], ["", "0.30000000000000004", "2.0"]]


def test_whole_numbers_of_a_parquet_are_exact_beside_a_gap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read as floats, patients 2**60 + 1 and 2**60 + 2 would be one."""
    (tmp_path / "t.parquet").touch()
    monkeypatch.setattr(table_file, "find_spec", lambda _: True)
    ids = pd.DataFrame({"patient": pd.array([2**60 + 1, 2**60 + 2, None], dtype="Int64")})
    floats = {"numpy_nullable": ids}.get
    monkeypatch.setattr(pd, "read_parquet", lambda _, dtype_backend="": floats(dtype_backend, ids.astype(float)))
    found, _ = table_file.columns(table_file.open_table(tmp_path / "t.parquet", "data.train"), ["patient"])
    assert found["patient"].tolist() == ["1152921504606846977", "1152921504606846978", ""]


def test_text_of_a_parquet_is_held_to_what_a_csv_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.touch()
    monkeypatch.setattr(table_file, "find_spec", lambda _: True)
    frame = pd.DataFrame({"a": ["x", "x\ny", " z "], "b": [b"caf\xc3\xa9", b"c", b"\xff"]})
    monkeypatch.setattr(pd, "read_parquet", lambda _, dtype_backend: frame)
    found, faults = table_file.columns(table_file.open_table(path, "data.train"), ["a", "b"])
    assert [found.index.tolist(), found.to_numpy().tolist()] == [[1, 3], [["x", "café"], ["z", "b'\\xff'"]]]
    assert list(map(str, faults)) == [f"{path} row 2: holds a control character; write the row anew"]


def test_a_pyarrow_that_cannot_be_used_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def too_old(*_: object, **__: object) -> None:
        raise ImportError("Pandas requires version '13.0.0' or newer of 'pyarrow'")

    (tmp_path / "t.parquet").touch()
    monkeypatch.setattr(table_file, "find_spec", lambda _: True)
    monkeypatch.setattr(pd, "read_parquet", too_old)
    with pytest.raises(
        UserError, match=r"t.parquet: the pyarrow that is installed is too old for this pandas or numpy; `"
    ):
        table_file.open_table(tmp_path / "t.parquet", "data.train")


def test_a_parquet_of_each_type_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    given = {
        "text": pyarrow.array(["a", None]),
        "category": pyarrow.array(["a", None]).dictionary_encode(),
        "bytes": pyarrow.array([b"a", None]),
        "whole": pyarrow.array([2**60 + 1, None]),
        "unsigned": pyarrow.array([2**64 - 1, None], pyarrow.uint64()),
        "float": pyarrow.array([0.7, None], pyarrow.float32()),
        "whole float": pyarrow.array([7.0, None]),
        "bool": pyarrow.array([True, None]),
        "date": pyarrow.array([datetime.date(2026, 1, 2), None]),
        "decimal": pyarrow.array([decimal.Decimal("0.70"), None]),
        "nothing": pyarrow.nulls(2),
    }
    parquet.write_table(pyarrow.table(given), tmp_path / "t.parquet")
    found, faults = table_file.columns(table_file.open_table(tmp_path / "t.parquet", "data.train"), list(given))
    first = ["a", "a", "a", f"{2**60 + 1}", f"{2**64 - 1}", "0.7", "7", "True", "2026-01-02", "0.70", ""]
    assert (found.to_numpy().tolist(), faults) == ([first, [""] * len(given)], [])


def test_an_empty_parquet_has_its_columns(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"file": []}, dtype=str).to_parquet(tmp_path / "t.parquet")
    found, faults = table_file.columns(table_file.open_table(tmp_path / "t.parquet", "data.train"), ["file"])
    assert (list(found), len(found), faults) == (["file"], 0, [])


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match=r"t.parquet: is not a parquet file that can be read"):
        table_file.open_table(tmp_path / "t.parquet", "data.train")
