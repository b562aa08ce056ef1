"""What people read on stdout of cluster run."""

from typing import TYPE_CHECKING

from cli.lines import Column, Lines, Table, described, next_steps, plain, table

if TYPE_CHECKING:
    from stages.by_hand.cluster import Found
    from stages.by_hand.cluster_landing import Landed

COLUMNS = (
    Column("experiment"),
    Column("macro F1", "number"),
    Column("95 % interval", "number"),
    Column("note", "prose"),
)


def cluster(found: "Found", width: int) -> Lines:
    """How many are done and the best of them, one line each, and what to do next."""
    lines: Lines = []
    if found.landed:
        best = max(found.landed, key=_score)
        answer = f"{_called(best)}: macro F1 {_score(best):.4f}"
        if len(found.landed) > 1:
            answer = f"{len(found.landed)} experiments are trained; the highest: {answer}"
        lines += plain([answer], width)
    elif not found.failed:
        lines += plain(["nothing is left to train"], width)
    if found.landed and (len(found.landed) > 1 or found.landed[0].name):
        lines += table(Table(COLUMNS, [_row(one) for one in sorted(found.landed, key=_score, reverse=True)]), width)
    lines += described([("left out", f"{name}: {why}") for name, why in found.left_out.items()], width)
    return lines + _next(found, width)


def _row(one: "Landed") -> tuple[str, str, str, str]:
    low, high = (one.scores.get(f"macro_f1_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
    return _called(one), f"{_score(one):.4f}", interval, "shortened by --until" if one.shortened else ""


def _next(found: "Found", width: int) -> Lines:
    if not found.landed:
        return []
    if found.landed[0].name:
        return next_steps("what changed, and is it better?", ["maskcli runs"], width)
    return next_steps("commit these results: others are compared with a commit's", ["git add -A && git commit"], width)


def _called(one: "Landed") -> str:
    return one.name or "the workspace"


def _score(one: "Landed") -> float:
    return float(one.scores["macro_f1"])
