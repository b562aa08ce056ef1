"""How runs are listed: two or three lines a run, whatever the terminal's width."""

import textwrap
from datetime import datetime
from typing import TYPE_CHECKING

from cli.lines import duration

if TYPE_CHECKING:
    from stages.by_hand.runs import Found, Row

NAME, FIGURES = 16, "{f1:>8}  {interval:>16}  {difference:>10}  {verdict}"
NARROW = 79  # columns that a name and its figures take


def lines(found: "Found", width: int) -> list[str]:
    """The table as text of at most `width` columns."""
    others = len(found.rows) - 1
    intro = (
        f"{others + 1} runs, best macro F1 first. Difference and verdict: against {found.base}, paired over {found.units}, "
        f"{f'{others} comparisons sharing one error rate' if others > 1 else 'one comparison'}."
        if others
        else "1 run; another commit or experiment with results would be compared with it."
    )
    shown = textwrap.wrap(intro, width)
    head = FIGURES.format(f1="macro F1", interval="95 % interval", difference="difference", verdict="verdict")
    if width > NARROW:
        shown.append(f"{'run':<{NAME}}  {head}")
    several = len({who for row in found.rows for who in (row.who, *row.same_who)}) > 1
    for row in found.rows:
        shown += _row(row, width, several)
    return shown + [line for text in _left_out(found) for line in textwrap.wrap(text, width)]


def _row(row: "Row", width: int, several: bool) -> list[str]:
    """A run's lines; by whom, where `several` people have run what is shown."""
    figures = FIGURES.format(
        f1=f"{row.macro_f1:.4f}",
        interval=f"{row.macro_f1_low:.4f} to {row.macro_f1_high:.4f}",
        difference="" if row.difference is None else f"{row.difference:+.4f}",
        verdict=row.verdict,
    )
    if width > NARROW and len(row.name) <= NAME:
        shown = [f"{row.name:<{NAME}}  {figures}"]
    elif width > NARROW:
        shown = [row.name, f"{'':<{NAME}}  {figures}"]
    else:
        shown = [
            row.name,
            *textwrap.wrap(" ".join(figures.split()), width, initial_indent="  ", subsequent_indent="  "),
        ]
    details = [f'"{row.subject}"'] if row.subject else []
    details += row.changed or ([] if row.verdict == "base" else ["the same params, data and code"])
    when = datetime.fromisoformat(row.when).strftime("%d %b %Y %H:%M")
    details.append(f"{row.who}, {when}" if several else when)
    details += [f"{row.repeats} repeats"] * (row.repeats > 1)
    if row.seconds is not None:
        details.append(f"trained {duration(row.seconds)}")
    if row.same:
        others = zip(row.same, row.same_who, strict=True)
        named = (name if who == row.who else f"{name} ({who})" for name, who in others)
        details.append(f"the same run: {', '.join(named)}")
    return shown + textwrap.wrap(
        "; ".join(details), width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )


def _left_out(found: "Found") -> list[str]:
    told = []
    if len(found.rows) > 2:
        told.append(
            f"note: the best of {len(found.rows)} reads too high, for it is picked on the {found.units} that it is scored on; "
            "verdicts allow for that"
        )
    if len(found.rows) > 1 and any(row.repeats > 1 for row in found.rows):
        told.append(
            "note: with train.repeats macro F1 is that of the repeats joined, which is mostly higher than that of one; "
            "differences are of one, on average"
        )
    if found.older:
        told.append(f"Older commits and experiments with results that are not shown (--limit): {found.older}.")
    if found.without_results:
        told.append(f"Commits and experiments without results: {found.without_results}.")
    return told + [f"note: {note}" for note in found.notes]
