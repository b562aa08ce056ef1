"""corrections.csv as a file: rows added by people and pages, cut off by crashes, and what they come to."""

import errno
import io
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base.errors import UserError
from stages.data import corrections
from stages.data.corrections import Row
from tests.conftest import ROOT, files_up_to

ROW = Row("p1", "gender", "male", "female", "ann", "2026-11-27T06:40:00Z", "7 of 7 photos look female (0.98)")
# What names of people, levels and files hold: no control characters, no blanks around, all of Unicode otherwise.
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).filter(
    lambda s: s == s.strip()
)
TALK = st.one_of(st.just(""), NAMES.filter(lambda text: '"' not in text))
ROWS = st.lists(st.builds(Row, NAMES, NAMES, NAMES, NAMES, TALK, TALK, TALK), max_size=4)


def path(tmp_path: Path) -> Path:
    return tmp_path / "corrections.csv"


def written(tmp_path: Path, *lines: str) -> Path:
    path(tmp_path).write_text("".join(f"{line}\n" for line in (corrections.HEADER, *lines)), encoding="utf-8")
    return path(tmp_path)


def test_a_row_is_a_line_that_a_person_can_read_and_write(tmp_path: Path) -> None:
    corrections.append([ROW, Row("a, b", "mask", "wear", "none", "", "")], path(tmp_path))
    assert path(tmp_path).read_bytes().decode().splitlines() == [
        "id,axis,old,new,who,when,why",
        'p1,gender,male,female,ann,2026-11-27T06:40:00Z,"7 of 7 photos look female (0.98)"',
        '"a, b",mask,wear,none,,,""',
    ]
    assert [row.line for row in corrections.read(path(tmp_path))] == [2, 3]


def test_no_file_and_an_empty_one_hold_no_rows(tmp_path: Path) -> None:
    assert corrections.read(path(tmp_path)) == []
    path(tmp_path).touch()
    assert corrections.read(path(tmp_path)) == []
    corrections.append([ROW], path(tmp_path))
    assert corrections.read(path(tmp_path)) == [ROW]


@given(ROWS, st.integers(0, 3), st.data())
@settings(max_examples=60)
def test_rows_are_read_back_equal_and_up_to_any_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], first: int, data: st.DataObject
) -> None:
    file = path(tmp_path_factory.mktemp("any"))
    corrections.append(rows[:first], file)
    corrections.append(rows[first:], file)
    assert corrections.read(file) == rows
    whole = file.read_bytes()
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    kept, faults, _ = corrections.look(file)
    assert kept == rows[: len(kept)]
    assert faults == []
    assert len(kept) >= file.read_bytes().count(b"\n") - 1
    corrections.append([ROW], file)
    assert corrections.read(file) == [*kept, ROW]


def test_what_a_crash_cut_off_is_told_and_goes_with_the_next_row(tmp_path: Path) -> None:
    corrections.append([ROW, ROW], path(tmp_path))
    with path(tmp_path).open("ab") as file:
        file.write(b"p2,gender,ma" + b"l" * 500)
    rows, faults, warnings = corrections.look(path(tmp_path))
    assert (rows, faults) == ([ROW, ROW], [])
    assert warnings == [
        f"{path(tmp_path)} line 4: the row is cut off (a crash?): left out; add it again, or delete the line"
    ]
    corrections.append([ROW], path(tmp_path))
    assert corrections.look(path(tmp_path)) == ([ROW] * 3, [], [])


def test_a_row_typed_without_the_end_of_its_line_is_kept(tmp_path: Path) -> None:
    path(tmp_path).write_text(f"{corrections.HEADER}\np2,gender,male,female,bob,2026-11-27,seen")
    typed = Row("p2", "gender", "male", "female", "bob", "2026-11-27", "seen")
    assert corrections.look(path(tmp_path)) == ([typed], [], [])
    corrections.append([ROW], path(tmp_path))
    assert corrections.read(path(tmp_path)) == [typed, ROW]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"id,axis,old,new\n", " line 1: column `who` is missing; the header must be id,axis,old,new,who,when,why"),
        (
            b"id;axis;old;new;who;when;why\n",
            " line 1: column `id` is missing; separate the columns by commas, not by semicolons",
        ),
        (
            b"id,axis,old,new,who,when,why\n\xc5,gender,male,female,,,\n",
            " line 2: is not UTF-8 text; save the table as UTF-8 (in Excel `CSV UTF-8`; Korean Excel writes cp949 otherwise)",
        ),
        (
            b'id,axis,old,new,who,when,why\n"p1"x,gender,male,female,,,\n',
            " line 2: is not valid CSV (',' expected after '\"'); mend the row; look for a quote that is not closed",
        ),
        (
            b"id,axis,old,new,who,when,why\np1,gender,male\np2,gender,male,female,,,\n",
            " line 2: 3 values where the header has 7; mend the row (quote values that hold commas)",
        ),
        (b"id,axis,old,new,who,when,why\np1,gender,,female,,,\n", " line 2: old is empty; mend the row"),
    ],
)
def test_what_is_no_table_of_corrections_is_told_by_line(tmp_path: Path, content: bytes, line: str) -> None:
    path(tmp_path).write_bytes(content)
    with pytest.raises(UserError) as error:
        corrections.read(path(tmp_path))
    assert str(error.value) == f"{path(tmp_path)}{line}"


def test_a_file_of_other_columns_is_not_added_to(tmp_path: Path) -> None:
    path(tmp_path).write_text("who,id,axis,old,new,when,why\n")
    with pytest.raises(
        UserError, match="line 1: the header is `who,id,axis,old,new,when,why`; rows can be added where"
    ):
        corrections.append([ROW], path(tmp_path))


@pytest.mark.parametrize("name", ["a\nb", " a", "a\ud800"])
def test_a_name_that_would_not_be_read_back_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"the id .* cannot be written in a row"):
        corrections.append([Row(name, "mask", "wear", "none", "", "")], path(tmp_path))
    assert not path(tmp_path).exists()


def test_what_is_said_becomes_one_line_without_double_quotes(tmp_path: Path) -> None:
    corrections.append([Row("p1", "mask", "wear", "none", 'ann "a" x', "", 'see\n"this"\ud800 ')], path(tmp_path))
    (row,) = corrections.read(path(tmp_path))
    assert (row.who, row.why) == ("ann 'a' x", "see 'this'?")


def _add_twenty(path: str, who: str) -> None:
    for number in range(20):
        corrections.append([Row(f"{who}{number}", "mask", "wear", "none", who, "")], Path(path))


def test_processes_that_add_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    each = [context.Process(target=_add_twenty, args=(str(path(tmp_path)), who)) for who in "abcd"]
    for one in each:
        one.start()
    for one in each:
        one.join()
    rows = corrections.read(path(tmp_path))
    for who in "abcd":
        assert [row.id for row in rows if row.who == who] == [f"{who}{number}" for number in range(20)]
    assert len(rows) == 80


def test_on_a_full_disk_the_file_stays_as_it_was(tmp_path: Path) -> None:
    corrections.append([ROW], path(tmp_path))
    before = path(tmp_path).read_bytes()
    with files_up_to(len(before) + 10), pytest.raises(UserError, match="cannot be written"):
        corrections.append([ROW], path(tmp_path))
    assert path(tmp_path).read_bytes() == before


class Filling(io.FileIO):
    """A file on a disk that takes ten bytes, is full, and has room again a moment later."""

    writes = 0

    def write(self, content: Any) -> int:
        self.writes += 1
        if self.writes == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(content[:10]) if self.writes == 1 else content)


def test_space_that_comes_free_again_leaves_no_half_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corrections.append([ROW], path(tmp_path))
    before = path(tmp_path).read_bytes()

    def opened(self: Path, mode: str, buffering: int = -1) -> Any:
        raw = Filling(self, mode.replace("b", ""))
        return raw if buffering == 0 else io.BufferedRandom(raw)

    with monkeypatch.context() as patch:
        patch.setattr(corrections.Path, "open", opened)
        with pytest.raises(OSError, match="No space left"):
            corrections._add(b'p2,gender,male,female,ann,,""\n', path(tmp_path))
    assert path(tmp_path).read_bytes() == before


def row(old: str, new: str, why: str = "", axis: str = "mask", who: str = "ann") -> Row:
    return Row("p1", axis, old, new, who, "", why)


CHANGED, KEPT = row("wear", "none"), row("wear", "wear")
TAKEN_BACK, KEPT_BACK = row("none", "wear", "undone"), row("wear", "wear", "undone")


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        ([CHANGED], CHANGED),
        ([KEPT], KEPT),
        ([CHANGED, TAKEN_BACK], None),
        ([KEPT, KEPT_BACK], None),
        ([CHANGED, row("none", "wear")], row("none", "wear")),
        ([KEPT, CHANGED, TAKEN_BACK], KEPT),
        ([CHANGED, row("wear", "none", who="bob")], CHANGED),
        ([CHANGED, row("wear", "none", who="bob"), TAKEN_BACK], None),
        ([TAKEN_BACK], None),
    ],
)
def test_the_last_decision_that_holds_stands_for_each_id_and_axis(rows: list[Row], holds: Row | None) -> None:
    other = row("male", "female", axis="gender")
    expected = {("p1", "gender"): other} | ({("p1", "mask"): holds} if holds else {})
    assert corrections.decided([other, *rows]) == expected


def test_an_id_is_found_in_its_normal_form() -> None:
    assert list(corrections.decided([Row("e\u0301", "mask", "wear", "none", "", "")])) == [("\u00e9", "mask")]


def test_the_rows_of_the_page_are_rows(tmp_path: Path) -> None:
    page = (ROOT / "docs/corrections.md").read_text(encoding="utf-8")
    example = page.split("```csv corrections.csv\n")[1].split("```")[0]
    found, faults, warnings = corrections.parsed(example.encode())
    assert (len(found), faults, warnings) == (4, [], [])
    corrections.append(found, path(tmp_path))
    assert corrections.read(path(tmp_path)) == found
