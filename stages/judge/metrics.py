"""Scores of predictions. Labels and predictions are class numbers [N]; probabilities are [N, C]."""

from collections.abc import Sequence

import numpy as np

from stages.data.layout import CLASSES, OLD_CLASSES, parts

PARTS = ("f1_mask", "f1_gender", "f1_age")


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


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """Counts [C, C]: row = true class, column = predicted class."""
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def f1_from_counts(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 per class from counts [..., C]; 0 where a class is neither true nor predicted (scikit-learn's zero_division=0)."""
    total = true + predicted
    return np.divide(2 * hits, total, out=np.zeros(np.broadcast(hits, total).shape), where=total > 0)


def f1_per_class(labels: np.ndarray, predictions: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """F1 of each class, [C]."""
    counts = confusion(labels, predictions, classes)
    return f1_from_counts(np.diag(counts), counts.sum(1), counts.sum(0))


def present(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Classes in the truth or the prediction: those macro F1 is the mean over."""
    return np.union1d(labels, predictions)


def macro_f1(labels: np.ndarray, predictions: np.ndarray, classes: int = CLASSES) -> float:
    """scikit-learn's f1_score(average="macro", zero_division=0): mean F1 over the classes present in truth or prediction."""
    return float(f1_per_class(labels, predictions, classes)[present(labels, predictions)].mean())


def f1_60plus(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean F1 of those 60+ classes that are present in the truth or the prediction; NaN if none is."""
    old = [number for number in present(labels, predictions) if number in OLD_CLASSES]
    return float(f1_per_class(labels, predictions)[old].mean()) if old else float("nan")


def part_f1(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Macro F1 of mask, gender and age bin apart."""
    return {
        name: macro_f1(true, predicted, 3)
        for name, true, predicted in zip(PARTS, parts(labels), parts(predictions), strict=True)
    }


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of photos whose class is predicted."""
    return float((labels == predictions).mean())


def nll(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross entropy, nats a photo, of log probabilities [N, C]."""
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())
