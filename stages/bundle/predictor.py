"""What answers new photos, whether it was opened from a project or from a bundle."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stages.base import gpu
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.bundle.contents import Contents
from stages.bundle.out_of_fold import OutOfFold
from stages.data.task_and_classes import Task
from stages.judge import metrics, votes
from stages.learn import predict
from stages.learn.model import Classifier
from stages.params.schema import Params
from stages.records.learnt_photos import Learnt
from stages.submission import eval_predictions

LEAST = votes.LEAST


@dataclass(frozen=True)
class Predictor:
    """A trained ensemble, ready to predict.

    networks are of one architecture, in eval mode, batch norms merged, on the device they predict on.
    """

    contents: Contents  # what maskcli.json says; of a project it is made in memory
    params: Params
    networks: tuple[Classifier, ...]  # one a fold and repeat
    oof: OutOfFold  # what the training photos' OOF predictions say of its probabilities
    task: Task
    learnt: tuple[Learnt, ...] = ()  # what the networks say of the photos that they know


def made(contents: Contents, params: Params, networks: Iterable[Classifier], oof: OutOfFold, talk: Talk) -> Predictor:
    """A Predictor of models as they were loaded. Where fp16 has no GPU it computes in float32, and says so."""
    if params.train.mixed_precision == "fp16" and not gpu.usable():
        talk.say("warning: trained with fp16, which needs a GPU; here it predicts in float32: last digits may differ")
        params = params.model_copy(update={"train": params.train.model_copy(update={"mixed_precision": "none"})})
    device = predict.accelerator(params).device
    # One by one, so that no more than one model is held twice.
    ready: list[Classifier] = []
    learnt: dict[Learnt, None] = {}
    for one in networks:
        learnt |= dict.fromkeys(one.learnt)
        ready += predict.ready([one], device, talk)
    return Predictor(contents, params, tuple(ready), oof, contents.own_task, tuple(learnt))


def check_vote(params: Params) -> None:
    """Raise UserError where a photo's answer would depend on the others that are asked with it."""
    if params.ensemble.vote == "rank":
        raise UserError(
            "params.yaml: ensemble.vote: rank places a photo among the others of the eval set, so a new photo alone has no "
            "answer; set soft, geometric or hard"
        )


def probabilities(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
    """Voted probabilities float [n, C] of photos uint8 [n, H + 2m, W + 2m, 3], before the temperature.

    As tta-predict has them: of every network and view, joined by ensemble.vote. Where that is hard, they are shares of ballots.
    """
    contents, count = predictor.contents, len(pixels)
    if not count:
        return np.empty((0, predictor.task.classes), np.float32)
    asked = predict.Asked(predictor.task, pixels, np.arange(count), contents.views)
    parts = [part for _, part in predict.of_ready(predictor.networks, asked, predictor.params)]
    voters = np.concatenate(parts, axis=2).reshape(-1, count, predictor.task.classes)
    return votes.VOTES[contents.vote](voters)


def calibrated(predictor: Predictor, probabilities: np.ndarray) -> np.ndarray:
    """Voted probabilities [n, C] by the temperature that fits OOF predictions (Guo et al. 2017), float64 [n, C]."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST))
    return np.exp(metrics.log_softmax(logs / predictor.contents.temperature))


def answers(predictor: Predictor, probabilities: np.ndarray) -> np.ndarray:
    """Class numbers int [n] from voted probabilities [n, C], by the decision rule, as in submission.csv."""
    return eval_predictions.answer(probabilities, predictor.contents.offsets)
