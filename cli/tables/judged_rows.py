"""Rows of scores against a base, with interval and verdict: what several tables share."""

from typing import Any

from cli.lines import Column, Table
from stages.judge.paired_difference import TOO_FEW, UNDECIDED

SHORT = {UNDECIDED: "no evidence", TOO_FEW: "too few"}


ENDS = 10  # of many classes: so many commonest, and so many rarest


def interval(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}"


def judged(title: str, head: str, key: str, rows: list[dict[str, Any]]) -> Table:
    """Rows of macro F1 against a base, named by their `key`."""
    numbers = ("macro F1", "difference", "95 % interval", "p Holm")
    columns = [Column(head), *(Column(name, "number") for name in numbers), Column("verdict")]
    cells = [
        (
            row[key],
            f"{row['macro_f1']:.4f}",
            f"{row['difference']:+.4f}",
            interval(row["low"], row["high"]),
            f"{row['p_value']:.3f}",
            SHORT.get(row["verdict"], row["verdict"]),
        )
        for row in rows
    ]
    return Table(columns, cells, title, [row["verdict"] for row in rows])
