"""Scores of predictions. Labels and predictions are class numbers [N]; probabilities are [N, C].

A class is one level of each axis, the first axis slowest; `axes` tells how many levels each axis has, by its name, in order.
`subsets` are named groups of classes, by their numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Axes = Mapping[str, int]
Subsets = Mapping[str, tuple[int, ...]]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities of logits [..., C], in float64, without overflow."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def joint_log_probabilities(logits: np.ndarray, factors: Sequence[slice] = ()) -> np.ndarray:
    """Log probabilities [..., C] from logits: [..., C], or side by side those of the axes, whose levels' probabilities multiply.

    factors: where each axis's logits stand; none for joint logits.
    """
    if not factors:
        return log_softmax(logits)
    joint = np.zeros((*logits.shape[:-1], 1))
    for place in factors:
        axis = log_softmax(logits[..., place])
        joint = (joint[..., :, None] + axis[..., None, :]).reshape(*logits.shape[:-1], -1)
    return joint


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts [C, C]: row = true class, column = predicted class."""
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def f1_from_counts(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 per class from counts [..., C]; 0 where a class is neither true nor predicted (scikit-learn's zero_division=0)."""
    total = true + predicted
    return np.divide(2 * hits, total, out=np.zeros(np.broadcast(hits, total).shape), where=total > 0)


def f1_per_class(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """F1 of each class, [C]."""
    hits, true, predicted = (
        np.bincount(which, minlength=classes) for which in (labels[labels == predictions], labels, predictions)
    )
    return f1_from_counts(hits, true, predicted)


def present(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Classes in the truth or the prediction, in order: those macro F1 is the mean over."""
    # Counted, not sorted: of a million photos each, fitting offsets asks for it hundreds of times.
    true, predicted = (np.flatnonzero(np.bincount(which)) for which in (labels, predictions))
    return np.union1d(true, predicted)


def macro_f1(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    """scikit-learn's f1_score(average="macro", zero_division=0): mean F1 over the classes present in truth or prediction."""
    return float(f1_per_class(labels, predictions, classes)[present(labels, predictions)].mean())


def subset_f1(labels: np.ndarray, predictions: np.ndarray, classes: int, subsets: Subsets) -> dict[str, float]:
    """f1_<name> of each subset: mean F1 of its classes that are present in the truth or the prediction; NaN if none is."""
    f1, among = f1_per_class(labels, predictions, classes), present(labels, predictions)
    own = {name: among[np.isin(among, which)] for name, which in subsets.items()}
    return {f"f1_{name}": float(f1[which].mean()) if len(which) else float("nan") for name, which in own.items()}


def axis_f1(labels: np.ndarray, predictions: np.ndarray, axes: Axes) -> dict[str, float]:
    """f1_<name> of each axis: macro F1 of its levels."""
    return {
        f"f1_{name}": macro_f1(true, predicted, axes[name])
        for name, (true, predicted) in by_axis(labels, predictions, axes).items()
    }


def by_axis(labels: np.ndarray, predictions: np.ndarray, axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """True and predicted levels, each [N], of every axis by its name."""
    sizes = tuple(axes.values())
    pairs = zip(np.unravel_index(labels, sizes), np.unravel_index(predictions, sizes), strict=True)
    return dict(zip(axes, pairs, strict=True))


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of photos whose class is predicted."""
    return float((labels == predictions).mean())


def nll(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross entropy, nats a photo, of log probabilities [N, C]."""
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())
