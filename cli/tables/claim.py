"""What people read on stdout of claim."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.lines import Column, Lines, Table, next_steps, plain, table

if TYPE_CHECKING:
    from stages.base.claims import Claim
    from stages.by_hand.claim import Divided

OLD = 24 * 3600.0  # seconds after which a claim is asked about


def listed(found: "Sequence[Claim]", remote: str, width: int) -> Lines:
    """All claims, and how to end those that nobody trains any more."""
    if not found:
        return plain([f"no claims on {remote}"], width)
    shown = _table(found)
    old = [one.name for one in found if (datetime.now(UTC) - one.holder.when).total_seconds() > OLD]
    told = next_steps(
        "a claim stays when the training is done. Those older than a day: if nobody trains them any more, and nobody has",
        [f"maskcli claim --release {' '.join(dict.fromkeys(old))} --remote {remote}"],
        width,
    )
    return [*plain([f"{_counted(found)} on {remote}"], width), ("", ""), *table(shown, width), *(told if old else [])]


def taken(found: "Sequence[Claim]", remote: str, width: int) -> Lines:
    """What is ours now."""
    return plain([f"{one.name}: yours on {remote}, until `maskcli claim --release {one.name}`" for one in found], width)


def released(found: "Sequence[Claim]", remote: str, width: int) -> Lines:
    from stages.by_hand.claim import in_words

    return plain([f"{one.name}: released on {remote}; claimed by {in_words(one.holder)}" for one in found], width)


def divided(found: "Divided", remote: str, width: int) -> Lines:
    """What stays in DVC's queue, and what has left it and why."""
    from stages.by_hand.claim import in_words

    whole = len(found.ours) + len(found.held) + len(found.left)
    if not whole:
        return plain(["DVC's queue is empty; `dvc exp run --queue -S loss=ce,focal` fills it"], width)
    gone = "; the others have left the queue" if whole > len(found.ours) else ""
    rows = [
        *((one.name, one.queued_as, "yours") for one in found.ours),
        *((one.name, one.queued_as, in_words(one.holder)) for one in found.held if one.holder),
        *((one.name, one.queued_as, "nobody's yet (--most)") for one in found.left),
    ]
    shown = Table([Column("experiment"), Column("queued as"), Column("claimed by", "prose")], rows)
    told = [f"{len(found.ours)} of {whole} queued experiments are yours on {remote}{gone}"]
    step = next_steps("train them", ["dvc queue start"], width) if found.ours else []
    return [*plain(told, width), ("", ""), *table(shown, width), *step]


def _table(found: "Sequence[Claim]") -> Table:
    from stages.by_hand.claim import age

    rows = [
        (
            one.name,
            one.holder.who,
            one.holder.host,
            f"{one.holder.when.astimezone():%d %b %H:%M}, {age(one.holder)} ago",
        )
        for one in found
    ]
    return Table([Column("experiment"), Column("by"), Column("on"), Column("since", "prose")], rows)


def _counted(found: "Sequence[Claim]") -> str:
    return "1 claim" if len(found) == 1 else f"{len(found)} claims"
