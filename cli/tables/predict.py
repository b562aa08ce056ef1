"""What people read on stdout of predict."""

import math
from typing import Any

from cli.lines import Column, Lines, Table, described, plain, table

LISTED = 5  # classes that a line names


def predict(found: dict[str, Any], width: int) -> Lines:
    """What all photos came to, the answer to each where there is no file of them, and how far these can be trusted."""
    rows = found.get("rows", [])
    lines = plain([_headline(found, rows)], width)
    if len(rows) == 1:
        lines += described(_more(rows[0]), width)
    elif rows:
        lines += [("", ""), *table(_table(rows), width), ("", "")]
    return [*lines, *described(_trust(found), width)]


def _headline(found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    if len(rows) == 1:
        return _sole(rows[0])
    named = {"answered": "answered", "abstained": "left open as not sure enough", "unreadable": "not readable"}
    parts = [f"{found[key]} {words}" for key, words in named.items() if found[key] or key == "answered"]
    where = f"; all rows in {found['out']}" if found["out"] else ""
    return f"{_count(found['photos'], 'photo')}: {', '.join(parts)}{where}"


def _sole(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['file']}: {row['error']}"
    said = row["label"] or "no answer, not sure enough"
    return f"{row['file']}: {said}, probability {row['probability']:.3f}"


def _table(rows: list[dict[str, Any]]) -> Table:
    """A row a photo: its answer, and after it what else is known of it, or why there is none."""
    more = [row.get("error") or "; ".join(": ".join(pair) for pair in _more(row)) for row in rows]
    columns = [Column("photo"), Column("answer"), *([Column("more", "prose")] if any(more) else [])]
    cells = [(row["file"], _answer(row), *([text] if any(more) else [])) for row, text in zip(rows, more, strict=True)]
    return Table(columns, cells, styles=["failed" if "error" in row else "" for row in rows])


def _answer(row: dict[str, Any]) -> str:
    return "" if "error" in row else f"{row['label'] or 'not sure enough'}, {row['probability']:.3f}"


def _more(row: dict[str, Any]) -> list[tuple[str, str]]:
    """What a row has beside its answer, each with a name before it."""
    axes = [f"{axis} {told['probability']:.2f}" for axis, told in row.get("axes", {}).items()]
    top = [f"{told['label']} {told['probability']:.2f}" for told in row.get("top", [])]
    maps = [row["heat_map"]] if "heat_map" in row else []
    named = {"axes": axes, "top": top, "set": row.get("set", []), "heat map": maps}
    return [(name, ", ".join(parts)) for name, parts in named.items() if parts]


def _trust(found: dict[str, Any]) -> list[tuple[str, str]]:
    """How often answers and sets are right, and what else is to be known."""
    told = []
    if "abstain" in found:
        told.append(("abstaining", _abstaining(found["abstain"])))
    if "set" in found:
        told.append(("sets", _sets(found["set"], found["classes_in_a_set"])))
    if found["passed_over"]:
        told.append(("passed over", f"{_count(found['passed_over'], 'file')}, no photo by the name"))
    if found["already_answered"]:
        told.append(("went on", f"{found['already_answered']} of the answers were there already"))
    return told


def _abstaining(found: dict[str, Any]) -> str:
    if not found["photos"]:
        return f"no training photo has a probability of {found['least']:g} or more from models that had not seen it"
    return (
        f"of the training photos, by models that had not seen them, {_share(found, 'coverage')} get an answer at "
        f"{found['least']:g}, and {_share(found, 'accuracy')} of these are right; of all {_percent(found['accuracy_of_all'])}"
    )


def _sets(found: dict[str, Any], size: float | None) -> str:
    """How often sets hold the class, how large they are, and of which classes that is not known one by one."""
    told = (
        f"at {found['level']:g} they hold the class of {_share(found, 'held')} of the training photos, by thresholds from other "
        f"{found['units']}"
    )
    told += f"; here they have {size:.2f} classes on average" if size else ""
    for key, words in (("shared_threshold", "one threshold together"), ("threshold_of_all", "that of all photos")):
        if found[key]:
            more = len(found[key]) - LISTED
            names = ", ".join(found[key][:LISTED]) + (f" and {more} more" if more > 0 else "")
            promise = "not each" if key == "shared_threshold" else "no promise for these"
            have = f"{_count(len(found[key]), 'class', 'classes')} with fewer than {found['fewest']} {found['units']}"
            told += f"; {have} {'has' if len(found[key]) == 1 else 'have'} {words} ({promise}): {names}"
    return told


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _share(found: dict[str, Any], name: str) -> str:
    """A share with its 95 % interval, where there is one."""
    low, high = found[f"{name}_low"], found[f"{name}_high"]
    interval = "" if math.isnan(low) else f" ({_percent(low)} to {_percent(high)})"
    return _percent(found[name]) + interval


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
