"""oof-ensemble: join the folds' validation predictions, one per training photo, and score them."""

import numpy as np
import pandas as pd

from stages import paths
from stages.data.layout import CLASSES, class_name
from stages.errors import UserError
from stages.files import read_csv, require, write_csv, write_json
from stages.judge import bootstrap, metrics
from stages.params import Params
from stages.talk import Talk


def run(params: Params, talk: Talk) -> None:
    """Write oof.csv, metrics.json, confusion.csv, per_class.csv and history.csv (all folds' histories, with the fold)."""
    photos = read_csv(paths.PHOTOS, "prepare", dtype={"person": str, "file": str})
    selected, last = join(params, len(photos))
    labels, person = photos["label"].to_numpy(), photos["person"].to_numpy()
    probabilities = np.exp(selected)
    columns = {f"p{number}": probabilities[:, number] for number in range(CLASSES)}
    write_csv(paths.OOF, pd.DataFrame({"photo": photos["file"], "person": person, "label": labels, **columns}))
    write_csv(paths.CONFUSION, _confusion_table(labels, selected.argmax(1)))
    write_csv(paths.PER_CLASS, _per_class_table(labels, selected.argmax(1)))
    write_csv(paths.OOF_HISTORY, _histories(params))
    scores = score(labels, person, selected, last, params)
    write_json(paths.OOF_METRICS, scores)
    absent = [
        class_name(number) for number in range(CLASSES) if number not in metrics.present(labels, selected.argmax(1))
    ]
    talk.say(
        f"oof-ensemble: macro F1 {scores['macro_f1']:.4f} (95 % interval {scores['macro_f1_low']:.4f} to "
        f"{scores['macro_f1_high']:.4f}), of the last epochs {scores['macro_f1_last']:.4f}; accuracy {scores['accuracy']:.4f}"
        + (f"; in neither truth nor prediction: {', '.join(absent)}" if absent else "")
    )


def join(params: Params, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities [N, 18] of the selected and the last epochs, every training photo predicted exactly once.

    Raises UserError if a fold is missing, or a photo has none or more than one prediction.
    """
    selected = np.zeros((photos, CLASSES), np.float32)
    last = np.zeros_like(selected)
    times = np.zeros(photos, int)
    for fold in params.folds:
        path = paths.oof_logits(fold)
        require(path, f"train --fold {fold}")
        with np.load(path, allow_pickle=False) as arrays:
            which = arrays["photo"]
            if len(which) and which.max() >= photos:
                raise UserError(f"{path}: predicts photos that {paths.PHOTOS} does not have; train this fold again")
            selected[which], last[which] = arrays["selected"], arrays["last"]
            np.add.at(times, which, 1)
    if (times != 1).any():
        place = int(np.flatnonzero(times != 1)[0])
        raise UserError(
            f"{paths.TRAIN}: photo {place} of {paths.PHOTOS} has {times[place]} OOF predictions instead of one; "
            "the folds come from different runs of kfold: train them all again (`dvc repro`)"
        )
    return selected, last


def score(
    labels: np.ndarray, person: np.ndarray, selected: np.ndarray, last: np.ndarray, params: Params
) -> dict[str, float | int]:
    """All of metrics.json from labels [N], people [N] and log probabilities [N, 18]."""
    predictions = selected.argmax(1)
    low, high = bootstrap.macro_f1_interval(person, labels, predictions, params.ensemble.replicates, params.seed)
    return {
        "macro_f1": metrics.macro_f1(labels, predictions),
        "macro_f1_low": low,
        "macro_f1_high": high,
        "macro_f1_last": metrics.macro_f1(labels, last.argmax(1)),
        "accuracy": metrics.accuracy(labels, predictions),
        "nll": metrics.nll(selected, labels),
        "nll_last": metrics.nll(last, labels),
        "f1_60plus": metrics.f1_60plus(labels, predictions),
        **metrics.part_f1(labels, predictions),
        "classes_scored": len(metrics.present(labels, predictions)),
        "people": len(np.unique(person)),
        "photos": len(labels),
        "folds": len(params.folds),
    }


def _confusion_table(labels: np.ndarray, predictions: np.ndarray) -> pd.DataFrame:
    """One row per photo, as DVC's confusion template wants it: the names of the true and the predicted class."""
    names = np.array([f"{number:02d} {class_name(number)}" for number in range(CLASSES)])
    return pd.DataFrame({"true": names[labels], "predicted": names[predictions]})


def _per_class_table(labels: np.ndarray, predictions: np.ndarray) -> pd.DataFrame:
    counts = metrics.confusion(labels, predictions)
    return pd.DataFrame(
        {
            "class": [f"{number:02d} {class_name(number)}" for number in range(CLASSES)],
            "f1": metrics.f1_per_class(labels, predictions),
            "photos": counts.sum(1),
            "predicted": counts.sum(0),
        }
    )


def _histories(params: Params) -> pd.DataFrame:
    tables = [read_csv(paths.history(fold), f"train --fold {fold}").assign(fold=fold) for fold in params.folds]
    return pd.concat(tables, ignore_index=True)
