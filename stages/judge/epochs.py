"""Which epoch to keep, how far folds differ on it, and when overfitting begins. Histories are arrays [folds, epochs]."""

import numpy as np


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
