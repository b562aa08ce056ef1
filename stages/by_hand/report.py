"""report: one HTML file on the workspace, a revision, or two revisions side by side."""

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import replacing
from stages.base.revisions import read
from stages.base.talk import Talk
from stages.by_hand import audit, compare
from stages.data import photos
from stages.data.task_and_classes import Task
from stages.judge import votes
from stages.judge.paired_difference import Comparison
from stages.learn import fold_maps, same_task
from stages.learn.fold_maps import Maps
from stages.params.schema import Params
from stages.records import past_runs
from stages.report import heat_overlay, verdicts
from stages.report.html import page, page_scores, suspect_labels
from stages.report.html.page_scores import Oof
from stages.report.html.thumbnails import pictures, shrunk
from stages.report.html.worst_photos import Heat


def run(params: Params, talk: Talk, revisions: list[str], output: Path = paths.REPORT) -> dict[str, Any]:
    """Write the page for one or two revisions; thumbnails come from the workspace's photos.

    Raises UserError if an output of a revision is missing or is not what its stage writes.
    """
    if len(set(revisions)) < len(revisions):
        raise UserError(f"report: {revisions[0]} stands twice; name two revisions, or one")
    predictions = [compare.load(revision) for revision in revisions]
    _check_tasks(predictions)
    runs = [_read_run(one, params, talk) for one in predictions]
    pair = _pair(predictions) if len(predictions) > 1 else None
    if pair is None:
        runs = [replace(runs[0], before=_before(predictions[0]))]
    del predictions  # the log probabilities; of what follows, each photo's mean probabilities are all that is needed
    html = page.build(
        runs, pair, params.ensemble.replicates, params.seed, partial(pictures, folder=photos.folder(params)), talk
    )
    with replacing(output) as temporary:
        temporary.write_text(html, encoding="utf-8", newline="\n")
    size = output.stat().st_size
    talk.say(f"report: {' and '.join(revisions)}, {size / 1e6:.1f} MB; open it in any browser, no network needed")
    return {"report": str(output), "revisions": revisions, "bytes": size}


def _check_tasks(predictions: list[compare.Run]) -> None:
    """Raise UserError for runs of different classes: neither tables nor charts could stand side by side."""
    first, last = predictions[0], predictions[-1]
    if first.task.hash != last.task.hash:
        one, other = same_task.in_words(first.task, last.task)
        raise UserError(
            f"report: {first.name} and {last.name}: not the same task ({one}; {other}); write a report of each alone"
        )


def _pair(predictions: list[compare.Run]) -> Comparison | str:
    """The second run against the first as `maskcli compare` says it, or why they cannot be compared."""
    try:
        rule = compare.settle_rule("auto", predictions)
        return compare.against(predictions[0], predictions[1], compare.Asked(rule))
    except UserError as error:
        return str(error)


def _before(run: compare.Run) -> str:
    """How a run stands against the last committed results of another training, in a sentence; empty where there are none, or
    none that can be compared with it."""
    earlier = past_runs.before(run.name, run.record)
    if not earlier:
        return ""
    found = _earlier(earlier, run)
    return verdicts.answer(found) if isinstance(found, Comparison) and not found.same else ""


def _earlier(earlier: str, run: compare.Run) -> Comparison | str:
    try:
        return _pair([compare.load(earlier), run])
    except UserError as error:
        return str(error)


def _read_run(predictions: compare.Run, params: Params, talk: Talk) -> page.Run:
    """All that the report shows of one revision."""
    revision = predictions.name
    scores = _json(revision, paths.OOF_METRICS, "macro_f1")
    oof = Oof(
        photo=predictions.photo,
        group=predictions.group if predictions.task.unit != "photo" else np.arange(len(predictions.photo)),
        labels=predictions.label,
        probabilities=votes.soft(np.exp(predictions.selected)),
        last=votes.soft(np.exp(predictions.last)).argmax(1),
    )
    return page.Run(
        name=revision,
        task=predictions.task,
        oof=oof,
        repeats=len(predictions.selected),
        scores={key: value for key, value in scores.items() if isinstance(value, int | float)},
        history=_table(
            revision, paths.OOF_HISTORY, ["fold", "epoch", "train_loss", "val_loss", "val_nll", "val_f1", "lr"]
        ),
        lr_curve=_table(revision, paths.LR_CURVE, ["lr", "loss", "smoothed"]),
        lr_suggestions=_table(revision, paths.LR_SUGGESTIONS, ["lr", "smoothed", "name"]),
        lr=float(_json(revision, paths.LR_CHOSEN, "lr")["lr"]),
        params=past_runs.params_of(revision, predictions.record),
        not_run=past_runs.not_run(revision, predictions.record),
        origin=past_runs.origin(revision, predictions.record),
        heat=_heat(predictions, oof, params, talk),
        suspects=audit.of_run(predictions.record.run, suspect_labels.MOST),
    )


def _heat(predictions: compare.Run, oof: Oof, params: Params, talk: Talk) -> Heat:
    """Heat maps of the most confident mistakes, for the given answer, by the models of each photo's own fold."""
    places = page_scores.confident_mistakes(oof, page.MOST)
    if not len(places):
        return Heat()
    wrong = oof.at(places)
    asked = fold_maps.Asked(wrong.photo, predictions.fold[places], wrong.predictions, len(predictions.selected))
    try:
        found = fold_maps.of_folds(asked, predictions.record, params, talk)
    except UserError as error:  # the page is whole without them
        return Heat(f"No heat maps, which the models in the workspace draw: {error}.")
    return Heat(_in_words(found, predictions), _overlays(found, wrong, predictions.task))


def _in_words(found: Maps, predictions: compare.Run) -> str:
    down, across = found.places
    by = "model" if len(predictions.selected) == 1 else f"{len(predictions.selected)} models"
    never = "it" if predictions.task.unit == "photo" else f"its {predictions.task.unit}"
    told = (
        f"Beside each photo, Grad-CAM: what in it speaks for the given answer, by the {by} of its fold, which never saw {never}. "
        f"The map has {down} x {across} places, smoothed; where it is hot the answer was found, which does not say why."
    )
    return told if None in found.heat else f"{told} Of a factored model, for each axis whose level is wrong."


def _overlays(found: Maps, wrong: Oof, task: Task) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Of each photo its overlays with the class, or the axis and level, that each speaks for."""
    levels, true = task.parts(wrong.predictions), task.parts(wrong.labels)
    return {
        str(photo): [
            (
                task.class_names[wrong.predictions[row]]
                if axis is None
                else f"{task.axes[axis].name}: {task.axes[axis].levels[levels[axis][row]]}",
                shrunk(heat_overlay.overlay(found.pixels[row], heat[row])),
            )
            for axis, heat in found.heat.items()
            if axis is None or levels[axis][row] != true[axis][row]
        ]
        for row, photo in enumerate(wrong.photo)
    }


def _table(revision: str, path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.BytesIO(read(revision, path)))
    except (ValueError, UnicodeDecodeError):  # pandas' parser and empty-file errors are ValueErrors
        raise _damaged(revision, path, "is not a CSV table") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise _damaged(revision, path, f"has no column `{missing[0]}`")
    if table.empty:
        raise _damaged(revision, path, "has no rows")
    return table


def _json(revision: str, path: Path, key: str) -> dict[str, Any]:
    try:
        value = json.loads(read(revision, path))
    except ValueError:
        raise _damaged(revision, path, "is not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get(key), int | float):
        raise _damaged(revision, path, f"has no number `{key}`")
    return value


def _damaged(revision: str, path: Path, problem: str) -> UserError:
    return UserError(f"{revision}: {path}: {problem}; run `dvc repro` in this revision again")
