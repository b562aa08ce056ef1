"""What people read on stdout of tta-search."""

from typing import Any

from cli.lines import Lines, counted, described, plain, units
from cli.tables.judged_rows import judged
from stages.base import paths
from stages.report.verdicts import in_brackets


def views(found: dict[str, Any], width: int) -> Lines:
    """What to set and what it brings; each set of views against identity, and the votes."""
    same = set(found["recommended"]) == set(found["current"])
    gain = (
        f"{found['gain_nested']:+.4f} macro F1 where the views were chosen on other {units(found)}"
        f"{in_brackets(found['gain_nested_low'], found['gain_nested_high'])}; {found['gain_on_all']:+.4f} on the photos that "
        "they were chosen on"
    )
    others = [view for view in found["recommended"] if view != "identity"]
    helps = f"{', '.join(others)} help{'s' if len(others) == 1 else ''}" if others else "no view is shown to help"
    advice = f"{helps}; {'keep' if same else 'set'} {found['line']}"
    lines = plain([advice], width)
    lines += plain([f"gain of this search: {gain}"], width)
    alone = f"{found['identity_macro_f1']:.4f} on {'OOF photos of ' * (units(found) != 'photos')}{counted(found)}"
    rows = [{**row, "views": _without_identity(row["views"])} for row in found["views"]]
    title = f"Views joined with identity, against identity alone: macro F1 {alone}"
    lines += [("", ""), *judged(title, "view", "views", rows, width)]
    if found["votes"]:
        lines += [
            ("", ""),
            *judged("Votes over repeats and tta.views, against soft", "vote", "vote", found["votes"], width),
        ]
    lines += [("", ""), *plain([f"note: {note}" for note in found["notes"]], width)]
    files = f"{paths.TTA_VIEWS} {paths.TTA_VOTES}"
    line = f"{found['line']}{'  (as it stands)' if same else ''}"
    return [*lines, *described(list(({"params.yaml": line, "tables": files}).items()), width)]


def _without_identity(names: str) -> str:
    """What joins identity; many views by their number."""
    others = [name for name in names.split() if name != "identity"]
    return " ".join(others) if len(others) <= 2 else f"{len(others)} views"
