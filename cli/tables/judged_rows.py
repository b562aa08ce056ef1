"""Rows of scores against a base, with interval and verdict: what several tables share."""

from typing import Any

from cli.lines import Column, Lines, Table, plain, table
from stages.report.verdicts import SHORT, interval

ENDS = 10  # of many classes: so many commonest, and so many rarest
SHOWS_FROM = "shows from"
REACHED = "*"  # beside the smallest difference that would show, where the one that was seen is as large


def above(difference: float, detectable: float | None) -> str:
    """The smallest difference that would show, marked where the one that was seen is as large; empty where none can be told."""
    if detectable is None:
        return ""
    return f"{detectable:.3f}{REACHED if difference and abs(difference) >= detectable else ' '}"


def with_mark(shown: Table, width: int) -> Lines:
    """The lines of a table of differences, and what its mark says, where it has one."""
    place = [column.name for column in shown.columns].index(SHOWS_FROM)
    marked = any(row[place].endswith(REACHED) for row in shown.rows)
    return table(shown, width) + plain([f"{REACHED}: as large a difference as this was seen"] * marked, width)


def judged(title: str, head: str, key: str, rows: list[dict[str, Any]], width: int) -> Lines:
    """Rows of macro F1 against a base, named by their `key`."""
    numbers = ("macro F1", "change", "95 % interval", SHOWS_FROM)
    columns = [Column(head), *(Column(name, "number") for name in numbers), Column("verdict")]
    cells = [
        (
            row[key],
            f"{row['macro_f1']:.4f}",
            f"{row['difference']:+.3f}",
            interval(row["low"], row["high"]),
            above(row["difference"], row["detectable"]),
            SHORT.get(row["verdict"], row["verdict"]),
        )
        for row in rows
    ]
    return with_mark(Table(columns, cells, title, [row["verdict"] for row in rows]), width)
