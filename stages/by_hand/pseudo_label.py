"""pseudo-label: choose the eval photos that join training, and their labels, from the predictions of the trained folds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv
from stages.base.talk import Talk
from stages.data import photos, pseudo_labelled_photos
from stages.data import task_and_classes as tasks
from stages.data.pixel_cache import open_cache
from stages.data.task_and_classes import Task
from stages.judge import votes
from stages.params.schema import Params
from stages.records import run_record
from stages.submission.eval_predictions import predict_views

NAMED = 20  # classes that a line names


def run(params: Params, talk: Talk, output: Path = paths.PSEUDO_LABELS) -> dict[str, Any]:
    """Write the table of pseudo-labels; return how many photos each fold gets and how the classes fare.

    Each fold's rows come from its own models (views joined by soft vote), so that no label has seen the fold's validation
    photos; the rows of fold `all` come from the models of all folds together and are for `maskcli refit` alone.
    Raises UserError if there is no eval set, if the folds were themselves trained on pseudo-labels, or if no photo is sure
    enough.
    """
    if not pseudo_labelled_photos.is_off(params):
        raise UserError(
            f"params.yaml: pseudo.labels: {params.pseudo.labels} is in use, so the trained folds have learnt their own "
            "labels; set pseudo/none.csv and run `dvc repro` before choosing labels again"
        )
    images, task = photos.eval_photos("pseudo-label")["ImageID"], tasks.read(params)
    run_record.joined(params, talk, "pseudo-label")
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    weights = [paths.weights(fold, repeat) for fold in params.folds for repeat in range(params.train.repeats)]
    found = predict_views(params, task, pixels, talk, weights)
    by_fold = found.reshape(len(params.folds), -1, *found.shape[1:])
    parts = {str(fold): votes.soft(own) for fold, own in zip(params.folds, by_fold, strict=True)}
    parts[pseudo_labelled_photos.ALL] = votes.soft(found)
    tables = [_table(part, images, probabilities, params) for part, probabilities in parts.items()]
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        raise UserError(
            f"pseudo-label: no eval photo is predicted with probability {params.pseudo.confidence} or more; "
            "lower pseudo.confidence"
        )
    write_csv(output, table)
    return _summary(task, table, list(parts), len(images), output)


def select(probabilities: np.ndarray, confidence: float, per_class: int) -> np.ndarray:
    """Positions, ascending, of the photos to label from probabilities [N, C].

    A photo counts for its most probable class if that probability is `confidence` or more; each class keeps its
    `per_class` surest, the earlier first where they are equally sure. The cap keeps frequent classes, of which models are
    surest, from swamping the rare ones (Zou et al. 2018, class-balanced self-training).
    """
    predicted, sure = probabilities.argmax(1), probabilities.max(1)
    kept = []
    for number in range(probabilities.shape[1]):
        members = np.flatnonzero((predicted == number) & (sure >= confidence))
        kept.append(members[np.argsort(-sure[members], kind="stable")[:per_class]])
    return np.sort(np.concatenate(kept))


def _table(part: str, images: "pd.Series[str]", probabilities: np.ndarray, params: Params) -> pd.DataFrame:
    which = select(probabilities, params.pseudo.confidence, params.pseudo.per_class)
    columns = {
        "fold": part,
        "ImageID": images.to_numpy()[which],
        "label": probabilities.argmax(1)[which],
        "confidence": probabilities.max(1)[which],
        "split": pseudo_labelled_photos.split(),
    }
    return pd.DataFrame(columns, columns=list(pseudo_labelled_photos.COLUMNS), index=range(len(which)))


def _summary(task: Task, table: pd.DataFrame, parts: list[str], eval_photos: int, output: Path) -> dict[str, Any]:
    by_fold = table["fold"].value_counts()
    there = set(table[table["fold"] == pseudo_labelled_photos.ALL]["label"])
    missing = [name for number, name in enumerate(task.class_names) if number not in there]
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return {
        "labels": str(output),
        "eval_photos": eval_photos,
        **{f"fold_{part}": int(by_fold.get(part, 0)) for part in parts},
        "classes_without_any": ", ".join(missing[:NAMED]) + more or "none",
    }
