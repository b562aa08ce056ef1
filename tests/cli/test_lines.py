"""Tables and paragraphs at any width."""

import io
import os
import pty
import re
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from cli import lines
from cli.lines import Column, Lines, Table, labelled, paragraph, table

COLUMNS = [Column("run"), Column("macro F1", "number"), Column("95 % interval", "number"), Column("verdict")]
ROW = ("an_experiment_whose_name_has_40_letters_", "0.4687", "-0.0123 to +0.0456", "no evidence")


def text(found: Lines) -> list[str]:
    return [line for line, _ in found]


def test_a_row_is_a_line_where_it_fits_and_a_block_where_not() -> None:
    assert text(table(Table(COLUMNS, [ROW]), 84)) == [
        "run                                       macro F1       95 % interval  verdict",
        "an_experiment_whose_name_has_40_letters_    0.4687  -0.0123 to +0.0456  no evidence",
    ]
    assert text(table(Table(COLUMNS, [ROW]), 80)) == [
        "run                                       verdict",
        "  macro F1       95 % interval",
        "an_experiment_whose_name_has_40_letters_  no evidence",
        "    0.4687  -0.0123 to +0.0456",
    ]


def test_numbers_that_do_not_fit_side_by_side_follow_their_names() -> None:
    columns = [Column("loss"), *(Column(name, "number") for name in ("macro F1", "difference", "interval"))]
    assert text(table(Table(columns, [("ce", "0.4687", "", "-0.0123 to +0.0456")], "Heads"), 30)) == [
        "Heads",
        "loss",
        "ce",
        "  macro F1 0.4687",
        "  interval -0.0123 to +0.0456",
    ]


def test_prose_is_wrapped_beside_its_row_or_below_it() -> None:
    columns = [Column("what"), Column("found", "prose")]
    rows = [("memory", "734 MB of 25.3 GB at the real batch"), ("data", "")]
    assert text(table(Table(columns, rows), 32)) == [
        "what    found",
        "memory  734 MB of 25.3 GB at the",
        "        real batch",
        "data",
    ]
    path = "data/train/images/000001/mask2.jpg"
    faults = Table([Column("where"), Column("problem", "prose")], [(path, "is empty (zero bytes)")])
    assert text(table(faults, 40)) == ["where", path, "  problem  is empty (zero bytes)"]


def test_a_korean_letter_takes_two_columns() -> None:
    shown = text(table(Table([Column("run"), Column("f1", "number")], [("마스크", "0.1"), ("ce", "0.2")]), 80))
    assert shown == ["run      f1", "마스크  0.1", "ce      0.2"]
    assert all(cell_len(line) <= 12 for line in paragraph("마스크를 쓴 사람이 많다", 12))


def test_paths_commands_and_shares_are_never_broken() -> None:
    told = "run `dvc fetch --all-commits` or look at out/oof-ensemble/metrics.json (95 % interval)"
    for width in range(20, 100):
        found = "\n".join(paragraph(told, width))
        for whole in ("`dvc fetch --all-commits`", "out/oof-ensemble/metrics.json", "(95 %"):
            assert whole in found
    assert paragraph("short,  as it is", 80) == ["short,  as it is"]
    assert labelled("a label longer than its room", "text that goes on and on and on", 60)[0].startswith(
        "a label longer"
    )


names = st.text("ab cd한", min_size=1, max_size=12).map(lambda word: "".join(word.split()) or "x")
numbers = st.floats(-9, 9).map(lambda value: f"{value:+.4f}")


@given(st.lists(st.tuples(names, numbers, numbers, names), min_size=1, max_size=4), st.integers(24, 120))
def test_no_line_is_too_wide_and_no_number_is_cut(rows: list[tuple[str, str, str, str]], width: int) -> None:
    columns = [Column("n"), Column("one", "number"), Column("two", "number"), Column("prose", "prose")]
    shown = text(table(Table(columns, rows), width))
    assert max(map(cell_len, shown)) <= width
    found = re.findall(r"[+-]\d\.\d{4}", "\n".join(shown))
    assert found == [number for row in rows for number in row[1:3]]


@pytest.mark.parametrize(("columns", "expected"), [("", 80), ("60", 60), ("wide", 80), ("0", 80)])
def test_the_width_is_that_of_columns_or_80_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str, expected: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert lines.width(io.StringIO()) == expected


def terminal(columns: int) -> IO[str]:
    import fcntl
    import struct
    import termios

    _, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return os.fdopen(there, "w")


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_the_width_of_a_terminal_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for columns, expected in ((60, 60), (120, 120), (0, 80)):
        with terminal(columns) as stream:
            assert lines.width(stream) == expected


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_verdicts_have_colours_on_a_terminal_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    shown = table(Table([Column("run"), Column("f1", "number")], [("[b]", "0.1")], styles=["better"]), 80)
    lines.show(shown, Console(file=stream, force_terminal=True))
    assert ("\x1b[32m" in stream.getvalue()) is coloured
    assert "[b]  0.1" in stream.getvalue()  # no markup
    piped = io.StringIO()
    lines.show(shown, Console(file=piped))
    assert piped.getvalue() == "run   f1\n[b]  0.1\n"
