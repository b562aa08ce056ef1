"""audit: which given labels are likely wrong, from the OOF predictions; and how much of the labels is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError, beside
from stages.base.files import read_csv, read_json, replacing_folder, write_csv, write_json
from stages.base.talk import Talk
from stages.by_hand import audit_rows, compare
from stages.by_hand.compare import Run
from stages.data import corrections, photos
from stages.data import task_and_classes as tasks
from stages.data.csv_rows import normal
from stages.data.task_and_classes import Axis, Task
from stages.judge import bootstrap, corrected_truth, label_noise, label_suspects, votes
from stages.judge.label_suspects import OfAxis, Suspects
from stages.learn import same_task
from stages.params.schema import Params
from stages.records import run_record
from stages.report.html.suspect_labels import Suspects as Shown

LISTED = 0.05  # score from which a label is listed
LIKELY = 0.5  # score from which it is counted as wrong
FIRST = (50, 100, 200)  # suspects of which the precision is told
KEPT, CORRECTED = "kept", "corrected"
TYPES: dict[str, type] = {  # of suspects.csv, but for likely_wrong, which earlier versions did not write
    **dict.fromkeys(("id", "axis", "given", "suggested", "value", "group", "photos", "why", "decided"), str),
    **{"rank": int, "score": float, "ambiguous": int},
}


@dataclass(frozen=True)
class Looked:
    """N photos as the OOF predictions know them, and what was found."""

    task: Task
    table: pd.DataFrame  # photos.csv
    probabilities: np.ndarray  # float32 [N, C], mean over repeats
    found: Suspects


def run(params: Params, talk: Talk) -> dict[str, Any]:
    """Write suspects.csv, noise.csv and summary.json, all or none; return the summary, with the first rows of both tables.

    Raises UserError if there are no OOF predictions, or they are of other classes, photos or labels than prepare's; Unwritten
    where the files cannot be written.
    """
    oof = compare.load("workspace")
    changed = run_record.not_asked(params, oof.record)
    if changed:
        talk.say(f"audit: by the models of what was trained: {run_record.in_words(changed, 'params.yaml now')}")
    looked = look(oof, params, talk)
    suspects = ranked(looked)
    decided = corrections.decided(corrections.read())
    suspects["decided"] = [
        _decision(decided.get((normal(name), axis)), looked.task.axis(axis), given)
        for name, axis, given in zip(suspects["id"], suspects["axis"], suspects["given"], strict=True)
    ]
    noise = noise_table(looked, params)
    summary = {"run": oof.record.run, **_summary(looked, suspects, noise)}
    found = summary | {"suspects": suspects.to_dict("records"), "noise": noise.to_dict("records")}
    with beside(found), replacing_folder(paths.SUSPECTS.parent) as folder:
        write_csv(folder / paths.SUSPECTS.name, suspects)
        write_csv(folder / paths.AUDIT_NOISE.name, noise)
        write_json(folder / paths.AUDIT_SUMMARY.name, summary)
    return found


def look(oof: Run, params: Params, talk: Talk) -> Looked:
    """Score all labels. Raises UserError where the OOF predictions are not of what prepare wrote."""
    same_task.check(oof.task, tasks.read(params), str(paths.OOF_ARRAYS))
    task = oof.task
    table = photos.read(task)
    _check_photos(oof, table)
    talk.say(
        f"audit: {len(table)} photos, {task.classes} classes: looks for labels that the models of other folds doubt"
    )
    probabilities = votes.soft(np.exp(oof.selected))
    values = {axis.name: table[axis.name].to_numpy(float) for axis in task.axes if axis.numeric}
    group = bootstrap.numbered(table["group"].to_numpy())
    labels = table["label"].to_numpy()
    return Looked(task, table, probabilities, label_suspects.suspects(probabilities, labels, group, task, values))


def _check_photos(oof: Run, table: pd.DataFrame) -> None:
    """Raise UserError where the predictions are of other photos or labels than photos.csv."""
    names, files = oof.photo, table["file"].to_numpy().astype(np.dtypes.StringDType())
    if len(names) != len(files):
        what = f"{len(names)} photos, not {len(files)}"
    else:
        content = np.zeros(len(files), np.uint64) if oof.content is None else oof.content
        now = photos.content_of(table)
        remade = (content != now) & (content > 0) & (now > 0)
        other = (names != files) | (oof.label != table["label"].to_numpy()) | remade
        if not other.any():
            return
        what = f"{other.sum()} of {len(files)} differ, first {files[np.argmax(other)]}"
    raise UserError(
        f"{paths.OOF_ARRAYS}: is of other photos or labels than {paths.PHOTOS} ({what}); run `dvc repro`, then audit again"
    )


def ranked(looked: Looked) -> pd.DataFrame:
    """Labels with a score of LISTED or more, and FIRST's last at least: the likeliest wrong first, ambiguous ones last."""
    axes = list(looked.found.axes.values())
    score, ambiguous = (np.concatenate([getattr(axis, name) for axis in axes]) for name in ("score", "ambiguous"))
    place = np.repeat(np.arange(len(axes)), [len(axis.score) for axis in axes])
    unit = np.concatenate([np.arange(len(axis.score)) for axis in axes])
    order = np.lexsort((-score, ambiguous))
    listed = (score[order] >= LISTED) | (np.arange(len(order)) < FIRST[-1])
    order = order[listed]
    rows = audit_rows.described(looked.task, looked.table, looked.probabilities, axes, place[order], unit[order])
    likely = np.concatenate([_likely_wrong(axis) for axis in axes])[order].astype(int)
    return pd.DataFrame({"rank": np.arange(1, len(order) + 1), **rows, "likely_wrong": likely})


def _likely_wrong(found: OfAxis) -> np.ndarray:
    """The labels of an axis that are counted as likely wrong, bool [U]."""
    return np.asarray((found.score >= LIKELY) & ~found.ambiguous & found.told_apart)


def noise_table(looked: Looked, params: Params) -> pd.DataFrame:
    """Of each axis the pairs of levels with the most wrong labels, and their share of those that have the given level."""
    parts = []
    for axis in looked.task.axes:
        found = label_noise.of_axis(looked.found.axes[axis.name], params.ensemble.replicates, params.seed)
        names = np.array(axis.levels, object)
        parts.append(
            pd.DataFrame(
                {
                    "axis": axis.name,
                    "given": names[found.given],
                    "likely": names[found.likely],
                    "share": found.share,
                    "share_low": found.low,
                    "share_high": found.high,
                    "units": found.units,
                    "told_apart": found.told_apart.astype(int),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _decision(row: corrections.Row | None, axis: Axis, given: str) -> str:
    """What was decided of a label; kept also where prepare has applied a correction, so that the decided level is given."""
    if row is None:
        return ""
    return KEPT if corrected_truth.code_of(axis, row.new) == axis.levels.index(given) else CORRECTED


def _summary(looked: Looked, suspects: pd.DataFrame, noise: pd.DataFrame) -> dict[str, Any]:
    """summary.json, but for the run: counts of each axis, and the precision expected among the first suspects."""
    task, table = looked.task, looked.table
    grouped = {} if task.unit == "photo" else {task.units: int(table["group"].nunique())}
    axes = {}
    for axis in task.axes:
        one = looked.found.axes[axis.name]
        axes[axis.name] = {
            "of": task.units if len(one.score) < len(table) else "photos",
            "labels": len(one.score),
            "likely_wrong": int(_likely_wrong(one).sum()),
            "expected_wrong": float(one.score.sum()),
            "ambiguous": int(((one.score >= LISTED) & one.ambiguous).sum()),
            "swapped": int(one.swapped.sum()),
            "temperature": one.temperature,
        }
    return {
        **grouped,
        "photos": len(table),
        "labels": sum(one["labels"] for one in axes.values()),
        "likely_wrong": sum(one["likely_wrong"] for one in axes.values()),
        "expected_wrong": sum(one["expected_wrong"] for one in axes.values()),
        "listed": len(suspects),
        "axes": axes,
        "first": [_first(suspects[:count]) for count in FIRST if count <= len(suspects)] or [_first(suspects)],
        "decided": int((suspects["decided"] != "").sum()),
        "corrected": int((suspects["decided"] == CORRECTED).sum()),
    }


def in_words(found: dict[str, Any]) -> str:
    """How many labels are likely wrong, axis by axis, of a summary."""
    units = next((name for name in ("people", "groups") if name in found), "")
    of = f"{f'{found[units]} {units}, ' if units else ''}{found['photos']} photos"
    each = [
        f"{one['likely_wrong']} of {one['labels']} {one['of']} by {name}"
        for name, one in found["axes"].items()
        if one["likely_wrong"]
    ]
    if not each:
        expected = f"about {found['expected_wrong']:.0f} of all {found['labels']} labels may be wrong"
        return f"no label is likely wrong ({of}); {expected}"
    count = found["likely_wrong"]
    return f"{count} {'label is' if count == 1 else 'labels are'} likely wrong: {', '.join(each)} ({of})"


def of_run(run_key: str, most: int) -> Shown:
    """The first suspects for the report; none where out/audit is not of this run. Raises UserError where it is damaged."""
    if not paths.AUDIT_SUMMARY.exists():
        return Shown()
    summary = read_json(paths.AUDIT_SUMMARY, "audit", "photos", "labels", "likely_wrong", "expected_wrong")
    if summary.get("run") != run_key:
        return Shown()
    table = read_csv(paths.SUSPECTS, "audit", TYPES)
    rows = [{str(name): value for name, value in row.items()} for row in table[:most].to_dict("records")]
    return Shown(f"{in_words(summary)}.", rows)


def _first(suspects: pd.DataFrame) -> dict[str, Any]:
    """Of so many first suspects the precision expected, the mean of their scores; and what was decided of them."""
    decided = suspects["decided"]
    return {
        "suspects": len(suspects),
        "precision_estimated": float(suspects["score"].mean()) if len(suspects) else float("nan"),
        "decided": int((decided != "").sum()),
        "corrected": int((decided == CORRECTED).sum()),
    }
