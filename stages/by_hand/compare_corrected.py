"""compare, where corrections.csv has changed labels between two runs: one truth for both, and the groups it did not touch."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stages.judge import corrected_truth
from stages.judge.corrected_truth import Side, Truth

if TYPE_CHECKING:
    from stages.by_hand.compare import Run


def settled(base: "Run", other: "Run", pairs: tuple[np.ndarray, np.ndarray]) -> tuple["Run", "Run", str]:
    """Both runs with the labels and groups that decisions in corrections.csv end with, and that in words.

    pairs: positions of the same photos in either. Photos of groups whose labels or groups differ between the runs are marked
    `changed`; those of which nothing says who is right keep what they have.
    """
    of_a, of_b = pairs
    if not (base.corrections or other.corrections):
        return base, other, ""
    names = base.photo[of_a]
    alone = base.task.unit == other.task.unit == "photo"  # whatever each photo is called by now
    groups = [(names if alone else run.group[which]).astype(str) for run, which in ((base, of_a), (other, of_b))]
    a = Side(names, groups[0], base.label[of_a], base.corrections)
    b = Side(other.photo[of_b], groups[1], other.label[of_b], other.corrections)
    if (a.label == b.label).all() and (a.group == b.group).all():
        return base, other, ""
    found = corrected_truth.settle(base.task, a, b)
    mended = found.differs & found.known
    if not mended.any():
        return base, other, ""
    task = base.task
    if base.task.unit != other.task.unit:  # photos that stood alone have been joined
        task = base.task if base.task.unit == "group" else other.task
    one = replace(_with(base, of_a, found), task=replace(task, subsets=base.task.subsets))
    two = replace(_with(other, of_b, found), task=replace(task, subsets=other.task.subsets))
    return one, two, _in_words(base, other, found, mended)


def _with(run: "Run", which: np.ndarray, found: Truth) -> "Run":
    label, group = run.label.copy(), run.group.astype(object)
    label[which[found.known]] = found.label[found.known]
    group[which[found.known]] = found.group[found.known]
    group = group.astype(str)
    return replace(run, label=label, group=group, changed=np.isin(group, np.unique(group[which[found.differs]])))


def _in_words(base: "Run", other: "Run", found: Truth, mended: np.ndarray) -> str:
    task, photos, groups = base.task, int(mended.sum()), len(np.unique(found.group[mended]))
    what = f"{photos} photo{'' if photos == 1 else 's'}"
    what += "" if task.unit == "photo" else f" of {groups} {task.unit if groups == 1 else task.units}"
    right = [f"{count} as in {name}" for name, count in ((base.name, found.of_a), (other.name, found.of_b)) if count]
    return (
        f"corrections.csv changed {what} between {base.name} and {other.name}: what was decided is the truth for both runs "
        f"({', '.join(right) or 'groups joined'}); a run whose mistakes led to decisions may gain by them"
    )
