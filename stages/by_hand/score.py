"""score: compare a submission with the truth, for those who have it (the demo set, a folder test/, a past contest), and with
another submission of the same photos."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import require
from stages.by_hand import compare
from stages.data import photos
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, metrics, paired_difference
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import BETTER, MODEL_BETTER, MODEL_WORSE, WORSE, Comparison
from stages.judge.training_noise import Training
from stages.records import learnt_photos, run_record
from stages.report import verdicts
from stages.submission import write

GROUPS = ("person", "group")  # columns of a truth that say which photos belong together
Found = dict[str, float | int | str]


@dataclass(frozen=True)
class _Known:
    """N photos whose classes are known."""

    photos: pd.Index  # [N]
    labels: np.ndarray  # [N]
    group: np.ndarray  # [N] what the bootstrap draws, numbered
    units: str  # what these are called

    @property
    def groups(self) -> int:
        return int(self.group.max()) + 1


def run(task: Task, truth: Path | None, submission: Path, replicates: int = 2000, seed: int = 0) -> Found:
    """Macro F1, accuracy and, of each subset and axis, F1 of a submission against a truth in its form, matched by photo.

    truth: None for what out/prepare/eval.csv knows. macro_f1, accuracy and the F1 come with a 95 % interval (`<name>_low`,
    `<name>_high`) from a bootstrap over people or groups, where the truth has a column `person` or `group`, else over photos;
    `interval_over` says which. Raises UserError if they do not hold the same photos once each, or hold other classes.
    """
    known = _known(task, truth)
    require(submission, "tta-predict")
    found = _with_intervals(task, known, _answers(task, known, submission), (replicates, seed))
    return found | {known.units: known.groups, "photos": len(known.labels), "interval_over": known.units}


def against(
    task: Task, truth: Path | None, submission: Path, other: Path, replicates: int = 2000, seed: int = 0
) -> Comparison:
    """A submission against another one of the same photos: the scores of `run`, paired over the same people, groups or photos
    (stages/judge/paired_difference.py).

    What training again would change is not in the intervals, since nothing is known of it here; so a verdict is one on these
    models, as trained. Raises UserError as `run`, for either submission, and where `other` is not there.
    """
    known = _known(task, truth)
    if not other.is_file():
        raise UserError(f"{other}: not found; --than wants another submission of the same photos")
    before, after = (_answers(task, known, path) for path in (other, submission))
    a, b = ([Training(bootstrap.beside(_scores(task, known, answers)))] for answers in (before, after))
    asked = paired_difference.Asked(replicates, seed, known.units, same_models=True)
    there = np.unique([known.labels, before, after])
    absent = {f"f1_{name}" for name, which in task.subsets.items() if not np.isin(which, there).any()}
    as_trained = {BETTER: MODEL_BETTER, WORSE: MODEL_WORSE}
    rows = [
        replace(row, verdict=as_trained.get(row.verdict, row.verdict))
        for row in paired_difference.compare(a, b, asked)
        if row.metric not in absent
    ]
    same = np.array_equal(before, after)
    return Comparison(str(other), str(submission), rows, [_left_out(known)], task, same, groups=known.groups)


def as_json(found: Comparison) -> dict[str, Any]:
    """The answer, what it leaves out, and the rows of differences as `compare --json` has them, this submission (run_b) minus the
    other."""
    return {
        "submission": found.run_a,
        "answer": verdicts.of_submissions(found),
        "notes": found.notes,
        "differences": compare.as_rows([found]),
    }


def warnings(task: Task, truth: Path | None, submissions: Sequence[Path]) -> Iterator[str]:
    """A line for each submission of tta-predict or refit whose models have learnt from photos that are scored: by pseudo-labels,
    by their starting weights, or as training photos. Of other submissions nobody knows whose they are.
    """
    told = {one: {learnt for path in _models(one) for learnt in learnt_photos.of_weights(path)} for one in submissions}
    if not any(told.values()) or not paths.EVAL.is_file():
        return
    table = photos.read_eval()
    scored = photos.content_of(table[table["ImageID"].isin(_known(task, truth).photos)])
    for submission, learnt in told.items():
        known = learnt_photos.Known(learnt)
        standing_for = float(known.standing_for(scored).sum())
        if standing_for:
            yield (
                f"warning: {submission}: its models have learnt from {known.in_words(standing_for, len(scored))} of these "
                f"{len(scored)} photos, so this is not the score that new photos would have"
            )


def _models(submission: Path) -> list[Path]:
    """The weights that answered a submission, where they are known."""
    if submission.resolve() == paths.REFIT_SUBMISSION.resolve():
        return sorted(paths.REFIT_MODELS.glob("[0-9]*.safetensors"))
    if submission.resolve() != paths.SUBMISSION.resolve() or not paths.SUBMISSION_SUMMARY.is_file():
        return []
    found = sorted(paths.TRAIN.glob("*/models/[0-9]*.safetensors"))
    runs = {run_record.mark_of(path) or "" for path in found}
    answered = run_record.mark_of(paths.SUBMISSION_SUMMARY)
    return found if runs and run_record.joint(runs) == answered else []  # else they were trained again since


def _left_out(known: _Known) -> str:
    return (
        f"the intervals of differences are over {known.units} alone: training again with another seed, which could make or "
        "undo a difference, is not in them"
    )


def _known(task: Task, truth: Path | None) -> _Known:
    true, group = _of_eval() if truth is None else _of_file(truth, task)
    units = "photos" if group is None else task.units if task.unit != "photo" else "groups"
    index = np.arange(len(true)) if group is None else bootstrap.numbered(group)
    return _Known(true.index, true.to_numpy(), index, units)


def _of_eval() -> tuple["pd.Series[int]", np.ndarray | None]:
    """The true classes by photo, and whose photos they are, as eval.csv knows them."""
    table = photos.eval_photos("score")
    if "label" not in table:
        raise UserError(
            f"score: {paths.EVAL} does not know the eval photos' classes; name a CSV with the truth, in the submission's form"
        )
    return table.set_index("ImageID")["label"].astype(np.int64), _whose(table)


def _of_file(truth: Path, task: Task) -> tuple["pd.Series[int]", np.ndarray | None]:
    """The true classes by photo, and whose photos they are where the file says so."""
    if not truth.is_file():
        photo, *answered = write.columns(task)
        raise UserError(f"{truth}: not found; give a CSV with the columns {', '.join([photo, *answered])}")
    table = write.read(truth, task)
    group = _whose(table)
    if group is not None and (group == "").any():
        nobodys = table.index[group == ""]
        raise UserError(
            f"{truth}: {len(nobodys)} photos are of no group, first {nobodys[0]}; name the group of each, or take the column out"
        )
    return table["answer"], group


def _whose(table: pd.DataFrame) -> np.ndarray | None:
    column = next((name for name in GROUPS if name in table), None)
    return table[column].to_numpy() if column else None


def _answers(task: Task, known: _Known, submission: Path) -> np.ndarray:
    """The classes that a submission answers for the known photos, [N]."""
    answered = write.read(submission, task)["answer"]
    missing = sorted(set(known.photos) - set(answered.index))
    extra = sorted(set(answered.index) - set(known.photos))
    if missing or extra:
        kind, names = ("has no answer for", missing) if missing else ("answers photos the truth lacks:", extra)
        raise UserError(f"{submission}: {kind} {names[0]} ({len(names)} such photos); score it against its own truth")
    return answered.loc[known.photos].to_numpy()


def _scores(task: Task, known: _Known, answers: np.ndarray) -> list[Scores]:
    """Macro F1, accuracy and the F1 of subsets; then that of each axis, where there are several."""
    own = bootstrap.of_run(known.group, known.labels, answers, classes=task.classes, subsets=task.subsets)
    of_axes = bootstrap.of_axes(known.group, known.labels, answers, task.axis_sizes) if len(task.axes) > 1 else []
    return [bootstrap.pick(own, ("macro_f1", "accuracy", *(f"f1_{name}" for name in task.subsets))), *of_axes]


def _with_intervals(task: Task, known: _Known, answers: np.ndarray, how: tuple[int, int]) -> Found:
    """Each score with its 95 % bootstrap-t interval; how: replicates and seed."""
    scored: Mapping[str, float] = {
        "macro_f1": metrics.macro_f1(known.labels, answers, task.classes),
        "accuracy": metrics.accuracy(known.labels, answers),
        **metrics.subset_f1(known.labels, answers, task.classes, task.subsets),
        **(metrics.axis_f1(known.labels, answers, task.axis_sizes) if len(task.axes) > 1 else {}),
    }
    found: Found = {}
    # Each with the draws that it would have alone, whatever stands beside it.
    for scores in _scores(task, known, answers):
        low, high = bootstrap.interval(bootstrap.replicate(scores, *how))
        for place, name in enumerate(scores.names):
            there = not math.isnan(scored[name])  # a subset of which nothing is there has neither score nor interval
            ends = (float(low[place]), float(high[place])) if there else (math.nan, math.nan)
            found |= {name: scored[name], f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return found
