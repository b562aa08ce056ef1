"""epochs: when to stop. What the folds' histories say about the number of epochs, before or after all are trained."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError, beside
from stages.base.files import read_csv, write_csv
from stages.base.talk import Talk
from stages.judge import epoch_rules
from stages.judge.epoch_rules import Advice
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record
from stages.report.png.result_figures import epoch_curves


def run(params: Params, talk: Talk) -> dict[str, Any]:
    """Write curve.csv and curve.png; return the advice, flat enough for JSON. Folds not yet trained are left out, and so are runs
    that have not come to their end, as long as one has.

    Raises Unwritten where the files cannot be written.
    """
    done, record, history = _histories(params, talk)
    found = run_record.not_asked(params, record)
    if found:
        talk.say(f"epochs: this is about what was trained: {run_record.in_words(found, 'params.yaml now')}")
        params = run_record.as_run(params, record)
    longest = int(history["epoch"].max())
    train_loss, nll, f1, fold = _curves(history, longest)
    advice = epoch_rules.advise(train_loss, nll, f1, fold)
    table = pd.DataFrame(
        {
            "epoch": np.arange(1, longest + 1),
            "val_f1": advice.mean_f1,
            "val_f1_error": advice.band_f1,
            "val_f1_lost": advice.cost_f1,
            "val_nll": advice.mean_nll,
            "val_nll_error": advice.band_nll,
        }
    )
    told = {
        "folds": done,
        "runs": sorted(set(history["fold"])),
        **{name: value for name, value in asdict(advice).items() if not isinstance(value, np.ndarray)},
        "best_epoch_sd": float(np.std(advice.best_f1, ddof=1)) if len(f1) > 1 else 0.0,
        "trained_epochs": longest,
        "refit_epochs": _refit_epochs(advice, longest, params),
        "curve": table.to_dict("records"),
        "advice": _in_words(advice, longest, params),
    }
    with beside(told):
        write_csv(paths.EPOCHS_CSV, table)
        epoch_curves(paths.EPOCHS_PNG, f1, nll, advice)
    return told


def for_refit(params: Params, talk: Talk) -> int:
    """The epochs of a refit that the advice names. Raises UserError where the folds say nothing of them."""
    _, record, history = _histories(params, talk)
    if not history["ended"].any():
        raise UserError(
            f"refit: no fold is trained to its end ({int(history['epoch'].max())} epochs so far), so nothing says when to stop; "
            "run `dvc repro`, or set refit.epochs to a number"
        )
    found = run_record.not_asked(params, record)
    if found:
        raise UserError(
            f"refit: the folds were trained with {run_record.in_words(found, 'now')}, so the epochs that they name are another "
            "method's; run `dvc repro`, or set refit.epochs to a number"
        )
    longest = int(history["epoch"].max())
    return _refit_epochs(epoch_rules.advise(*_curves(history, longest)), longest, params)


def _histories(params: Params, talk: Talk) -> tuple[list[int], Record, pd.DataFrame]:
    """The folds that are trained, or in training, as params.yaml asks, or where none is, those of most folds' training; and
    their record and histories. The others are left out, and named; so are runs without an end, unless none has one.
    """
    done = [fold for fold in params.folds if paths.history(fold).exists()]
    if not done:
        raise UserError(
            f"{paths.TRAIN}: no fold has a history.csv yet; run `dvc repro train` or `maskcli train --fold 0` first"
        )
    if len(done) < len(params.folds):
        talk.say(f"epochs: folds {done} of {list(params.folds)} are trained")
    records = {fold: run_record.of_fold(fold, outputs=False) for fold in done}
    alike, record = run_record.of_one_training(params, records)
    odd = [fold for fold in done if fold not in alike]
    if odd:
        told = run_record.in_words(run_record.differing(records[odd[0]], record), "the others")
        talk.say(f"epochs: left out: {run_record.named(odd)} trained with {told}")
    longest = run_record.as_run(params, record).train.epochs
    history = pd.concat([_runs(fold, longest) for fold in alike], ignore_index=True)
    running = sorted(set(history["fold"][~history["ended"]]))
    if running and history["ended"].any():
        one = len(running) == 1
        talk.say(f"epochs: left out: {'run' if one else 'runs'} {', '.join(running)}, not trained to the end")
        history = history[history["ended"]]
    elif running:
        talk.say(f"epochs: no fold is trained to its end: this is about the epochs so far, of {longest}")
    return [fold for fold in alike if fold in set(history["of"])], record, history


def _curves(history: pd.DataFrame, longest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """train_loss, val_nll and val_f1, each [runs, epochs], and the fold of each run, [runs]."""
    train_loss, nll, f1 = (
        epoch_rules.curves(history, column, longest) for column in ("train_loss", "val_nll", "val_f1")
    )
    return train_loss, nll, f1, history.groupby("fold")["of"].first().to_numpy()  # in the order of the curves


def _runs(fold: int, longest: int) -> pd.DataFrame:
    """A fold's history, its repeats as runs of their own named fold or fold.repeat, `of` that fold; `ended`: whether the run, of
    `longest` epochs at most, has come to its end. Of a fold that has not, only its last repeat can be without one.
    """
    table = read_csv(paths.history(fold), f"train --fold {fold}", epoch_rules.HISTORY_TYPES)
    repeat = table["repeat"]
    ended = paths.train_metrics(fold).exists() or (repeat == repeat.max()).sum() >= longest
    names = [f"{fold}.{number}" if repeat.nunique() > 1 else str(fold) for number in repeat]
    return table.assign(fold=names, of=fold, ended=ended | (repeat < repeat.max()))


def _falls_at_end(advice: Advice, longest: int, params: Params) -> bool:
    """A best epoch near the end of a schedule that falls to its end owes its place to the low learning rate there."""
    return params.schedule.name in ("cosine", "onecycle") and advice.best_epoch > 0.8 * longest


def _refit_epochs(advice: Advice, longest: int, params: Params) -> int:
    return longest if _falls_at_end(advice, longest, params) else advice.recommended


def _in_words(advice: Advice, longest: int, params: Params) -> str:
    """The recommendation in one sentence or two."""
    overfitting = sum(onset is not None for onset in advice.onset)
    where = (
        f"{overfitting} of {len(advice.onset)} runs overfit by val_nll" if overfitting else "no run overfits by val_nll"
    )
    refit = f"refit.epochs: {_refit_epochs(advice, longest, params)} for a refit (auto takes it)"
    if advice.recommended == longest:
        return f"{refit}; val_f1 still rose at the end, so try more; {where}"
    line = (
        f"epoch {advice.recommended} is the earliest within one standard error of the best (epoch {advice.best_epoch})"
    )
    if _falls_at_end(advice, longest, params):
        return (
            f"{refit}; {line}, but the learning rate had not come down there: a shorter "
            f"schedule, train.epochs: {advice.recommended}, may do as well and is worth one experiment; {where}"
        )
    return f"{refit}; {line}; {where}"
