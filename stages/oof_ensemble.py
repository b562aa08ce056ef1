"""oof-ensemble: join the folds' validation predictions, one per training photo and repeat, and score them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.base import environment, paths
from stages.base.errors import UserError
from stages.base.files import damaged, read_csv, read_json, read_npz, write_csv, write_json, write_npz
from stages.base.talk import Talk
from stages.data import layout
from stages.data.layout import CLASSES, class_name
from stages.judge import bootstrap, calibration, epoch_rules, metrics, votes
from stages.params.schema import Params
from stages.records import run_record
from stages.submission import decision_rule


@dataclass(frozen=True)
class Joined:
    """OOF predictions of N photos by R repeats: log probabilities, and the class predicted after each of E epochs."""

    fold: np.ndarray  # [N]
    selected: np.ndarray  # float32 [R, N, 18], of the selected epochs
    last: np.ndarray  # float32 [R, N, 18], of the last epochs
    predicted: np.ndarray  # uint8 [R, E, N]


def run(params: Params, talk: Talk) -> None:
    """Write oof.npz, oof.csv, metrics.json, decision.json, confusion.csv, per_class.csv, history.csv (all folds' histories),
    environment.json and run.json, which says what the folds were trained with.

    oof.npz has every repeat apart, for `maskcli compare`; the tables and scores are of the repeats' mean probabilities.
    """
    photos = read_csv(paths.PHOTOS, "prepare", layout.PHOTO_TYPES)
    record = run_record.joined(params, talk, "oof-ensemble")
    joined = join(params, len(photos))
    labels, person = photos["label"].to_numpy(), photos["person"].to_numpy()
    history = _histories(params)
    selected = _mean(joined.selected)
    probabilities = np.exp(selected)
    columns = {f"p{number}": probabilities[:, number] for number in range(CLASSES)}
    write_csv(paths.OOF, pd.DataFrame({"photo": photos["file"], "person": person, "label": labels, **columns}))
    write_npz(
        paths.OOF_ARRAYS,
        photo=photos["file"].to_numpy(str),
        person=person.astype(str),
        label=labels,
        fold=joined.fold,
        selected=joined.selected,
        last=joined.last,
        select=np.array(params.train.select),
        seed=np.array(params.seed),
        run=np.array(record.run),
        content=layout.content_of(photos),
    )
    own = run_record.pick(params.model_dump(mode="json"), run_record.OF_JOINING)
    run_record.write(paths.OOF_RUN, record.model_copy(update={"params": record.params | own}))
    write_csv(paths.CONFUSION, _confusion_table(labels, selected.argmax(1)))
    write_csv(paths.PER_CLASS, _per_class_table(labels, selected.argmax(1)))
    write_csv(paths.OOF_HISTORY, history)
    decision = {"run": record.run, **decision_rule.judge(selected, labels, person, params)}
    write_json(paths.DECISION, decision)
    scores = score(labels, person, joined, history, params) | {
        "macro_f1_adjusted": decision["macro_f1_nested"],
        "macro_f1_adjusted_gain_low": decision["low"],
        "macro_f1_adjusted_gain_high": decision["high"],
    }
    write_json(paths.OOF_METRICS, scores)
    first = params.folds[0]
    write_json(
        paths.OOF_ENVIRONMENT, environment.describe(read_json(paths.train_environment(first), f"train --fold {first}"))
    )
    absent = [
        class_name(number) for number in range(CLASSES) if number not in metrics.present(labels, selected.argmax(1))
    ]
    talk.say(
        f"oof-ensemble: macro F1 {scores['macro_f1']:.4f} (95 % interval {scores['macro_f1_low']:.4f} to "
        f"{scores['macro_f1_high']:.4f}), last epochs {scores['macro_f1_last']:.4f}, "
        f"epochs fixed from the other folds {scores['macro_f1_other_folds']:.4f}, "
        f"best epochs, which flatter, {scores['macro_f1_best_epochs']:.4f}; accuracy {scores['accuracy']:.4f}"
        + (f"; in neither truth nor prediction: {', '.join(absent)}" if absent else "")
    )
    talk.say(f"oof-ensemble: {decision_rule.in_words(decision)}")


def join(params: Params, photos: int) -> Joined:
    """All folds' predictions, every training photo predicted exactly once in each repeat.

    Raises UserError if a fold is missing, or a photo has none or more than one prediction.
    """
    repeats = params.train.repeats
    fold_of = np.zeros(photos, np.int64)
    selected = np.zeros((repeats, photos, CLASSES), np.float32)
    last = np.zeros_like(selected)
    predicted = np.zeros((repeats, params.train.epochs, photos), np.uint8)
    times = np.zeros(photos, int)
    for fold in params.folds:
        path = paths.oof_logits(fold)
        arrays = read_npz(path, f"train --fold {fold}", ("photo", "selected", "last", "predicted"))
        which = arrays["photo"]
        if which.dtype != np.int64 or any(
            arrays[name].shape[1:] != (len(which), CLASSES) for name in ("selected", "last")
        ):
            raise damaged(path, "does not hold the arrays it should", f"train --fold {fold}")
        if len(which) and which.max() >= photos:
            raise UserError(f"{path}: predicts photos that {paths.PHOTOS} does not have; train this fold again")
        if arrays["predicted"].shape[:2] != predicted.shape[:2]:
            raise UserError(f"{path}: has other train.repeats or train.epochs than params.yaml; train this fold again")
        fold_of[which], selected[:, which], last[:, which] = fold, arrays["selected"], arrays["last"]
        predicted[:, :, which] = arrays["predicted"]
        np.add.at(times, which, 1)
    if (times != 1).any():
        place = int(np.flatnonzero(times != 1)[0])
        raise UserError(
            f"{paths.TRAIN}: photo {place} of {paths.PHOTOS} has {times[place]} OOF predictions instead of one; "
            "the folds come from different runs of kfold: train them all again (`dvc repro`)"
        )
    return Joined(fold_of, selected, last, predicted)


def score(
    labels: np.ndarray, person: np.ndarray, joined: Joined, history: pd.DataFrame, params: Params
) -> dict[str, float | int]:
    """All of metrics.json from labels [N], people [N] and the joined predictions.

    macro_f1 is of the selected epochs (train.select). Beside it stand the scores of other rules: the last epochs; for each
    fold the epoch that the other folds' mean val_f1 names; and each fold's best epoch, which is chosen on the very photos
    that are scored and so reads too high.
    """
    selected, last = _mean(joined.selected), _mean(joined.last)
    predictions = selected.argmax(1)
    low, high = bootstrap.macro_f1_interval(person, labels, predictions, params.ensemble.replicates, params.seed)
    temperature = calibration.temperature(selected, labels)
    seeds = [metrics.macro_f1(labels, one.argmax(1)) for one in joined.selected]
    of_seeds = (
        {"macro_f1_seed_mean": np.mean(seeds), "macro_f1_seed_sd": np.std(seeds, ddof=1), **_by_vote(labels, joined)}
        if len(seeds) > 1
        else {}
    )
    return {
        "macro_f1": metrics.macro_f1(labels, predictions),
        "macro_f1_low": low,
        "macro_f1_high": high,
        "macro_f1_other_folds": _by_rule(labels, joined, history, "other_folds_f1"),
        "macro_f1_last": metrics.macro_f1(labels, last.argmax(1)),
        "macro_f1_best_epochs": _by_rule(labels, joined, history, "best_f1"),
        **of_seeds,
        "accuracy": metrics.accuracy(labels, predictions),
        "nll": metrics.nll(selected, labels),
        "nll_last": metrics.nll(last, labels),
        "ece": calibration.ece(np.exp(selected), labels),
        "temperature": temperature,
        "nll_calibrated": metrics.nll(metrics.log_softmax(selected / temperature), labels),
        "ece_calibrated": calibration.ece(np.exp(metrics.log_softmax(selected / temperature)), labels),
        "f1_60plus": metrics.f1_60plus(labels, predictions),
        **metrics.part_f1(labels, predictions),
        "classes_scored": len(metrics.present(labels, predictions)),
        "people": len(np.unique(person)),
        "photos": len(labels),
        "folds": len(params.folds),
        "repeats": len(joined.selected),
    }


def _mean(log_probabilities: np.ndarray) -> np.ndarray:
    """Log of the mean probability over repeats, [R, N, 18] to [N, 18]."""
    if len(log_probabilities) == 1:
        return log_probabilities[0]
    return np.log(np.maximum(np.exp(log_probabilities.astype(np.float64)).mean(0), 1e-30))


def _by_vote(labels: np.ndarray, joined: Joined) -> dict[str, float]:
    """Macro F1 of the repeats' OOF predictions joined by each vote. (Folds have no vote here: they share no photo.)"""
    probabilities = np.exp(joined.selected)
    return {
        f"macro_f1_vote_{name}": metrics.macro_f1(labels, votes.within(vote, probabilities, joined.fold).argmax(1))
        for name, vote in votes.VOTES.items()
    }


def _by_rule(labels: np.ndarray, joined: Joined, history: pd.DataFrame, rule: str) -> float:
    """Macro F1, mean over repeats, with each fold's epoch chosen by a rule of stages.judge.epoch_rules."""
    found = []
    for repeat, predicted in enumerate(joined.predicted):
        own = history[history["repeat"] == repeat]
        f1, nll = (epoch_rules.curves(own, column, len(predicted)) for column in ("val_f1", "val_nll"))
        chosen = epoch_rules.rules(f1, nll)[rule]
        found.append(metrics.macro_f1(labels, predicted[chosen[joined.fold], np.arange(len(labels))]))
    return float(np.mean(found))


def _confusion_table(labels: np.ndarray, predictions: np.ndarray) -> pd.DataFrame:
    """Photos of each true class by predicted class, all CLASSES x CLASSES rows: as small with a million photos."""
    names = np.array([f"{number:02d} {class_name(number)}" for number in range(CLASSES)])
    counts = metrics.confusion(labels, predictions)
    return pd.DataFrame({"true": names.repeat(CLASSES), "predicted": np.tile(names, CLASSES), "photos": counts.ravel()})


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
    tables = [_history(fold) for fold in params.folds]
    return pd.concat(tables, ignore_index=True)


def _history(fold: int) -> pd.DataFrame:
    return read_csv(paths.history(fold), f"train --fold {fold}", epoch_rules.HISTORY_TYPES).assign(fold=fold)
