"""Rows of scores against a base, with interval and verdict: what several tables share."""

from typing import Any

from cli.lines import Column, Table
from stages.report.verdicts import SHORT, interval

ENDS = 10  # of many classes: so many commonest, and so many rarest
REACHED = "*"  # beside the smallest difference that would show, where the one that was seen is as large


def above(difference: float, detectable: float | None) -> str:
    """The smallest difference that would show, marked where the one that was seen is as large; empty where none can be told."""
    if detectable is None:
        return ""
    return f"{detectable:.3f}{REACHED if difference and abs(difference) >= detectable else ' '}"


def judged(title: str, head: str, key: str, rows: list[dict[str, Any]]) -> Table:
    """Rows of macro F1 against a base, named by their `key`."""
    numbers = ("macro F1", "change", "95 % interval", "shows from")
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
    return Table(columns, cells, title, [row["verdict"] for row in rows])
