"""What the service asks of a model, from a trained ensemble."""

import hashlib
from typing import Any

import numpy as np

from stages.bundle import new_photos, predictor
from stages.bundle.predictor import Predictor
from stages.serving.app import Model


def model(ensemble: Predictor) -> Model:
    """The Model whose answers are those of `maskcli predict`."""
    return Model(
        id=_id(ensemble),
        size=ensemble.params.cache_size,
        read=lambda content: new_photos.read(content, "photo", ensemble.params),
        run=lambda pixels: predictor.probabilities(ensemble, pixels),
        told=lambda probabilities, listed: told(ensemble, probabilities, listed),
    )


def _id(ensemble: Predictor) -> str:
    """16 hex digits of all that maskcli.json says, which names every file of a bundle by its hash."""
    return hashlib.sha256(ensemble.contents.model_dump_json().encode()).hexdigest()[:16]


def told(ensemble: Predictor, probabilities: np.ndarray, listed: bool) -> list[dict[str, Any]]:
    """The answer of each photo from voted probabilities [n, C]: its label by the decision rule, the label's level of each
    axis, and calibrated probabilities, of a level the sum over its classes. listed: of all classes too.
    """
    task = ensemble.task
    calibrated = predictor.calibrated(ensemble, probabilities)
    labels = predictor.answers(ensemble, probabilities)
    levels = np.stack(task.parts(np.arange(task.classes)))  # [axes, C]
    rows = []
    for own, label in zip(calibrated, labels, strict=True):
        row: dict[str, Any] = {"label": task.class_names[label], "class": int(label), "probability": float(own[label])}
        row["axes"] = {
            axis.name: {
                "level": axis.levels[codes[label]],
                "probability": min(1.0, float(own[codes == codes[label]].sum())),
            }
            for axis, codes in zip(task.axes, levels, strict=True)
        }
        if listed:
            row["probabilities"] = dict(zip(task.class_names, own.tolist(), strict=True))
        rows.append(row)
    return rows
