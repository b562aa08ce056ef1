"""Which epoch to keep, how far folds differ on it, and when overfitting begins. Histories are arrays [folds, epochs]."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# What history.csv must hold for this room; it has more columns.
HISTORY_TYPES = {"repeat": int, "epoch": int, "train_loss": float, "val_loss": float, "val_nll": float, "val_f1": float}
RISE = 1.02  # val_nll above its minimum by this factor counts as risen


@dataclass(frozen=True)
class Advice:
    """What the runs' curves say about the number of epochs; epochs count from 1, curves are [epochs]."""

    best_f1: list[int]  # each run's epoch of highest val_f1
    best_nll: list[int]  # and of lowest val_nll
    onset: list[int | None]  # and where overfitting begins
    mean_f1: np.ndarray
    mean_nll: np.ndarray
    band_f1: np.ndarray  # standard error of the mean over folds
    band_nll: np.ndarray
    cost_f1: np.ndarray  # mean val_f1 lost by stopping there instead of at the mean curve's best epoch
    best_epoch: int  # of the mean val_f1 curve
    recommended: int


def curves(history: pd.DataFrame, column: str, epochs: int) -> np.ndarray:
    """One column of the folds' histories as [folds, epochs]; where a fold stopped early its last value stands on."""
    table = history.pivot(index="fold", columns="epoch", values=column).reindex(columns=range(1, epochs + 1))
    return table.ffill(axis=1).to_numpy()


def rules(f1: np.ndarray, nll: np.ndarray) -> dict[str, np.ndarray]:
    """Epoch index of each fold, [folds], by every rule, from val_f1 and val_nll [folds, epochs].

    best_f1 and best_nll choose on the fold's own validation photos, which are then scored; other_folds_f1 and
    other_folds_nll take the best epoch of the other folds' mean curve, so a fold's photos have no say; last has no choice.
    """
    return {
        "best_f1": f1.argmax(1),
        "best_nll": nll.argmin(1),
        "other_folds_f1": from_other_folds(-f1),
        "other_folds_nll": from_other_folds(nll),
        "last": np.full(len(f1), f1.shape[1] - 1),
    }


def from_other_folds(cost: np.ndarray) -> np.ndarray:
    """For each fold the epoch index, [folds], at which the mean `cost` [folds, epochs] of the other folds is lowest."""
    return (cost.sum(0, keepdims=True) - cost).argmin(1)


def overfitting_onset(train_loss: np.ndarray, val_nll: np.ndarray) -> int | None:
    """Epoch index of the lowest val_nll [epochs] if it has risen since while train_loss [epochs] went on falling."""
    lowest = int(val_nll.argmin())
    risen = val_nll[-1] > RISE * val_nll[lowest]
    return lowest if risen and train_loss[-1] < train_loss[lowest] else None


def advise(train_loss: np.ndarray, nll: np.ndarray, f1: np.ndarray, fold: np.ndarray) -> Advice:
    """Advice from train_loss, val_nll and val_f1 of runs, each of one repeat of a fold, [runs, epochs], and their folds, [runs].

    Recommended is the earliest epoch whose mean val_f1 is within one standard error of the best epoch's, the error being
    that of the paired difference over folds (the one-standard-error rule, Breiman et al. 1984). Repeats of a fold are judged
    on the same people, and tell no more of others, so errors are those of the folds' means.
    """
    best = int(f1.mean(0).argmax())
    lost = f1[:, [best]] - f1
    error = _standard_error(lost, fold)
    recommended = int(np.flatnonzero(lost.mean(0) <= error)[0])
    onsets = [overfitting_onset(*pair) for pair in zip(train_loss, nll, strict=True)]
    return Advice(
        best_f1=[int(place) + 1 for place in f1.argmax(1)],
        best_nll=[int(place) + 1 for place in nll.argmin(1)],
        onset=[None if place is None else place + 1 for place in onsets],
        mean_f1=f1.mean(0),
        mean_nll=nll.mean(0),
        band_f1=_standard_error(f1, fold),
        band_nll=_standard_error(nll, fold),
        cost_f1=lost.mean(0),
        best_epoch=best + 1,
        recommended=recommended + 1,
    )


def _standard_error(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Standard error over folds, [epochs], of the mean of runs' values [runs, epochs], a fold's repeats averaged; 0 with one
    fold."""
    means = np.stack([values[fold == number].mean(0) for number in np.unique(fold)])
    return means.std(0, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.zeros(values.shape[1])
