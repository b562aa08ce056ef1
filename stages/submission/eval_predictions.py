"""Eval photos: which there are, what models say of them, and the class to answer."""

from pathlib import Path

import numpy as np

from stages.base import paths
from stages.base.files import require
from stages.base.talk import Talk
from stages.data.pixel_cache import Pixels
from stages.data.task_and_classes import Task
from stages.judge import class_offsets, votes
from stages.learn import predict
from stages.learn.predict import Asked
from stages.params.schema import Params


def predict_views(
    params: Params, task: Task, pixels: Pixels, talk: Talk, weights: list[Path] | None = None
) -> np.ndarray:
    """Probabilities float32 [models x views, N, C] of cached photos by every fold's and repeat's model, or `weights`."""
    if weights is None:
        weights = [paths.weights(fold, repeat) for fold in params.folds for repeat in range(params.train.repeats)]
        for path in weights:
            require(path, f"train --fold {path.parts[-3]}")
    views = params.tta.views
    found = np.empty((len(weights), len(views), len(pixels), task.classes), np.float32)
    parts = predict.of_weights(weights, Asked(task, pixels, np.arange(len(pixels)), views), params, talk)
    total = predict.count(len(weights), len(pixels), params)
    for number, places, part in talk.track(parts, total, "predict eval photos"):
        found[number, :, places] = part
    return found.reshape(-1, len(pixels), task.classes)


def answer(probabilities: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
    """The class answered for each photo, [N], from voted probabilities [N, C] and the decision rule's offsets [C]."""
    if offsets is None:
        return probabilities.argmax(1)
    return class_offsets.adjusted(np.log(np.maximum(probabilities.astype(np.float64), votes.LEAST)), offsets).argmax(1)
