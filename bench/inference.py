"""Folds x views of many photos over the same number of pure forward passes: what reading, views and votes cost.

python bench/inference.py [--rounds 3] [--seconds 2.5]      (about three minutes on two cores; prints JSON)

Five models of each kind predict a pixel cache in two views, as tta-predict does. The ceiling is the same models' forward
passes, folded too, on one batch that is there already. All take turns within a round. onnxruntime and openvino, where
they are installed, run the same folded model on the same batch in as many threads.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scratch import report, say
from torch import Tensor

from stages.data.task_and_classes import CONTEST
from stages.learn import merged_batch_norm, model, predict
from stages.learn.model import Classifier
from stages.params.load import parse
from stages.params.schema import Params

CASES = (("mobilenetv3_small_050", 64, 48), ("mobilenetv3_small_050", 128, 96), ("efficientnet_b0", 128, 96))
FOLDS = 5
VIEWS = ("identity", "hflip")
MARGIN = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement, about")
    options = parser.parse_args()
    goals: dict[str, float] = {}
    rows, engine_rows, notes = [], [], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name, height, width in CASES:
            params = made(name, height, width)
            rounds, start = ratios(params, Path(folder), options.rounds, options.seconds)
            summary = _summary(rounds)
            rows.append([name, f"{height}x{width}", *summary, round(start, 2)])
            goals[f"inference_ratio_{name}_{height}x{width}"] = summary[2]
            say(f"{name} {height}x{width}: {summary[2]} of the ceiling")
            found, missing = engines(params, Path(folder), options.rounds, options.seconds / 3)
            engine_rows += found
            notes = missing
    columns = ["model", "size", "folds x views, passes/s", "ceiling, passes/s", "ratio", "lowest", "highest"]
    columns += ["unfolded ceiling, passes/s", "folding gains", "start, s"]
    tables: list[dict[str, Any]] = [
        {"title": f"Inference, {FOLDS} folds x {len(VIEWS)} views", "columns": columns, "rows": rows}
    ]
    if engine_rows:
        columns = ["engine", "model", "size", "batch", "over folded torch", "lowest", "highest", "largest difference"]
        tables.append({"title": "Other engines, one forward pass", "columns": columns, "rows": engine_rows})
    notes.append(
        f"threads: {torch.get_num_threads()}; start: loading and folding {FOLDS} models and the first batch, not in the ratio"
    )
    report(goals, tables, notes)


def made(name: str, height: int, width: int) -> Params:
    image = {"height": height, "width": width, "margin": MARGIN}
    return parse({"model": {"name": name}, "image": image, "tta": {"views": list(VIEWS)}})


def ratios(params: Params, folder: Path, rounds: int, seconds: float) -> tuple[list[dict[str, float]], float]:
    """Passes/s of each round's pipeline, ceiling and unfolded ceiling; and the seconds before the first batch is done."""
    device = predict.accelerator(params).device
    batch = predict.batch_size(params, device)
    weights = [folder / f"{fold}.safetensors" for fold in range(FOLDS)]
    shape = model.architecture(params, CONTEST)
    for path in weights:
        model.save(path, shape, model.build(shape).state_dict())
    unfolded = [model.channels_last(model.load(path), device) for path in weights]
    folded = [model.channels_last(merged_batch_norm.merged(model.load(path)), device) for path in weights]
    resident = torch.randn(batch, 3, shape.height, shape.width, device=device).to(memory_format=torch.channels_last)
    ceiling(folded, resident, params, 1)
    one = batch / ceiling(folded, resident, params, 1)  # seconds a pass
    batches = max(2, round(seconds / (one * FOLDS * len(VIEWS))))
    pixels = cache(folder / "pixels.npy", batch * (batches + 1), params)
    found, starts = [], []
    for _ in range(rounds):
        rate, start = pipeline(weights, pixels, params)
        starts.append(start)
        found.append(
            {
                "pipeline": rate,
                "ceiling": ceiling(folded, resident, params, batches),
                "unfolded": ceiling(unfolded, resident, params, batches),
            }
        )
    del pixels
    return found, statistics.median(starts)


def pipeline(weights: list[Path], pixels: np.ndarray, params: Params) -> tuple[float, float]:
    """Passes/s of predicting all photos after the first batch, and the seconds until that was done."""
    began = time.perf_counter()
    parts = predict.of_weights(weights, predict.Asked(CONTEST, pixels, np.arange(len(pixels)), VIEWS), params)
    (first,) = {part.shape[1] for _, _, part in itertools.islice(parts, len(weights))}
    started = time.perf_counter()
    photos = sum(part.shape[1] for _, _, part in parts) / len(weights)
    assert first + photos == len(pixels)
    return photos * len(weights) * len(VIEWS) / (time.perf_counter() - started), started - began


@torch.inference_mode()
def ceiling(nets: Sequence[Classifier], resident: Tensor, params: Params, batches: int) -> float:
    """Passes/s of the models' forward passes alone, as many as `pipeline` makes in as many batches."""
    with predict.accelerator(params).autocast():
        nets[0](resident)
        began = time.perf_counter()
        for _ in range(batches * len(VIEWS)):
            for net in nets:
                net(resident)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return batches * len(VIEWS) * len(nets) * len(resident) / (time.perf_counter() - began)


def cache(path: Path, photos: int, params: Params) -> np.ndarray:
    """A pixel cache of noise, memory-mapped as prepare's is."""
    rng = np.random.default_rng(0)
    np.save(path, rng.integers(0, 256, (photos, *params.cache_size, 3), np.uint8))
    return np.load(path, mmap_mode="r")


def _summary(rounds: list[dict[str, float]]) -> list[float]:
    shares = [one["pipeline"] / one["ceiling"] for one in rounds]
    gains = [one["ceiling"] / one["unfolded"] for one in rounds]
    pipeline, ceilings, unfolded = (
        round(statistics.median(one[key] for one in rounds)) for key in ("pipeline", "ceiling", "unfolded")
    )
    return [
        *(pipeline, ceilings, round(statistics.median(shares), 3), round(min(shares), 3), round(max(shares), 3)),
        *(unfolded, round(statistics.median(gains), 2)),
    ]


def engines(params: Params, folder: Path, rounds: int, seconds: float) -> tuple[list[list[Any]], list[str]]:
    """Rows of how much faster each installed engine runs the folded model, on the CPU; and what is left out."""
    net = merged_batch_norm.merged(model.load(folder / "0.safetensors"))
    shape, batch = net.architecture, predict.batch_size(params, torch.device("cpu"))
    photos = torch.randn(batch, 3, shape.height, shape.width)
    last = photos.to(memory_format=torch.channels_last)
    runs: dict[str, Callable[[], np.ndarray]] = {}
    missing = []
    for name, make in (("onnxruntime", _onnxruntime), ("openvino", _openvino)):
        try:
            runs[name] = make(net, photos, folder)
        except ImportError:
            missing.append(f"{name} is not installed (`pip install onnx {name}`): its comparison is left out")
    net = model.channels_last(net, torch.device("cpu"))
    with torch.inference_mode():
        expected = net(last)[0].numpy()
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            own = _rate(lambda: net(last), batch, seconds)
            for name, run in runs.items():
                rates[name].append(_rate(run, batch, seconds) / own)
    rows = []
    for name, run in runs.items():
        difference = float(np.abs(run() - expected).max() / np.abs(expected).max())
        spread = [round(one, 2) for one in (statistics.median(rates[name]), min(rates[name]), max(rates[name]))]
        rows.append([name, shape.name, f"{shape.height}x{shape.width}", batch, *spread, f"{difference:.0e}"])
    return rows, missing


def _rate(run: Callable[[], object], photos: int, seconds: float) -> float:
    run()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run()
        times += 1
    return times * photos / (time.perf_counter() - began)


def _onnxruntime(net: Classifier, photos: Tensor, folder: Path) -> Callable[[], np.ndarray]:
    import onnx  # noqa: F401 -- what torch exports with
    import onnxruntime

    path = folder / "model.onnx"
    torch.onnx.export(Raw(net), (photos,), str(path), dynamo=False, input_names=["photos"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    values = photos.numpy()
    return lambda: session.run(None, {"photos": values})[0]


def _openvino(net: Classifier, photos: Tensor, folder: Path) -> Callable[[], np.ndarray]:
    import openvino

    converted = openvino.convert_model(Raw(net), example_input=photos, input=[photos.shape])
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(converted, "CPU", threads).create_infer_request()
    values = photos.numpy()
    return lambda: np.asarray(request.infer({0: values})[0])


class Raw(torch.nn.Module):
    """The raw outputs alone."""

    def __init__(self, net: Classifier) -> None:
        super().__init__()
        self.net = net

    def forward(self, photos: Tensor) -> Tensor:
        raw: Tensor = self.net(photos)[0]
        return raw


if __name__ == "__main__":
    main()
