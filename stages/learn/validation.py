"""A model's look at the validation side."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from stages.base.errors import UserError
from stages.data.fold_data import FoldData
from stages.judge import metrics
from stages.learn import compiling, loader, predict, processes
from stages.learn.device_memory import out_of_memory, release
from stages.learn.learner import Learner
from stages.learn.model import Classifier
from stages.learn.objective import Objective
from stages.learn.predict import log_probabilities, raw_outputs

GPU_BATCH = 1024  # most photos that a GPU validates at a time
Outputs = tuple[np.ndarray, np.ndarray | None]  # raw outputs [n, outputs], and the regression's [n]


@dataclass(frozen=True)
class Validation:
    """One epoch's look at the validation side."""

    val_loss: float
    val_nll: float
    val_f1: float
    val_acc: float
    logits: np.ndarray  # joint log probabilities, float32 [len(val), C]
    errors: dict[str, float]  # val_<axis>_mae of the regressed axis, in its own unit; empty without a regression


def validate(learner: Learner, goal: Objective) -> Validation:
    """The objective, nll, macro F1 and accuracy on the validation side: eval mode, centre crops, no sampler, no mixup.

    The objective is taken once over all validation photos, so that it does not depend on how they are batched: where
    memory runs out, smaller batches are tried. Without a validation side (a refit) all of it is NaN.

    Several processes deal out the batches that one alone would take, so that each photo's output is the same, and the same for
    all: that of the model in process 0, which reckons the rest and tells the others.
    """
    data = learner.data
    if not len(data.val):
        return Validation(np.nan, np.nan, np.nan, np.nan, np.empty((0, data.task.classes), np.float32), {})
    net = learner.validated
    net.eval()
    processes.share_state(net)
    shares = processes.of_all(_outputs(learner, net))
    return processes.of_main(lambda: _scored(learner, goal, *_joined(shares, _batches(len(data.val), learner))))


def _scored(learner: Learner, goal: Objective, raw: np.ndarray, regression: np.ndarray | None) -> Validation:
    """What the outputs [len(val), outputs] of the validation side come to."""
    data = learner.data
    parts = goal(
        torch.from_numpy(raw),
        torch.from_numpy(data.train_labels[data.val]),
        None if regression is None else torch.from_numpy(regression),
        torch.from_numpy(data.numbers[data.val].astype(np.float32)),
    )
    logits = log_probabilities(raw, learner.bare.architecture)
    labels, predictions = data.labels[data.val], logits.argmax(1)
    return Validation(
        val_loss=float(sum(parts.values())),
        val_nll=metrics.nll(logits, labels),
        val_f1=metrics.macro_f1(labels, predictions, data.task.classes),
        val_acc=metrics.accuracy(labels, predictions),
        logits=logits,
        errors={} if regression is None else _errors(regression, data),
    )


def _errors(regression: np.ndarray, data: FoldData) -> dict[str, float]:
    """Mean absolute error over the validation photos whose number is known; NaN if none is."""
    axis = data.task.regressed
    assert axis is not None
    numbers = data.numbers[data.val]
    known = np.isfinite(numbers)
    error = np.abs(regression * axis.scale - numbers)[known].mean() if known.any() else np.nan
    return {f"val_{axis.name}_mae": float(error)}


def time_prediction(learner: Learner) -> tuple[int, float]:
    """How many validation photos a batch predicts, and the seconds it takes, after one that warms up."""
    some = learner.data.val[: 2 * learner.params.train.batch_size]
    seconds = 0.0
    learner.validated.eval()
    for _ in range(2 if len(some) else 0):
        photos = loader.evaluation(learner.data.pixels, some, learner.params.image.margin, len(some))
        began = time.perf_counter()
        with compiling.eager(learner.params):
            raw_outputs(learner.validated, photos, learner.mean, learner.std, learner.accelerator)
        seconds = time.perf_counter() - began
    return len(some), seconds


def _batches(photos: int, learner: Learner) -> list[np.ndarray]:
    """The places of so many photos, as one process would take them; of several each takes every one so many-th."""
    batch = learner.params.train.batch_size
    # A GPU has large batches about as soon as small ones of a small model; what does not fit is cut.
    most = min(8 * batch, GPU_BATCH) if learner.mean.device.type == "cuda" else min(2 * batch, predict.BATCH)
    return loader.split(np.arange(photos), most)


def _joined(shares: list[Outputs], batches: list[np.ndarray]) -> Outputs:
    """The outputs of all photos, from those of each process's batches."""
    if len(shares) == 1:
        return shares[0]
    places = np.argsort(np.concatenate([one for first in range(len(shares)) for one in batches[first :: len(shares)]]))
    raw, regressions = zip(*(share for share in shares if len(share[0])), strict=True)
    return np.concatenate(raw)[places], None if regressions[0] is None else np.concatenate(regressions)[places]


def _outputs(learner: Learner, net: Classifier) -> Outputs:
    """`raw_outputs` of this process's validation photos, in batches that fit memory, now and in later epochs."""
    data, margin, (index, number) = learner.data, learner.params.image.margin, processes.place()
    batches = [data.val[places] for places in _batches(len(data.val), learner)[index::number]]
    if not batches:
        return np.empty((0, 1), np.float32), None
    while True:
        batch = max(1, len(batches[0]) // (learner.parts * learner.val_parts))
        try:
            pieces = [piece for one in batches for piece in loader.split(one, batch)]
            photos = loader.centres(data.pixels, pieces, margin, learner.evaluating)
            with compiling.eager(learner.params):
                return raw_outputs(net, photos, learner.mean, learner.std, learner.accelerator)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
        release()
        if batch == 1:
            raise UserError("train: out of memory in validation with one photo; take a smaller model or smaller photos")
        learner.val_parts *= 2
