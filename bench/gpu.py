"""efficientnet_b0 at 224 px on a GPU: photos/s of training and of prediction over their ceilings on a resident batch.

python bench/gpu.py                                             (where there is a CUDA GPU; some minutes; prints JSON)
python bench/gpu.py --device cpu --model test_resnet --size 32 --photos 64 --batch 16 --rounds 1      (tries the script)

bf16, channels_last and the fused optimizer, with and without torch.compile. An epoch reads the pixel cache or decodes
JPEGs on the fly, then augments, normalises and steps; the ceiling steps on one batch that lies on the device. Prediction
runs five folds x two views of the cache; its ceiling is the same models' forward passes. All take turns within a round.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rates
import torch
from scratch import report, say

from stages.base.talk import SILENT
from stages.data import demo_faces
from stages.data.decode import decode
from stages.data.fold_data import FoldData
from stages.data.task_and_classes import CONTEST
from stages.learn import loader, merged_batch_norm, model, objective, predict
from stages.learn.learner import start
from stages.params.load import parse
from stages.params.schema import Params

LR = 1e-4
FOLDS = 5
VIEWS = ("identity", "hflip")
MARGIN = 16


def main() -> None:
    options = _options()
    if options.device == "cuda" and not torch.cuda.is_available():
        note = "no CUDA GPU here: nothing is measured (python bench/gpu.py on a machine that has one)"
        say(note)
        report({}, [], [note])
        return
    if options.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result = measure(options, Path(folder))
    report(**result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--model", default="efficientnet_b0")
    parser.add_argument("--size", type=int, default=224, help="height and width, px")
    parser.add_argument("--photos", type=int, default=8192, help="of an epoch; the demo's faces, repeated")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All the figures, as `make bench` takes them."""
    params = made(options, compiled=False)
    jpegs = Jpegs(faces(folder), options.photos, params)
    cached = cache(folder / "pixels.npy", jpegs)
    goals, rows = {}, []
    for compiled in (False, True) if options.compile else (False,):
        say(f"training, torch.compile {'on' if compiled else 'off'}")
        found = train_rounds(made(options, compiled), fold_of(cached), fold_of(jpegs), options.rounds)
        for source in ("cache", "jpeg"):
            row = ratio_row(found, source)
            rows.append([f"training, from the {source}", "on" if compiled else "off", *row])
            goals[f"gpu_train_ratio_{source}{'_compiled' if compiled else ''}"] = row[2]
    say("prediction")
    row = ratio_row(predict_rounds(params, cached, folder, options.rounds), "cache")
    rows.append([f"prediction, {FOLDS} folds x {len(VIEWS)} views, passes", "off", *row])
    goals["gpu_inference_ratio"] = row[2]
    columns = ["what", "torch.compile", "photos/s", "ceiling, photos/s", "ratio", "lowest", "highest"]
    where = torch.cuda.get_device_name(0) if options.device == "cuda" else "CPU: figures only show that the script runs"
    title = f"{options.model}, {options.size}x{options.size}, batch {options.batch}, bf16: {where}"
    if options.device == "cpu":
        goals = {}
    notes = [f"{os.cpu_count()} CPU cores; {len(jpegs)} photos an epoch; torch {torch.__version__}"]
    return {"goals": goals, "tables": [{"title": title, "columns": columns, "rows": rows}], "notes": notes}


def made(options: argparse.Namespace, compiled: bool) -> Params:
    return parse(
        {
            "model": {"name": options.model},
            "image": {"height": options.size, "width": options.size, "margin": min(MARGIN, options.size // 8)},
            "train": {"batch_size": options.batch, "mixed_precision": "bf16", "compile": compiled},
            "tta": {"views": list(VIEWS)},
        }
    )


def faces(folder: Path) -> list[Path]:
    """The demo's photos, 384x512 px JPEGs as the contest's."""
    demo_faces.write(folder / "data", people=60, eval_people=6)
    return sorted((folder / "data" / "train" / "images").glob("*/*.jpg"))


class Jpegs:
    """Photos decoded whenever they are read, by as many threads as there are cores; reads as a pixel cache does."""

    def __init__(self, files: list[Path], photos: int, params: Params) -> None:
        self.files, self.photos, self.params = files, photos, params
        self.pool = ThreadPoolExecutor(os.cpu_count())

    def __len__(self) -> int:
        return self.photos

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray:
        return np.stack(list(self.pool.map(self._decoded, which.tolist())))

    def _decoded(self, position: int) -> np.ndarray:
        height, width = self.params.cache_size
        file = self.files[position % len(self.files)]
        return decode(file, height, width, self.params.image.face, self.params.data.max_pixels).pixels


def cache(path: Path, jpegs: Jpegs) -> np.ndarray:
    """A pixel cache of the same photos, memory-mapped as prepare's is."""
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (len(jpegs), *jpegs.params.cache_size, 3))
    few = min(len(jpegs.files), len(jpegs))
    pixels[:few] = jpegs[np.arange(few)]
    for start_at in range(few, len(pixels), few):
        pixels[start_at : start_at + few] = pixels[: len(pixels) - start_at][:few]
    pixels.flush()
    return np.load(path, mmap_mode="r")


def fold_of(pixels: Any) -> FoldData:
    """All photos on the training side, of random classes and ages."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CONTEST.classes, len(pixels))
    ages = rng.integers(18, 80, len(pixels)).astype(float)
    return FoldData(CONTEST, pixels, labels, labels, ages, np.arange(len(pixels)), np.arange(0))


def train_rounds(params: Params, cached: FoldData, jpegs: FoldData, rounds: int) -> list[dict[str, float]]:
    """Photos/s in each round of an epoch from the cache, one from JPEGs, and the ceiling."""
    learner = start(params, cached, 0, LR, predict.accelerator(params), SILENT)
    goal = objective.make(params, cached.task, cached.class_counts)
    # Before any clock runs: cuDNN and torch.compile choose and translate for batches as they come.
    rates.epoch(learner, goal, LR)
    batches = loader.split(cached.train, params.train.batch_size)
    found = []
    for number in range(rounds):
        found.append(
            {
                "ceiling": rates.ceiling(learner, goal, len(batches), len(batches[0])),
                "cache": rates.epoch(learner, goal, LR, number),
                "jpeg": rates.epoch(replace(learner, data=jpegs), goal, LR, number),
            }
        )
    return found


def predict_rounds(params: Params, pixels: np.ndarray, folder: Path, rounds: int) -> list[dict[str, float]]:
    """Passes/s in each round of folds x views of the cache (after the first batch), and of forward passes alone."""
    shape = model.architecture(params, CONTEST)
    weights = [folder / f"{fold}.safetensors" for fold in range(FOLDS)]
    for path in weights:
        model.save(path, shape, model.build(shape).state_dict())
    chosen = predict.accelerator(params)
    nets = [model.channels_last(merged_batch_norm.merged(model.load(path)), chosen.device) for path in weights]
    size = len(loader.split(np.arange(len(pixels)), predict.batch_size(params, chosen.device))[0])
    resident = torch.randn(size, 3, shape.height, shape.width, device=chosen.device)
    resident = resident.to(memory_format=torch.channels_last)
    found = []
    for _ in range(rounds):
        parts = predict.of_weights(weights, predict.Asked(CONTEST, pixels, np.arange(len(pixels)), VIEWS), params)
        (first,) = {next(parts)[2].shape[1] for _ in weights}
        began = time.perf_counter()
        photos = sum(part.shape[1] for _, _, part in parts) // FOLDS
        assert first + photos == len(pixels)
        rate = photos * FOLDS * len(VIEWS) / (time.perf_counter() - began)
        passes = max(1, photos // size) * len(VIEWS)
        with torch.inference_mode(), chosen.autocast():
            for net in nets:  # warms up
                net(resident)
            rates.wait()
            began = time.perf_counter()
            for _ in range(passes):
                for net in nets:
                    net(resident)
            rates.wait()
        found.append({"cache": rate, "ceiling": passes * FOLDS * size / (time.perf_counter() - began)})
    return found


def ratio_row(found: list[dict[str, float]], source: str) -> list[float]:
    shares = [one[source] / one["ceiling"] for one in found]
    rates = [round(statistics.median(one[key] for one in found)) for key in (source, "ceiling")]
    return [*rates, *(round(one, 3) for one in (statistics.median(shares), min(shares), max(shares)))]


if __name__ == "__main__":
    main()
