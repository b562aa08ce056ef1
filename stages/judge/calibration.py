"""Do probabilities mean what they say? Calibration error and temperature (Guo et al. 2017, arXiv:1706.04599)."""

import numpy as np
from scipy.optimize import minimize_scalar

from stages.judge.metrics import log_softmax, nll

BINS = 15


def temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature by which to divide logits [N, C] so that nll is lowest: above 1 where the model is too sure.

    One number fitted on OOF predictions, so it has next to nothing to overfit with. Lies within 0.05..20.
    """

    def loss(log_temperature: float) -> float:
        return nll(log_softmax(log_probabilities / np.exp(log_temperature)), labels)

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per bin of the top probability, equal widths over 0..1: mean confidence, accuracy (NaN if empty), photos; each [bins]."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    photos = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=confidence, minlength=bins) / photos
        accuracy = np.bincount(place, weights=right, minlength=bins) / photos
    return mean, accuracy, photos


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean over photos of |confidence - accuracy| of their bin."""
    mean, accuracy, photos = reliability(probabilities, labels, bins)
    full = photos > 0
    return float((photos[full] * np.abs(mean[full] - accuracy[full])).sum() / len(labels))
