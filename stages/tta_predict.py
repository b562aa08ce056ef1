"""tta-predict: predict the eval photos with every fold's model and every view, join them by vote, write the submission."""

from typing import Any

import numpy as np

from stages.base import paths
from stages.base.files import write_json, write_npz
from stages.base.talk import Talk
from stages.data import photos
from stages.data import task_and_classes as tasks
from stages.data.pixel_cache import open_cache
from stages.judge import votes
from stages.params.schema import Params
from stages.records import run_record
from stages.submission import decision_rule, write
from stages.submission.eval_predictions import answer, predict_views


def run(params: Params, talk: Talk) -> None:
    """Write submission.csv in eval.csv's order, probabilities.npz (image, probabilities [N, C] as voted, before any offset) and
    summary.json: what was joined, and how the answers were decided.
    """
    table = photos.eval_photos("tta-predict")
    images, task = table["ImageID"].to_numpy(str), tasks.read(params)
    # Before the long part, so that what is amiss is told at once.
    record = run_record.joined(params, talk, "tta-predict")
    settled = decision_rule.settle(params, task, talk, record.run)
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    joined = votes.VOTES[params.ensemble.vote](predict_views(params, task, pixels, talk))
    answers = answer(joined, settled.offsets)
    write_npz(
        paths.PROBABILITIES,
        image=images,
        probabilities=joined.astype(np.float32),
        run=np.array(record.run),
        content=photos.content_of(table),
    )
    write.write(paths.SUBMISSION, task, images, answers)
    write_json(paths.SUBMISSION_SUMMARY, {"run": record.run, **summary(params, settled, joined, answers)})
    talk.say(
        f"tta-predict: {len(images)} answers from {len(params.folds)} folds x {len(params.tta.views)} views in {paths.SUBMISSION}"
    )


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
