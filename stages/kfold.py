"""kfold: give each group of photos (a person, a patient, or each photo by itself) a fold. A group is never divided.

Groups that are alike are dealt evenly; what cannot be dealt evenly goes, group by group, where its classes are fewest.
"""

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import Talk
from stages.data import photos, task_and_classes
from stages.data.task_and_classes import Task
from stages.params.schema import Params

SHOWN = 8  # classes that a warning names


def run(params: Params, talk: Talk) -> None:
    """Write folds.csv (person or group, fold) and summary.json (groups per fold).

    Raises UserError where there are fewer groups than folds.
    """
    own = task_and_classes.read(params)
    groups = photos.read_groups(own)
    group, kinds, names = told(own, groups, params)
    folds = assign(group, kinds, len(params.folds), params.seed, own.units)
    for line in rare(group, kinds, names, len(params.folds), own.units):
        talk.say(f"warning: {line}")
    write_csv(paths.FOLDS, pd.DataFrame({photos.unit_column(own): groups["group"], "fold": folds}))
    write_json(paths.FOLD_SUMMARY, {str(fold): int((folds == fold).sum()) for fold in params.folds})
    talk.say(f"kfold: {len(groups)} {own.units} in {len(params.folds)} folds")


def told(
    own: Task, groups: pd.DataFrame, params: Params, table: pd.DataFrame | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """What folds are stratified by: a group 0..G-1 and a kind per photo, int [N] each, and the kinds' names.

    A kind is a class. Where each group is known to have the same photos of every class that the axes which are constant in it
    allow, as people of the contest have, one entry a group will do: the combination of those axes. table: photos with their
    group and label, read where it is None and needed.
    """
    alike = own.unit == "photo" or (own.unit == "person" and not params.data.group_duplicates)
    if not alike:
        table = photos.read(own) if table is None else table
        return pd.Index(groups["group"]).get_indexer(table["group"]), table["label"].to_numpy(), own.class_names
    constant = Task(own.layout, tuple(axis for axis in own.axes if axis.constant), own.unit)
    kinds = constant.labels(groups)
    return np.arange(len(groups)), kinds, constant.class_names


def assign(group: np.ndarray, kinds: np.ndarray, folds: int, seed: int, units: str = "groups") -> np.ndarray:
    """Fold of each group, int [G], from the group 0..G-1 and the kind of each photo, int [N] each.

    With one photo a group this is scikit-learn's StratifiedKFold, fold for fold: each kind is spread as evenly as can be.
    Else groups with the same photos of each kind are dealt in whole rounds, and those left over go, the largest share of a
    kind first, to the fold that has least of their kinds, as in scikit-learn's StratifiedGroupKFold; its time grows with
    groups x folds x classes, this one's only with what is left over. Raises UserError where groups are fewer than folds.
    """
    count = int(group.max()) + 1 if len(group) else 0
    if count < folds:
        mend = f"set folds: {list(range(count))} or fewer, or add photos" if count > 1 else "add photos"
        raise UserError(f"kfold: {count} {units} cannot fill {folds} folds; {mend}")
    draw = np.random.RandomState(seed % 2**32)
    if len(group) == count:
        of_group = np.empty(count, np.int64)
        of_group[group] = kinds
        return _dealt(of_group, folds, draw)
    return _spread(group, kinds, folds, draw)


def rare(group: np.ndarray, kinds: np.ndarray, names: tuple[str, ...], folds: int, units: str) -> list[str]:
    """A line, or none, that names the kinds in fewer groups than there are folds, and what that means."""
    if len(group) > group.max() + 1:
        kinds = np.unique(group.astype(np.int64) * len(names) + kinds) % len(names)
    counts = np.bincount(kinds, minlength=len(names))
    few = np.flatnonzero((counts > 0) & (counts < folds))
    if not len(few):
        return []
    listed = ", ".join(f"{names[kind]} ({counts[kind]})" for kind in few[:SHOWN]) + (
        ", ..." if len(few) > SHOWN else ""
    )
    alone = "; one that stands alone is scored without having been learnt" if (counts[few] == 1).any() else ""
    return [
        f"kfold: fewer {units} than folds ({folds}) in {listed}: some folds score none of them{alone}; take fewer folds, or "
        "add photos"
    ]


def _dealt(kinds: np.ndarray, folds: int, draw: np.random.RandomState) -> np.ndarray:
    """Folds [G] by kinds [G]: kinds in the order of their first group are dealt like cards, one after the other, and what
    each has got is shuffled within it."""
    _, first, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[kinds]
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place))
    of_group = np.empty(len(kinds), np.int64)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        got = np.sort(np.arange(start, end) % folds)
        draw.shuffle(got)
        of_group[order[start:end]] = got
    return of_group


def _spread(group: np.ndarray, kinds: np.ndarray, folds: int, draw: np.random.RandomState) -> np.ndarray:
    """Folds [G] of groups that hold several photos, of several kinds: rounds of groups that are alike, then the rest."""
    weights = np.random.RandomState(0).randint(1, 2**63 - 1, int(kinds.max()) + 1, dtype=np.int64).astype(np.uint64)
    content = np.zeros(int(group.max()) + 1, np.uint64)
    np.add.at(content, group, weights[kinds])  # wraps; equal for groups with the same photos of each kind
    stratum = np.unique(content, return_inverse=True)[1]
    order = draw.permutation(len(content))
    order = order[np.argsort(stratum[order], kind="stable")]
    sizes = np.bincount(stratum)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    whole = rank < np.repeat(sizes // folds * folds, sizes)
    of_group = np.full(len(content), -1)
    of_group[order[whole]] = rank[whole] % folds
    _place(of_group, order[~whole], group, kinds, folds)
    return of_group


def _place(of_group: np.ndarray, left: np.ndarray, group: np.ndarray, kinds: np.ndarray, folds: int) -> None:
    """Give the groups `left` their folds, each where the sum of squares of the kinds' shares, and of all photos' share, grows
    least. What was dealt in rounds is the same in every fold and counts for none."""
    classes = int(kinds.max()) + 1
    total = np.bincount(kinds, minlength=classes).astype(float)
    rank = np.full(len(of_group), -1)
    rank[left] = np.arange(len(left))
    mine = rank[group] >= 0
    pairs, photos_of = np.unique(rank[group[mine]].astype(np.int64) * classes + kinds[mine], return_counts=True)
    owner, kind = pairs // classes, pairs % classes
    starts = np.searchsorted(owner, np.arange(len(left) + 1))
    largest = np.bincount(owner, (photos_of / total[kind]) ** 2, len(left))
    got, of_all = np.zeros((folds, classes)), np.zeros(folds)
    pull = photos_of / total[kind] ** 2
    for which in np.argsort(-largest, kind="stable"):
        part = slice(starts[which], starts[which + 1])
        held, size = kind[part], photos_of[part].sum()
        fold = int((got[:, held] @ pull[part] + of_all * (size / len(group) ** 2)).argmin())
        of_group[left[which]] = fold
        got[fold, held] += photos_of[part]
        of_all[fold] += size
