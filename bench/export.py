"""Photos/s of an exported ensemble in ONNX Runtime, in float32 and int8, over torch's and over those of maskcli predict.

python bench/export.py [--rounds 3] [--seconds 1]      (about two minutes on two cores; prints JSON)

Two networks of each kind under two views, on the CPU, in as many threads each. predict's path is what answers photos that are
read already: stages.bundle.predictor. Weights are random: what int8 does to scores is measured by `maskcli export --int8`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scratch import report, say, table

from stages.bundle import graph_files, int8, one_graph, out_of_fold, predictor
from stages.bundle.contents import Contents, Decision
from stages.bundle.one_graph import OneGraph
from stages.bundle.predictor import Predictor
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import CONTEST
from stages.learn import model, predict
from stages.params.load import parse

CASES = (("mobilenetv2_100", 128, 96), ("efficientnet_b0", 128, 96), ("resnet18", 128, 96))
BATCHES = (1, 32)
NETWORKS, MARGIN = 2, 4
VIEWS = ("identity", "hflip")
CALIBRATION = 32

Run = Callable[[np.ndarray], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, about")
    parser.add_argument("--models", nargs="*", default=[name for name, *_ in CASES])
    options = parser.parse_args()
    rows: list[list[Any]] = []
    for name, height, width in CASES:
        if name not in options.models:
            continue
        own = made(name, height, width)
        runs, size, worst = all_runs(own)
        for batch in BATCHES:
            found = measured(runs, pixels_for(own, batch), options.rounds, options.seconds)
            torch_rate = statistics.median(found["torch"])
            ratios = [_over(found, one, other) for one, other in PAIRS]
            rows.append([name, f"{height}x{width}", batch, round(torch_rate, 1), *ratios, size, f"{worst:.0e}"])
            say(f"{name} batch {batch}: {rows[-1][3:]}")
    columns = ["networks", "size", "batch", "torch, photos/s", *(f"{one} / {other}" for one, other in PAIRS)]
    columns += ["int8 file / float32's", "largest difference from torch"]
    notes = [
        f"threads: {torch.get_num_threads()}; ratios of photos/s, median of {options.rounds} rounds in which all take turns, in "
        "brackets the lowest and highest; torch: the exported module, eager; predict: stages.bundle.predictor",
    ]
    title = f"Exported ensembles, {NETWORKS} networks x {len(VIEWS)} views"
    report({}, [table(title, columns, rows)], notes)


PAIRS = (("onnx", "torch"), ("onnx", "predict"), ("int8", "onnx"), ("torch-export", "torch"))


def made(name: str, height: int, width: int) -> Predictor:
    """Untrained networks, whose speed is that of trained ones."""
    image = {"height": height, "width": width, "margin": MARGIN}
    params = parse({"model": {"name": name}, "image": image, "tta": {"views": list(VIEWS)}})
    shape = model.architecture(params, CONTEST)
    used: dict[str, Any] = {"task": tasks.to_json(CONTEST) | {"subsets": {}}, "views": VIEWS, "vote": "soft"}
    used |= {"temperature": 1.3, "decision": Decision(asked="argmax", rule="argmax", offsets=None, reason="")}
    contents = Contents.model_construct(**used)
    nought = np.zeros(1, int)
    oof = out_of_fold.of(np.zeros((1, CONTEST.classes)), nought, nought, 1.0, nought)
    nets = [model.build(shape).eval() for _ in range(NETWORKS)]
    ready = tuple(predict.ready(nets, torch.device("cpu")))
    return Predictor(contents, params, ready, oof, CONTEST)


def all_runs(own: Predictor) -> tuple[dict[str, Run], float, float]:
    """Everything that answers photos, by its name; the int8 file's share of float32's size; largest difference from torch."""
    example = one_graph.example(own, "uint8")
    graph = OneGraph(own)
    made_ = graph_files.onnx_model(graph, example)
    content = graph_files.onnx_bytes(made_, {})
    small = graph_files.onnx_bytes(int8.quantised(made_, pixels_for(own, CALIBRATION), "uint8"), {})
    program = graph_files.torch_export_bytes(graph, example, {})
    onnx = graph_files.onnx_run(content, "uint8")
    worst = graph_files.compare(own, onnx, pixels_for(own, 16)).difference

    def eager(pixels: np.ndarray) -> object:
        with torch.inference_mode():
            return graph(torch.from_numpy(pixels))

    runs: dict[str, Run] = {
        "torch": eager,
        "predict": lambda pixels: predictor.calibrated(own, predictor.probabilities(own, pixels)),
        "onnx": onnx,
        "int8": graph_files.onnx_run(small, "uint8"),
        "torch-export": graph_files.torch_export_run(program, "uint8"),
    }
    return runs, round(len(small) / len(content), 2), worst


def pixels_for(own: Predictor, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *own.params.cache_size, 3), np.uint8)


def measured(runs: dict[str, Run], pixels: np.ndarray, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Photos/s of each round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(pixels)
    for _ in range(rounds):
        for name, run in runs.items():
            began, times = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                run(pixels)
                times += 1
            found[name].append(times * len(pixels) / (time.perf_counter() - began))
    return found


def _over(found: dict[str, list[float]], one: str, other: str) -> str:
    ratios = [a / b for a, b in zip(found[one], found[other], strict=True)]
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


if __name__ == "__main__":
    main()
