"""Joining predictions of several folds and views: probabilities [views, N, C] in, probabilities [N, C] out."""

from collections.abc import Callable

import numpy as np


def soft(probabilities: np.ndarray) -> np.ndarray:
    """Mean of the probabilities."""
    return probabilities.mean(axis=0)


def geometric(probabilities: np.ndarray) -> np.ndarray:
    """Geometric mean of the probabilities, normalised to sum 1."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)).mean(axis=0)
    raw = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return raw / raw.sum(axis=-1, keepdims=True)


def hard(probabilities: np.ndarray) -> np.ndarray:
    """Plurality: the share of views that choose each class; ties go to the larger summed probability.

    The summed probability is added below the size of one vote, so that argmax of the result is the vote's winner.
    """
    classes = probabilities.shape[-1]
    ballots = np.eye(classes)[probabilities.argmax(axis=-1)].sum(axis=0)
    tie_break = probabilities.sum(axis=0, dtype=np.float64)
    shares = ballots + tie_break / (tie_break.sum(axis=-1, keepdims=True) + 1e-30) * 0.5
    return shares / shares.sum(axis=-1, keepdims=True)


VOTES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"soft": soft, "geometric": geometric, "hard": hard}
