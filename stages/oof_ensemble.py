"""oof-ensemble: join the folds' validation predictions, one per training photo and repeat, and score them."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.base import environment, large_arrays, paths
from stages.base.errors import UserError
from stages.base.files import (
    damaged,
    read_csv,
    read_json,
    read_npz,
    require,
    write_csv,
    write_csv_in_parts,
    write_json,
    write_npz,
)
from stages.base.talk import Talk
from stages.data import photos
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, calibration, epoch_rules, metrics, votes
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record
from stages.submission import decision_rule

NAMED = 20  # absent classes that a line names
MOST_CELLS = 10_000  # of confusion.csv, which git keeps: all of 100 classes


@dataclass(frozen=True)
class Joined:
    """OOF predictions of N photos by R repeats: log probabilities, and the class predicted after each of E epochs."""

    fold: np.ndarray  # [N]
    selected: np.ndarray  # float32 [R, N, C], of the selected epochs
    last: np.ndarray  # float32 [R, N, C], of the last epochs
    predicted: np.ndarray  # uint16 [R, E, N]


def run(params: Params, talk: Talk) -> None:
    """Write oof.npz, oof.csv, metrics.json, decision.json, confusion.csv, per_class.csv, history.csv (all folds' histories),
    environment.json and run.json, which says what the folds were trained with.

    oof.npz has every repeat apart, for `maskcli compare`; the tables and scores are of the repeats' mean probabilities. Beside
    them stand the answers that macro_f1_adjusted scores, for what says how often answers hold: fitting them takes long.
    """
    task = tasks.read(params)
    table = photos.read(task)
    record = run_record.joined(params, talk, "oof-ensemble")
    joined = join(params, len(table), task.classes)
    labels, group = table["label"].to_numpy(), table["group"].to_numpy()
    history = _histories(params)
    selected = votes.of_repeats(joined.selected)
    first = params.folds[0]
    setting = environment.describe(read_json(paths.train_environment(first), f"train --fold {first}"))
    judgement = decision_rule.judge(selected, labels, group, task, params)
    decision = {"run": record.run, **judgement.told}
    scores = score(Truth(task, labels, group), joined, history, params) | {
        "macro_f1_adjusted": decision["macro_f1_nested"],
        "macro_f1_adjusted_gain_low": decision["low"],
        "macro_f1_adjusted_gain_high": decision["high"],
    }
    # All is known before anything is written, which takes a moment. Scores have no mark of their run: those of an earlier one
    # are not there while its record is replaced.
    _write_predictions(task, table, selected)
    _write_arrays(params, task, table, (joined, judgement.answers), record)
    paths.OOF_METRICS.unlink(missing_ok=True)
    own = run_record.pick(params.model_dump(mode="json"), run_record.OF_JOINING)
    run_record.write(paths.OOF_RUN, record.model_copy(update={"params": record.params | own}))
    write_csv(paths.CONFUSION, confusion_table(task, labels, selected.argmax(1)))
    write_csv(paths.PER_CLASS, _per_class_table(task, labels, selected.argmax(1)))
    write_csv(paths.OOF_HISTORY, history)
    write_json(paths.DECISION, decision)
    write_json(paths.OOF_ENVIRONMENT, setting)
    write_json(paths.OOF_METRICS, scores)
    there = metrics.present(labels, selected.argmax(1))
    absent = [name for number, name in enumerate(task.class_names) if number not in there]
    talk.say(f"oof-ensemble: {_in_words(scores, absent)}")
    talk.say(f"oof-ensemble: {decision_rule.in_words(decision, task.units)}")


def _in_words(scores: dict[str, Any], absent: list[str]) -> str:
    more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
    joined, alone = "", ""
    # Rules are scored by what was predicted after each epoch, of which no probabilities are kept to be joined.
    if scores["repeats"] > 1:
        joined = f", {scores['repeats']} repeats joined"
        alone = f"; of a repeat alone, on average, {scores['macro_f1_seed_mean']:.4f}"
    return (
        f"macro F1 {scores['macro_f1']:.4f} (95 % interval {scores['macro_f1_low']:.4f} to "
        f"{scores['macro_f1_high']:.4f}{joined}), last epochs {scores['macro_f1_last']:.4f}{alone}, "
        f"epochs fixed from the other folds {scores['macro_f1_other_folds']:.4f}, "
        f"best epochs, which flatter, {scores['macro_f1_best_epochs']:.4f}; accuracy {scores['accuracy']:.4f}"
        + (f"; in neither truth nor prediction: {', '.join(absent[:NAMED])}{more}" if absent else "")
    )


def _write_predictions(task: Task, table: pd.DataFrame, selected: np.ndarray) -> None:
    """oof.csv, from log probabilities [N, C]."""

    def part(which: slice) -> pd.DataFrame:
        own, probabilities = table.iloc[which], np.exp(selected[which])
        whose = {} if task.unit == "photo" else {photos.unit_column(task): own["group"]}
        columns = {f"p{number}": probabilities[:, number] for number in range(task.classes)}
        return pd.DataFrame({"photo": own["file"], **whose, "label": own["label"], **columns})

    write_csv_in_parts(paths.OOF, map(part, large_arrays.blocks(*selected.shape)))


def _write_arrays(
    params: Params, task: Task, table: pd.DataFrame, found: tuple[Joined, np.ndarray], record: Record
) -> None:
    """oof.npz, which tells its own task, so that runs of other commits are read as what they are.

    found: the predictions, and the class answered to each photo by offsets fitted on other groups, [N].
    """
    joined, adjusted = found
    subsets = {name: list(which) for name, which in task.subsets.items()}
    arrays = {
        "photo": large_arrays.text(table["file"]),
        photos.unit_column(task): large_arrays.text(table["group"]),
        "label": table["label"].to_numpy(),
        "fold": joined.fold,
        "selected": joined.selected,
        "last": joined.last,
        "adjusted": adjusted.astype(np.uint16),
        "select": np.array(params.train.select),
        "seed": np.array(params.seed),
        "run": np.array(record.run),
        "content": photos.content_of(table),
        "task": np.array(json.dumps(tasks.to_json(task) | {"subsets": subsets}, ensure_ascii=False)),
    }
    write_npz(paths.OOF_ARRAYS, **arrays)


def join(params: Params, photos: int, classes: int) -> Joined:
    """All folds' predictions, every training photo predicted exactly once in each repeat.

    Raises UserError if a fold is missing, or a photo has none or more than one prediction.
    """
    repeats = params.train.repeats
    fold_of = np.zeros(photos, np.int64)
    selected, last = (large_arrays.room((repeats, photos, classes), np.float32) for _ in range(2))
    predicted = large_arrays.room((repeats, params.train.epochs, photos), np.uint16)
    times = np.zeros(photos, int)
    for fold in params.folds:
        path = paths.oof_logits(fold)
        arrays = read_npz(path, f"train --fold {fold}", ("photo", "selected", "last", "predicted"))
        which = arrays["photo"]
        if which.dtype != np.int64 or any(
            arrays[name].shape[1:] != (len(which), classes) for name in ("selected", "last")
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


@dataclass(frozen=True)
class Truth:
    """What N photos are."""

    task: Task
    labels: np.ndarray  # [N]
    group: np.ndarray  # [N] whose photos they are

    def macro_f1(self, predictions: np.ndarray) -> float:
        return metrics.macro_f1(self.labels, predictions, self.task.classes)


def score(truth: Truth, joined: Joined, history: pd.DataFrame, params: Params) -> dict[str, float | int]:
    """All of metrics.json.

    macro_f1 is of the selected epochs (train.select). Beside it stand the scores of other rules: the last epochs; for each
    fold the epoch that the other folds' mean val_f1 names; and each fold's best epoch, which is chosen on the very photos
    that are scored and so reads too high. With several repeats these two are means over repeats, to be read beside
    macro_f1_seed_mean; all others are of the repeats' mean probabilities.
    """
    task, labels, group = truth.task, truth.labels, bootstrap.numbered(truth.group)
    selected, last = votes.of_repeats(joined.selected), votes.of_repeats(joined.last)
    predictions = selected.argmax(1)
    low, high = bootstrap.macro_f1_interval(
        group, labels, predictions, params.ensemble.replicates, params.seed, task.classes
    )
    seeds = [truth.macro_f1(one.argmax(1)) for one in joined.selected]
    of_seeds: dict[str, float] = (
        {
            "macro_f1_seed_mean": float(np.mean(seeds)),
            "macro_f1_seed_sd": float(np.std(seeds, ddof=1)),
            **_by_vote(truth, joined),
        }
        if len(seeds) > 1
        else {}
    )
    return {
        "macro_f1": truth.macro_f1(predictions),
        "macro_f1_low": low,
        "macro_f1_high": high,
        "macro_f1_other_folds": _by_rule(truth, joined, history, "other_folds_f1"),
        "macro_f1_last": truth.macro_f1(last.argmax(1)),
        "macro_f1_best_epochs": _by_rule(truth, joined, history, "best_f1"),
        **of_seeds,
        "accuracy": metrics.accuracy(labels, predictions),
        "nll": metrics.nll(selected, labels),
        "nll_last": metrics.nll(last, labels),
        **_calibrated(selected, labels, group, params),
        **metrics.subset_f1(labels, predictions, task.classes, task.subsets),
        **(metrics.axis_f1(labels, predictions, task.axis_sizes) if len(task.axes) > 1 else {}),
        "classes_scored": len(metrics.present(labels, predictions)),
        **({} if task.unit == "photo" else {task.units: int(group.max()) + 1}),
        "photos": len(labels),
        "folds": len(params.folds),
        "repeats": len(joined.selected),
    }


def _calibrated(
    log_probabilities: np.ndarray, labels: np.ndarray, group: np.ndarray, params: Params
) -> dict[str, float]:
    """Calibration error, and the same and the loss after dividing by the temperature that fits best, with their intervals."""
    how = params.ensemble.replicates, params.seed
    temperature = calibration.temperature(log_probabilities, labels)
    coldest, hottest = calibration.temperature_interval(log_probabilities, labels, group, temperature, *how)
    before, after = (
        calibration.calibration_error(calibration.answers(log_probabilities, labels, divisor), group, *how)
        for divisor in (None, temperature)
    )
    return {
        "ece": before.ece,
        "ece_low": before.low,
        "ece_high": before.high,
        "ece_debiased": before.debiased,
        "ece_by_chance": before.by_chance,
        "temperature": temperature,
        "temperature_low": coldest,
        "temperature_high": hottest,
        "nll_calibrated": calibration.nll_at(temperature, log_probabilities, labels),
        "ece_calibrated": after.ece,
        "ece_calibrated_low": after.low,
        "ece_calibrated_high": after.high,
    }


def _by_vote(truth: Truth, joined: Joined) -> dict[str, float]:
    """Macro F1 of the repeats' OOF predictions joined by each vote. (Folds have no vote here: they share no photo.)"""
    probabilities = np.exp(joined.selected)
    return {
        f"macro_f1_vote_{name}": truth.macro_f1(votes.within(vote, probabilities, joined.fold).argmax(1))
        for name, vote in votes.VOTES.items()
    }


def _by_rule(truth: Truth, joined: Joined, history: pd.DataFrame, rule: str) -> float:
    """Macro F1, mean over repeats, with each fold's epoch chosen by a rule of stages.judge.epoch_rules."""
    found = []
    for repeat, predicted in enumerate(joined.predicted):
        own = history[history["repeat"] == repeat]
        f1, nll = (epoch_rules.curves(own, column, len(predicted)) for column in ("val_f1", "val_nll"))
        chosen = epoch_rules.rules(f1, nll)[rule]
        found.append(truth.macro_f1(predicted[chosen[joined.fold], np.arange(len(truth.labels))]))
    return float(np.mean(found))


def confusion_table(task: Task, labels: np.ndarray, predictions: np.ndarray) -> pd.DataFrame:
    """Photos of each true class by predicted class: all C x C rows, so that it is as small with a million photos; where these
    are more than MOST_CELLS, those of the most photos.
    """
    names = np.array(task.numbered_names)
    counts = metrics.confusion(labels, predictions, task.classes).ravel()
    cells = np.arange(len(counts))
    if len(cells) > MOST_CELLS:
        largest = np.argsort(-counts, kind="stable")[:MOST_CELLS]
        cells = np.sort(largest[counts[largest] > 0])
    true, predicted = np.divmod(cells, task.classes)
    return pd.DataFrame({"true": names[true], "predicted": names[predicted], "photos": counts[cells]})


def _per_class_table(task: Task, labels: np.ndarray, predictions: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "class": task.numbered_names,
            "f1": metrics.f1_per_class(labels, predictions, task.classes),
            "photos": np.bincount(labels, minlength=task.classes),
            "predicted": np.bincount(predictions, minlength=task.classes),
        }
    )


def _histories(params: Params) -> pd.DataFrame:
    tables = [_history(fold) for fold in params.folds]
    return pd.concat(tables, ignore_index=True)


def _history(fold: int) -> pd.DataFrame:
    """Raises UserError where the fold is not trained to its end: predictions of that same run from before may still be there,
    of whose epochs its history has only the first by now."""
    require(paths.train_metrics(fold), f"train --fold {fold}")
    return read_csv(paths.history(fold), f"train --fold {fold}", epoch_rules.HISTORY_TYPES).assign(fold=fold)
