"""Photos/s of `maskcli predict` from photo files over those of tta-predict from the pixel cache; memory of 100,000 photos.

python bench/predict.py [--rounds 3] [--seconds 4] [--photos 100000]      (about ten minutes on two cores; prints JSON)

Rate: five models of each kind and two views, as in bench/inference.py, on JPEGs of 384x512 px, the contest's, that are read,
judged whole, decoded and shrunk while the models predict; beside it the same models on a cache of such photos. Both take turns
within a round, from the second batch on. Memory: the peak resident set of the whole command on a small trained project, with
that many hard links to its photos and with 1,000 of them; the start is the time of the command for one photo.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import inference
import numpy as np
import scratch
from PIL import Image
from scratch import report, say

from stages.base.talk import SILENT
from stages.bundle.contents import Contents, Decision
from stages.bundle.out_of_fold import OutOfFold
from stages.bundle.predictor import Predictor
from stages.by_hand import predict as by_hand
from stages.by_hand.predict_photos import Listed
from stages.by_hand.predict_rows import Form
from stages.data.task_and_classes import CONTEST
from stages.learn import model, predict
from stages.params.schema import Params

FILES = 64  # different photos, which come again
SIZE = 384, 512  # px, width and height
FEW = 1000  # photos, for the memory that does not grow with them
PROJECT: dict[str, Any] = {"folds": [0, 1], "train": {"epochs": 1}, "ensemble": {"replicates": 100}}
STAGES = (("prepare",), ("kfold",), ("lr-find",), ("train", "--fold", "0"), ("train", "--fold", "1"), ("oof-ensemble",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, about")
    parser.add_argument("--photos", type=int, default=100_000)
    options = parser.parse_args()
    goals: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        files = photos(folder / "photos")
        for kind, height, width in inference.CASES:
            found = rates(inference.made(kind, height, width), folder, files, options)
            ratio = statistics.median(new / cached for new, cached in found)
            goals[f"predict_ratio_{kind}_{height}x{width}"] = round(ratio, 3)
            rows.append(
                [kind, f"{height}x{width}", *(round(statistics.median(side)) for side in zip(*found, strict=True))]
            )
            rows[-1] += [round(end(new / cached for new, cached in found), 3) for end in (min, statistics.median, max)]
            say(f"{kind} {height}x{width}: {ratio:.3f} of tta-predict's rate")
        start, few, many, rate = memory(folder / "project", options.photos)
    goals |= {"predict_peak_gb": round(many / 1e9, 3), "predict_start_seconds": round(start, 1)}
    columns = [
        "model",
        "size",
        "predict, photos/s",
        "tta-predict from the cache, photos/s",
        "lowest",
        "ratio",
        "highest",
    ]
    tables = [
        scratch.table(f"predict on JPEGs of {SIZE[0]}x{SIZE[1]} px, 5 folds x 2 views", columns, rows),
        scratch.table(
            "predict, the whole command on the demo's models",
            ["photos", "peak memory, GB", "photos/s"],
            [[FEW, round(few / 1e9, 3), ""], [options.photos, round(many / 1e9, 3), round(rate)]],
        ),
    ]
    report(goals, tables, [f"cores: {os.cpu_count()}; ratio: decoding included; start: one photo, the whole command"])


def photos(folder: Path) -> list[str]:
    """JPEGs of coarse noise, as large in bytes as photos."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    return sorted(str(path) for path in folder.iterdir())


def rates(params: Params, folder: Path, files: list[str], options: argparse.Namespace) -> list[tuple[float, float]]:
    """Photos/s of each round: from files, and from the cache."""
    device = predict.accelerator(params).device
    weights = [folder / f"{fold}.safetensors" for fold in range(inference.FOLDS)]
    shape = model.architecture(params, CONTEST)
    for path in weights:
        model.save(path, shape, model.build(shape).state_dict())
    nets = predict.ready([model.load(path) for path in weights], device)
    decision = Decision(asked="argmax", rule="argmax", offsets=None, reason="")
    used: dict[str, Any] = {"views": inference.VIEWS, "vote": "soft", "temperature": 1.5, "decision": decision}
    contents = Contents.model_construct(**used)
    nothing = np.zeros(0, np.float32)
    ready = Predictor(contents, params, tuple(nets), OutOfFold(*[nothing] * 6), CONTEST)
    batch = predict.batch_size(params, device)
    pixels = inference.cache(folder / "pixels.npy", batch * 3, params)
    passes, _ = inference.pipeline(weights, pixels, params)
    count = batch * max(3, round(options.seconds * passes / (inference.FOLDS * len(inference.VIEWS)) / batch))
    pixels = inference.cache(folder / "pixels.npy", count, params)
    named = list(itertools.islice(itertools.cycle(files), count))
    found = []
    for _ in range(options.rounds):
        new = from_files(ready, Listed(named, named))
        passes, _ = inference.pipeline(weights, pixels, params)
        found.append((new, passes / (inference.FOLDS * len(inference.VIEWS))))
    return found


def from_files(ready: Predictor, files: Listed) -> float:
    """Photos/s from the second batch on, rows of answers included."""
    parts = by_hand.answered(ready, files, Form(), 0, SILENT)
    first = next(parts)
    began = time.perf_counter()
    assert not any("error" in row for rows in parts for row in rows)
    return (len(files.names) - len(first)) / (time.perf_counter() - began)


def memory(folder: Path, count: int) -> tuple[float, int, int, float]:
    """Seconds for one photo; peak bytes of FEW and of `count` photos; photos/s of the latter, start and all."""
    scratch.make(folder, 24, 6, PROJECT)
    for words in STAGES:
        scratch.run(folder, "maskcli", *words)
    photos = sorted((folder / "data/eval/images").iterdir())
    for name, number in (("few", FEW), ("many", count)):
        (folder / name).mkdir()
        for place, photo in enumerate(itertools.islice(itertools.cycle(photos), number)):
            (folder / f"{name}/{place:06d}.jpg").hardlink_to(photo)
    _, start = peak(folder, str(photos[0]), "--json")
    few, _ = peak(folder, "few", "--out", "few.csv")
    many, seconds = peak(folder, "many", "--out", "many.csv")
    with (folder / "many.csv").open() as file:
        assert sum(1 for _ in file) == count + 1
    return start, few, many, count / seconds


def peak(folder: Path, *words: str) -> tuple[int, float]:
    """Peak resident set of `maskcli predict`, bytes, and its wall time, seconds."""
    command = [str(scratch.BIN / "maskcli"), "predict", ".", *words]
    began = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=scratch.ENVIRONMENT, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise scratch.Failed(
            f"predict ended with {process.returncode}: {(folder / 'log').read_text().splitlines()[-1]}"
        )
    return used.ru_maxrss * 1024, time.perf_counter() - began


if __name__ == "__main__":
    main()
