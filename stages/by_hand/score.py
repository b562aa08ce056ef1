"""score: compare a submission with the truth, for those who have it (the demo set, a folder test/, a past contest)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import require
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, metrics
from stages.submission import write
from stages.submission.eval_predictions import eval_photos

GROUPS = ("person", "group")  # columns of a truth that say which photos belong together
Found = dict[str, float | int | str]


def run(task: Task, truth: Path | None, submission: Path, replicates: int = 2000, seed: int = 0) -> Found:
    """Macro F1, accuracy and, of each subset and axis, F1 of a submission against a truth in its form, matched by photo.

    truth: None for what out/prepare/eval.csv knows. macro_f1, accuracy and the F1 come with a 95 % interval (`<name>_low`,
    `<name>_high`) from a bootstrap over people or groups, where the truth has a column `person` or `group`, else over photos;
    `interval_over` says which. Raises UserError if they do not hold the same photos once each, or hold other classes.
    """
    true, group = _of_eval() if truth is None else _of_file(truth, task)
    require(submission, "tta-predict")
    answered = write.read(submission, task)["answer"]
    missing = sorted(set(true.index) - set(answered.index))
    extra = sorted(set(answered.index) - set(true.index))
    if missing or extra:
        kind, names = ("has no answer for", missing) if missing else ("answers photos the truth lacks:", extra)
        raise UserError(f"{submission}: {kind} {names[0]} ({len(names)} such photos); score it against its own truth")
    labels, predictions = true.to_numpy(), answered.loc[true.index].to_numpy()
    units = "photos" if group is None else task.units if task.unit != "photo" else "groups"
    index = np.arange(len(true)) if group is None else bootstrap.numbered(group)
    found = _with_intervals(task, index, labels, predictions, (replicates, seed))
    return found | {units: int(index.max()) + 1, "photos": len(labels), "interval_over": units}


def _of_eval() -> tuple["pd.Series[int]", None]:
    """The true classes by photo as eval.csv knows them."""
    table = eval_photos("score")
    if "label" not in table:
        raise UserError(
            f"score: {paths.EVAL} does not know the eval photos' classes; name a CSV with the truth, in the submission's form"
        )
    return table.set_index("ImageID")["label"].astype(np.int64), None


def _of_file(truth: Path, task: Task) -> tuple["pd.Series[int]", np.ndarray | None]:
    """The true classes by photo, and whose photos they are where the file says so."""
    if not truth.is_file():
        photo, *answered = write.columns(task)
        raise UserError(f"{truth}: not found; give a CSV with the columns {', '.join([photo, *answered])}")
    table = write.read(truth, task)
    column = next((name for name in GROUPS if name in table), None)
    return table["answer"], table[column].to_numpy() if column else None


def _with_intervals(
    task: Task, group: np.ndarray, labels: np.ndarray, predictions: np.ndarray, how: tuple[int, int]
) -> Found:
    """Each score with its 95 % bootstrap-t interval over numbered groups [N]; how: replicates and seed."""
    scored: Mapping[str, float] = {
        "macro_f1": metrics.macro_f1(labels, predictions, task.classes),
        "accuracy": metrics.accuracy(labels, predictions),
        **metrics.subset_f1(labels, predictions, task.classes, task.subsets),
        **(metrics.axis_f1(labels, predictions, task.axis_sizes) if len(task.axes) > 1 else {}),
    }
    own = bootstrap.of_run(group, labels, predictions, classes=task.classes, subsets=task.subsets)
    of_axes = bootstrap.of_axes(group, labels, predictions, task.axis_sizes) if len(task.axes) > 1 else []
    found: Found = {}
    # Each with the draws that it would have alone, whatever stands beside it.
    for scores in (bootstrap.pick(own, tuple(name for name in scored if name in own.names)), *of_axes):
        low, high = bootstrap.interval(bootstrap.replicate(scores, *how))
        for place, name in enumerate(scores.names):
            ends = {f"{name}_low": float(low[place]), f"{name}_high": float(high[place])}
            found |= {name: scored[name]} | ends
    return found
