"""tta-predict: predict the eval photos with every fold's model and every view, join them by vote, write the submission."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.files import read_csv, require, write_csv, write_json, write_npz
from stages.base.talk import Talk
from stages.data import layout
from stages.data.layout import CLASSES
from stages.data.pixel_cache import Pixels, open_cache
from stages.judge import class_offsets, votes
from stages.learn import predict
from stages.params.schema import Params
from stages.records import run_record
from stages.submission import decision_rule


def run(params: Params, talk: Talk) -> None:
    """Write submission.csv (ImageID, ans) in info.csv's order, probabilities.npz (image, probabilities [N, 18] as voted,
    before any offset) and summary.json: what was joined, and how the answers were decided.
    """
    photos = read_csv(paths.EVAL, "prepare", layout.EVAL_TYPES)
    images = photos["ImageID"]
    record = run_record.joined(
        params, talk, "tta-predict"
    )  # before the long part, so that what is amiss is told at once
    settled = decision_rule.settle(params, talk, record.run)
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    joined = votes.VOTES[params.ensemble.vote](predict_views(params, pixels, talk))
    answers = answer(joined, settled.offsets)
    write_npz(
        paths.PROBABILITIES,
        image=images.to_numpy(str),
        probabilities=joined.astype(np.float32),
        run=np.array(record.run),
        content=layout.content_of(photos),
    )
    write_csv(paths.SUBMISSION, pd.DataFrame({"ImageID": images, "ans": answers}))
    write_json(paths.SUBMISSION_SUMMARY, {"run": record.run, **summary(params, settled, joined, answers)})
    talk.say(
        f"tta-predict: {len(images)} answers from {len(params.folds)} folds x {len(params.tta.views)} views in {paths.SUBMISSION}"
    )


def predict_views(params: Params, pixels: Pixels, talk: Talk, weights: list[Path] | None = None) -> np.ndarray:
    """Probabilities float32 [models x views, N, 18] of cached photos by every fold's and repeat's model, or `weights`."""
    if weights is None:
        weights = [paths.weights(fold, repeat) for fold in params.folds for repeat in range(params.train.repeats)]
        for path in weights:
            require(path, f"train --fold {path.parts[-3]}")
    views = params.tta.views
    found = np.empty((len(weights), len(views), len(pixels), CLASSES), np.float32)
    parts = predict.of_weights(weights, pixels, np.arange(len(pixels)), views, params, talk)
    total = predict.count(len(weights), len(pixels), params)
    for number, places, part in talk.track(parts, total, "predict eval photos"):
        found[number, :, places] = part
    return found.reshape(-1, len(pixels), CLASSES)


def answer(probabilities: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
    """The class answered for each photo, [N]."""
    if offsets is None:
        return probabilities.argmax(1)
    return class_offsets.adjusted(np.log(np.maximum(probabilities.astype(np.float64), 1e-30)), offsets).argmax(1)


def summary(params: Params, settled: decision_rule.Settled, joined: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """What stands in summary.json beside the submission."""
    return {
        "photos": len(answers),
        "folds": len(params.folds),
        "repeats": params.train.repeats,
        "views": list(params.tta.views),
        "vote": params.ensemble.vote,
        "decision_asked": params.decision,
        "decision": settled.decision,
        "reason": settled.reason,
        "answers_changed": int((answers != joined.argmax(1)).sum()),
    }
