"""Near-duplicate photos of different groups: prepare tells of them, and makes their groups one (data.group_duplicates).

A twin on the other side of a fold is a photo that has been learnt: scores flatter by it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.talk import Talk
from stages.data import joined_groups, near_duplicates
from stages.data.csv_rows import shown
from stages.data.pixel_cache import Pixels
from stages.data.task_and_classes import Task

MOST_LOOKED_AT = 50_000  # photos; among more, only identical files are looked for unless groups are to be joined


@dataclass(frozen=True)
class Twins:
    """Pairs of photos of different groups that show one picture: positions a < b, those of eval photos from `training` on."""

    pairs: pd.DataFrame
    training: int  # photos
    looked: bool  # at pixels, not at files only
    complete: bool = True


def find(group: "pd.Series[str]", contents: list[str], pixels: Pixels | None, talk: Talk) -> Twins:
    """Twins among training photos by their group [N], and between them and eval photos, which count as one owner.

    contents: of the files of N training photos and all eval photos. pixels: of the same, or None: only identical files are
    found, each paired with the first of its kind.
    """
    owners = np.full(len(contents), -1)
    owners[: len(group)] = pd.factorize(group)[0]
    if pixels is None:
        kind = pd.factorize(np.array(contents, object))[0]
        first = np.unique(kind, return_index=True)[1][kind]
        b = np.flatnonzero(owners != owners[first])
        return Twins(pd.DataFrame({"a": first[b], "b": b}), len(group), looked=False)
    with near_duplicates.room(paths.PIXELS.parent, len(contents)) as greys:
        hashes, comparable = near_duplicates.look_at(pixels, greys, talk)
        pairs, complete = near_duplicates.duplicates(hashes, greys, owners, comparable)
    return Twins(pairs[["a", "b"]], len(group), True, complete)


def told(twins: Twins, table: pd.DataFrame, labels: np.ndarray, eval_ids: list[str], units: str) -> list[str]:
    """A line, or none, on the twins that stand in different groups of `table` (group, file), with labels [N]."""
    pairs = twins.pairs
    if pairs.empty:
        return []
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    names = [*table["file"], *eval_ids]
    within = b < twins.training
    parts = []
    if within.any():
        other = int((labels[a[within]] != labels[b[within]]).sum())
        parts.append(
            f"{within.sum()} between {units}{f', {other} of them of different classes' if other else ''}, which may stand on "
            "both sides of a fold"
        )
    if not within.all():
        parts.append(f"{(~within).sum()} between training and eval photos")
    kind = "near-duplicate photos" if twins.looked else "identical files"
    more = "" if twins.complete else f"; the search ended at {len(pairs)}"
    return [
        f"pairs of {kind}: {'; '.join(parts)}; first {shown(names[a[0]])} and {shown(names[b[0]])}{more}: `maskcli eda` shows "
        "them, data.group_duplicates: true keeps them together"
    ]


def join(
    twins: Twins, own: Task, table: pd.DataFrame, groups: pd.DataFrame
) -> tuple[Task, pd.DataFrame, pd.DataFrame, str]:
    """The task, photos and groups once groups with twins are one, called as the first of them; and that in words.

    Nothing changes where there are no twins (stages/data/joined_groups.py).
    """
    codes, names = pd.factorize(table["group"])
    pairs = twins.pairs[twins.pairs["b"] < twins.training]
    if pairs.empty:
        return own, table, groups, ""
    merged = near_duplicates.joined(codes, pairs)
    before, constant = own.units, [axis.name for axis in own.axes if axis.constant]
    own, table, groups = joined_groups.regrouped(own, table.assign(group=np.asarray(names)[merged]), groups)
    sizes = np.bincount(np.unique(np.column_stack([merged, codes]), axis=0)[:, 0])
    line = (
        f"data.group_duplicates: {int(sizes[sizes > 1].sum())} {before} with near-duplicates became {int((sizes > 1).sum())} "
        f"{own.units}, the largest of {sizes.max()}"
    )
    differing = [name for name in constant if not own.axis(name).constant]
    line += f"; some of them differ in {', '.join(differing)}" if differing else ""
    return own, table, groups, line
