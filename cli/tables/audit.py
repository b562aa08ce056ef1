"""What people read on stdout of audit."""

import math
from pathlib import PurePosixPath
from typing import Any

from cli.lines import Column, Lines, Table, described, plain, table
from stages.base import paths
from stages.by_hand.audit import in_words

PAIRS = 6  # of noise shown
HARDLY = "?"  # beside a share of two levels that the models cannot tell apart
_OF_MARK = f"{HARDLY}: the models hardly tell these two apart, so the share says more of them than of the labels"


def audit(found: dict[str, Any], first: int, width: int) -> Lines:
    """How many labels are likely wrong, how far to trust the list, the first suspects, and the noise of pairs of levels."""
    lines = plain([in_words(found), *_precision(found)], width)
    shown = found["suspects"][:first]
    if shown:
        title = f"Suspects: the first {len(shown)} of {found['listed']}, the likeliest wrong first"
        cells = [_suspect(row, several=len(found["axes"]) > 1) for row in shown]
        lines += [("", ""), *table(Table(_COLUMNS, cells, title), width)]
    if found["noise"]:
        noise = _noise(found)
        marked = any(row[3].endswith(HARDLY) for row in noise.rows)
        lines += [("", ""), *table(noise, width), *plain([_OF_MARK] * marked, width)]
    more = [("suspects", str(paths.SUSPECTS)), ("noise", str(paths.AUDIT_NOISE))]
    return [*lines, ("", ""), *described(more, width)]


_COLUMNS = [Column("whose"), Column("label"), Column("score", "number"), Column("why", "prose")]


def _precision(found: dict[str, Any]) -> list[str]:
    """The audit's own noise: how many of the first suspects are wrong, as estimated; and as decided, where people have looked."""
    parts = [
        f"{100 * one['precision_estimated']:.0f} % of the first {one['suspects']}"
        for one in found["first"]
        if one["suspects"]
    ]
    told = (
        [
            f"of the suspects, wrong as estimated (the mean score, of the same models, may read high or low): {', '.join(parts)}"
        ]
        if parts
        else []
    )
    if found["decided"]:
        share = found["corrected"] / found["decided"]
        told.append(
            f"decided in {paths.CORRECTIONS}: {found['decided']} of the listed ones, {found['corrected']} of them corrected "
            f"({share:.0%})"
        )
    return told


def _suspect(row: dict[str, Any], several: bool) -> tuple[str, ...]:
    """A suspect's row; a photo is named by its group and the name of its file, whose whole path is in suspects.csv.

    What the label says is not said again: its class's folder, and the axis's name unless there are several.
    """
    of_photo = row["id"] != row["group"] and row["id"] == row["photos"].split("|")[0]
    whose = (
        f"{row['group']} {PurePosixPath(row['id']).stem}" if of_photo else row["id"].removeprefix(f"{row['given']}/")
    )
    value = f" ({row['value']})" if row["value"] else ""
    told = [row["why"], *[row["decided"]] * bool(row["decided"]), *["ambiguous"] * bool(row["ambiguous"])]
    return (
        whose,
        f"{row['axis'] + ' ' if several else ''}{row['given']}{value} > {row['suggested']}",
        f"{row['score']:.2f}",
        "; ".join(told),
    )


def _noise(found: dict[str, Any]) -> Table:
    columns = [Column("axis"), Column("given"), Column("likely"), Column("share", "number")]
    columns += [Column("95 % interval", "number"), Column("of", "number")]
    rows = sorted(found["noise"], key=lambda row: -row["share"] * row["units"])[:PAIRS]
    cells = [
        (
            row["axis"],
            row["given"],
            row["likely"],
            f"{row['share']:.1%}{' ' if row['told_apart'] else HARDLY}",
            "" if math.isnan(row["share_low"]) else f"{row['share_low']:.1%} to {row['share_high']:.1%}",
            f"{row['units']} {found['axes'][row['axis']]['of']}",
        )
        for row in rows
    ]
    return Table(columns, cells, "Estimated noise: of the labels given, the share that is likely another")
