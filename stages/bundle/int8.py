"""int8: the weights and activations of an exported graph in 8 bits (Jacob et al. 2018, arXiv:1712.05877), and what that costs.

Ranges of activations are those of some training photos (static quantisation); weights have a scale a channel. The loss is
measured on OOF photos, each by the networks of its own fold, in 8 bits and in float32: the exported graph joins all folds, and
of those only one has not learnt from the photo. The loss of the ensemble is not measured; it may be smaller, since an ensemble
evens out part of what rounding does to each network.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from stages.base.talk import Talk
from stages.bundle import graph_files, predictor
from stages.bundle.graph_files import Run
from stages.bundle.one_graph import Input
from stages.bundle.predictor import Predictor
from stages.data import photos
from stages.data.fold_data import FoldData
from stages.judge import bootstrap, paired_difference, votes
from stages.judge.paired_difference import Asked, Difference
from stages.judge.training_noise import Training

CALIBRATION = 128  # most photos that ranges are taken from
MEASURED = 3000  # most photos that the loss is measured on
BATCH = 32
SMALL_BATCH = 8  # while ranges are taken, when all that a network computes is held at once
# With ReLU and ReLU6 (Clip), so that a convolution's range is that of what they leave: without them mobilenetv2_100 lost more
# than a quarter of its right answers.
QUANTISED = ("Conv", "Gemm", "MatMul", "Relu", "Clip")
HEAD = re.compile(
    r"networks\.\d+\.head\."
)  # its logits stay in float32: 256 steps would be too few, and it costs nothing


@dataclass(frozen=True)
class Loss:
    """What 8 bits change, on photos that the networks which answer have not learnt from."""

    differences: tuple[Difference, ...]  # macro F1 first; b is int8, a is float32
    photos: int
    equal: float  # share of photos answered alike
    rate: float  # photos/s of a network, over those of float32, measured by the way


def calibration_photos(folds: list[FoldData], seed: int) -> np.ndarray:
    """Positions of training photos to take ranges from: at most CALIBRATION, and a quarter of all."""
    count = len(folds[0].labels)
    drawn = np.random.default_rng(seed).permutation(count)[: max(1, min(CALIBRATION, count // 4))]
    return np.sort(drawn)


def quantised(made: Any, pixels: np.ndarray, takes: Input) -> Any:
    """An onnx.ModelProto with convolutions and matrix products in int8, ranges from photos uint8 [n, H + 2m, W + 2m, 3]."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static, shape_inference
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Photos(CalibrationDataReader):
        def __init__(self) -> None:
            starts = range(0, len(pixels), SMALL_BATCH)
            self.left = (graph_files.taken(pixels[start : start + SMALL_BATCH], takes) for start in starts)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {graph_files.PHOTOS: batch}

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, graph_files.quiet():
        given, ready, done = (Path(folder) / name for name in ("given.onnx", "ready.onnx", "done.onnx"))
        onnx.save(made, str(given))
        shape_inference.quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(done),
            Photos(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=[
                node.name for node in onnx.load(str(ready)).graph.node if any(map(HEAD.match, node.input))
            ],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(str(done))


def loss(
    own: Predictor, models: tuple[Any, Any], takes: Input, folds: list[FoldData], left_out: np.ndarray, talk: Talk
) -> Loss:
    """Of an int8 model against the float32 one (`models`: float32, int8), which both have the networks' own outputs.

    left_out: positions of photos that ranges were taken from; they are not measured on.
    """
    chosen = _measured(folds, left_out, own.params.seed)
    labels = folds[0].labels
    group = bootstrap.numbered(photos.read(own.task)["group"].to_numpy()[chosen])
    answers = np.zeros((2, len(labels)), np.int64)
    seconds = np.zeros(2)
    repeats = len(own.networks) // len(folds)
    for number, fold in enumerate(talk.track(folds, len(folds), "measure int8")):
        positions = np.intersect1d(fold.val, chosen)
        names = [graph_files.network_name(number * repeats + repeat) for repeat in range(repeats)]
        for side, made in enumerate(models):
            run = graph_files.onnx_run(graph_files.outputs_only(made, names).SerializeToString(), takes)
            began = perf_counter()
            answers[side, positions] = _answers(own, run, fold.pixels, positions)
            seconds[side] += perf_counter() - began
    return Loss(
        tuple(_differences(own, answers[:, chosen], labels[chosen], group)),
        len(chosen),
        float((answers[0, chosen] == answers[1, chosen]).mean()),
        float(seconds[0] / max(seconds[1], 1e-9)),
    )


def _measured(folds: list[FoldData], left_out: np.ndarray, seed: int) -> np.ndarray:
    """Positions of photos to measure on."""
    rest = np.setdiff1d(np.arange(len(folds[0].labels)), left_out)
    return np.sort(np.random.default_rng(seed + 1).permutation(rest)[:MEASURED])


def _answers(own: Predictor, run: Run, pixels: Any, positions: np.ndarray) -> np.ndarray:
    """Class numbers [n] of photos by one fold's networks, under the vote and the decision rule of all."""
    found = []
    for start in range(0, len(positions), BATCH):
        voters = np.concatenate(run(np.asarray(pixels[positions[start : start + BATCH]])))  # [repeats x views, n, C]
        found.append(predictor.answers(own, votes.VOTES[own.contents.vote](voters)))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _differences(own: Predictor, answers: np.ndarray, labels: np.ndarray, group: np.ndarray) -> list[Difference]:
    """Macro F1, each subset's F1 and accuracy of int8 answers against float32's, [2, n], paired over groups."""
    task, subsets = own.task, own.task.subsets
    names = ("macro_f1", *(f"f1_{name}" for name in subsets), "accuracy")
    sides = []
    for one in answers:
        scores = bootstrap.of_run(group, labels, one, classes=task.classes, subsets=subsets)
        sides.append([Training(bootstrap.pick(scores, names))])
    asked = Asked(own.params.ensemble.replicates, own.params.seed, task.units, same_models=True)
    return paired_difference.compare(sides[0], sides[1], asked)
