"""Time and memory of prepare, kfold, an epoch's reading, compare and report as the photos grow to a million.

python bench/scale.py [--sizes 10000 100000 1000000] [--folder DIR]     (makes its own photos; about 8 minutes on 2 cores)

A disk may take minutes to make and remove a million links: they are kept in /dev/shm where that has room (some 3 GB).

People with 7 photos each, of 16 x 16 px: hard links to a few hundred JPEGs, so that a million of them take little disk and
little time to decode, and what is left is what the number of photos costs. One eval photo in a hundred. OOF predictions
are simulated. Every stage runs in a process of its own, whose memory is looked at every 20 ms: the peak of all that is
resident, and of what is anonymous, that is, without the pages of mapped files (the pixel cache), which the system takes
back when it needs them.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml
from scratch import report, say

from stages.base import paths
from stages.base.files import write_csv, write_json, write_npz
from stages.data import contest_layout
from stages.data.task_and_classes import CONTEST
from stages.params.load import load
from stages.params.schema import Params

ROOT = Path(__file__).resolve().parents[1]
SIZES = [10_000, 100_000, 1_000_000]
JPEGS = 256  # distinct photos; a file system takes only so many links to one file
EDGE = 16  # px
ON_THE_FLY = 50_000  # photos read on the fly, at most
SAMPLE = 0.02  # seconds between two looks at a process's memory
REPLICATES = 10_000  # of compare, as by default
PARAMS = {"image": {"height": EDGE, "width": EDGE, "margin": 0}, "train": {"batch_size": 32}}
STAGES = ("prepare", "kfold", "loader", "on_the_fly", "compare", "report")


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    seconds: float  # wall time, its start included
    peak: float  # MB resident
    anonymous: float  # MB resident without pages of mapped files
    said: dict[str, Any]  # what a step of this script printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of training photos")
    parser.add_argument(
        "--folder", type=Path, help="where to put the photos (default: /dev/shm, or a temporary folder)"
    )
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(STEPS[options.step](load())))
        return
    sizes = sorted(options.sizes)
    measured: dict[int, dict[str, Cost]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="maskcli-scale-", dir=options.folder or in_memory()) as folder:
            measured[size] = measure(Path(folder), size)
    report(**result(sizes, measured))


def in_memory() -> Path | None:
    """Linux's file system in memory, where it has room."""
    place = Path("/dev/shm")
    return place if place.is_dir() and shutil.disk_usage(place).free > 4e9 else None


def measure(folder: Path, photos: int) -> dict[str, Cost]:
    """Every stage on a project of so many photos."""
    began = time.perf_counter()
    simulate(folder, photos)
    say(f"{photos:,} photos: made in {time.perf_counter() - began:.1f} s")
    me, command = [sys.executable, str(Path(__file__).resolve())], [sys.executable, "-m", "cli.main"]
    found = {}
    for stage in STAGES:
        words = [*me, "--step", stage] if stage in STEPS else [*command, stage]
        cost = found[stage] = process(words, folder)
        say(
            f"{photos:,} photos: {stage} {cost.seconds:.1f} s, peak {cost.peak:.0f} MB, anonymous {cost.anonymous:.0f} MB"
        )
    return found


def process(words: list[str], folder: Path) -> Cost:
    """Run a process in `folder` and watch its memory. Raises CalledProcessError if it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    highest = {"VmHWM": 0.0, "RssAnon": 0.0}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as talk:
        began = time.perf_counter()
        child = subprocess.Popen(words, cwd=folder, env=environment, stdout=said, stderr=talk)
        while child.poll() is None:
            _look(child.pid, highest)
            time.sleep(SAMPLE)
        seconds = time.perf_counter() - began
        said.seek(0)
        talk.seek(0)
        if child.returncode:
            say(talk.read())
            raise subprocess.CalledProcessError(child.returncode, words)
        lines = said.read().splitlines()
    value = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Cost(seconds, highest["VmHWM"], highest["RssAnon"], value)


def _look(process: int, highest: dict[str, float]) -> None:
    """Keep the highest values, MB, that a look at a process shows (Linux).

    The system's own record of a child's peak (ru_maxrss) would begin with the memory of this process, its parent.
    """
    with contextlib.suppress(OSError, KeyError):  # it may just have ended
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        for name in highest:
            highest[name] = max(highest[name], int(lines[name].split()[0]) * 1024 / 1e6)


def simulate(folder: Path, photos: int) -> None:
    """A project with so many photos, and what training, lr-find and oof-ensemble would have written."""
    rng = np.random.default_rng(photos)
    jpegs = [cv2.imencode(".jpg", rng.integers(0, 256, (EDGE, EDGE, 3), np.uint8))[1].tobytes() for _ in range(JPEGS)]
    sources = []
    for number, content in enumerate(jpegs):
        sources.append(folder / f"sources/{number}.jpg")
        sources[-1].parent.mkdir(exist_ok=True)
        sources[-1].write_bytes(content)
    people, files = _train(folder, photos // len(contest_layout.PHOTO_MASKS), sources, rng)
    _eval(folder, max(100, photos // 100), sources)
    (folder / paths.PARAMS).write_text(yaml.safe_dump(PARAMS))
    labels = _labels(people)
    person = np.repeat(people["id"].to_numpy(str), len(contest_layout.PHOTO_MASKS))
    for name in ("a", "b"):
        _oof(folder / name, files, person, labels, rng)
        shutil.copy(folder / paths.PARAMS, folder / name / paths.PARAMS)
    shutil.copytree(folder / "a/out", folder / "out")
    _curves(folder)


def _train(folder: Path, count: int, sources: list[Path], rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    gender, age = rng.integers(0, 2, count), rng.integers(18, 69, count)
    ids = [f"{number + 1:06d}" for number in range(count)]
    names = [
        f"{ident}_{contest_layout.GENDERS[code]}_Asian_{years}"
        for ident, code, years in zip(ids, gender, age, strict=True)
    ]
    images = folder / paths.TRAIN_IMAGES
    images.mkdir(parents=True)
    files, links = [], [str(source) for source in sources]
    for number, name in enumerate(names):
        (images / name).mkdir()
        for place, stem in enumerate(contest_layout.PHOTO_MASKS):
            files.append(f"{name}/{stem}.jpg")
            os.link(links[(number * 7 + place) % len(links)], f"{images}/{files[-1]}")
    words = np.array(contest_layout.GENDERS)[gender]
    table = pd.DataFrame({"id": ids, "gender": words, "race": "Asian", "age": age, "path": names})
    table.to_csv(folder / paths.TRAIN_CSV, index=False)
    return table, np.array(files)


def _eval(folder: Path, count: int, sources: list[Path]) -> None:
    images = folder / paths.EVAL_IMAGES
    images.mkdir(parents=True)
    names = [f"{number:040x}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        os.link(sources[number % len(sources)], images / name)
    pd.DataFrame({"ImageID": names, "ans": 0}).to_csv(folder / paths.EVAL_CSV, index=False)


def _labels(people: pd.DataFrame) -> np.ndarray:
    """Class of each photo, [7 P]."""
    gender = people["gender"].map(contest_layout.GENDERS.index).to_numpy()
    masks = np.array(list(contest_layout.PHOTO_MASKS.values()))
    photos = len(contest_layout.PHOTO_MASKS)
    columns = {"gender": np.repeat(gender, photos), "age": np.repeat(people["age"].to_numpy(), photos)}
    return CONTEST.labels({"mask": np.tile(masks, len(people))} | columns)


def _oof(folder: Path, files: np.ndarray, person: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
    """oof.npz and metrics.json of a run that is right about six photos in ten."""
    # A few rows of log probabilities for each predicted class: a million distinct ones would only be slow to compress.
    logits = rng.normal(size=(CONTEST.classes, 8, CONTEST.classes))
    logits[np.arange(CONTEST.classes), :, np.arange(CONTEST.classes)] += 4
    bank = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)
    arrays = {}
    for name in ("selected", "last"):
        predicted = np.where(rng.random(len(labels)) < 0.6, labels, rng.integers(0, CONTEST.classes, len(labels)))
        arrays[name] = bank[predicted, rng.integers(0, 8, len(labels))][None]
    arrays |= {"photo": files, "person": person, "label": labels, "fold": np.arange(len(labels)) // 7 % 5}
    write_npz(folder / paths.OOF_ARRAYS, **arrays, select=np.array("last"), seed=np.array(0))
    write_json(folder / paths.OOF_METRICS, {"macro_f1": 0.6, "accuracy": 0.6})


def _curves(folder: Path) -> None:
    """Histories of five folds, and lr-find's tables."""
    epoch = np.arange(1, 21)
    one = pd.DataFrame({"repeat": 0, "epoch": epoch, **dict.fromkeys(("train_loss", "val_loss", "val_nll"), 2 / epoch)})
    one = one.assign(val_f1=1 - 1 / epoch, lr=0.01)
    write_csv(folder / paths.OOF_HISTORY, pd.concat([one.assign(fold=fold) for fold in range(5)]))
    rates = np.geomspace(1e-6, 1, 50)
    write_csv(folder / paths.LR_CURVE, pd.DataFrame({"lr": rates, "loss": 1.0, "smoothed": 1.0}))
    write_csv(folder / paths.LR_SUGGESTIONS, pd.DataFrame({"lr": [0.01], "smoothed": [1.0], "name": ["half the fall"]}))
    write_json(folder / paths.LR_CHOSEN, {"lr": 0.01})


def read_epoch(params: Params) -> dict[str, Any]:
    """All training batches of one epoch from the pixel cache, without a model."""
    from stages.data.fold_data import open_fold

    return _read(params, open_fold(params, 0), None)


def read_on_the_fly(params: Params) -> dict[str, Any]:
    """The same from the files, as without a cache; their check sums are made of the cache's photos."""
    import zlib
    from dataclasses import replace

    from stages.base.files import read_csv
    from stages.data.fold_data import open_fold
    from stages.data.pixel_cache import CHECK, Files, OnTheFly

    data = open_fold(params, 0)
    checks = np.array(
        [zlib.crc32(data.pixels[which].tobytes()) for which in np.arange(len(data.pixels))[:, None]], CHECK
    )
    names = read_csv(paths.PHOTOS, "prepare", {"file": str})["file"].tolist()
    pixels = OnTheFly(Files(paths.TRAIN_IMAGES, names), checks, params)
    return _read(params, replace(data, pixels=pixels), ON_THE_FLY)


def _read(params: Params, data: Any, most: int | None) -> dict[str, Any]:
    from stages.learn import augment, loader

    order = loader.epoch_order(params, data, 0, 0)[:most]
    began, seen = time.perf_counter(), 0
    for batch in loader.training(params, data, order, augment.make(params), loader.Place(0, 0)):
        seen += len(batch.which)
    return {"photos": seen, "seconds": time.perf_counter() - began}


def compare_two(params: Params) -> dict[str, Any]:
    """What `maskcli compare` does with two runs, but for reading them out of git."""
    from stages.base import revisions
    from stages.by_hand import compare
    from stages.report.png.result_figures import forest

    runs = []
    for name in ("a", "b"):
        with contextlib.chdir(name):
            runs.append(compare.load(revisions.WORKSPACE))
    found = [compare.against(runs[0], runs[1], compare.Asked("selected", REPLICATES))]
    forest(paths.FOREST_PNG, [("b", found[0].rows)], "a", found[0].task)
    return {}


STEPS = {"loader": read_epoch, "on_the_fly": read_on_the_fly, "compare": compare_two}


def growth_exponent(sizes: list[int], seconds: list[float]) -> float:
    """e in seconds = fixed + a * (photos - smallest)^e, through the smallest and the two largest sizes.

    The process's start, which the smallest size has too, would else make any growth look slow. What the middle size takes
    more than the smallest cannot be told from noise below a tenth of that one's time, and is taken for so much.
    """
    middle, largest = (max(0.1 * seconds[0], one - seconds[0]) for one in seconds[-2:])
    return math.log(largest / middle) / math.log((sizes[-1] - sizes[0]) / (sizes[-2] - sizes[0]))


def result(sizes: list[int], measured: dict[int, dict[str, Cost]]) -> dict[str, Any]:
    """Tables and goals: peaks are those of the largest size."""
    goals, rows, growth = {}, [], []
    for stage in STAGES:
        for size in sizes:
            cost = measured[size][stage]
            seconds, photos = cost.said.get("seconds", cost.seconds), cost.said.get("photos", size)
            rows.append([stage, size, cost.seconds, photos / seconds, cost.peak, cost.anonymous])
        largest = measured[sizes[-1]][stage]
        goals[f"scale_peak_rss_mb_{stage}"] = largest.peak
        if len(sizes) > 2 and stage != "on_the_fly":
            smaller = measured[sizes[-2]][stage]
            exponent = growth_exponent(sizes, [measured[size][stage].seconds for size in sizes])
            goals[f"scale_seconds_exponent_{stage}"] = exponent
            extra = (largest.anonymous - smaller.anonymous) * 1e6 / (sizes[-1] - sizes[-2])
            growth.append([stage, exponent, measured[sizes[0]][stage].anonymous, extra])
    tables = [
        {
            "title": f"Scale: people x 7 photos of {EDGE} x {EDGE} px, each stage in a process of its own",
            "columns": ["stage", "photos", "seconds", "photos/s", "peak RSS, MB", "anonymous peak, MB"],
            "rows": rows,
        }
    ]
    if growth:
        tables.append(
            {
                "title": f"Growth from {sizes[-2]:,} to {sizes[-1]:,} photos",
                "columns": ["stage", "exponent of seconds", "anonymous MB at the smallest", "more bytes a photo"],
                "rows": growth,
            }
        )
    return {
        "goals": goals,
        "tables": tables,
        "notes": [
            "seconds are of the whole process, its start included; the exponents are of what is over those of the smallest size",
            "photos/s of loader and on_the_fly are of reading alone",
            f"on_the_fly reads at most {ON_THE_FLY:,} photos, so its seconds do not grow with the set; all stages else see all",
            "peak RSS counts pages of the mapped pixel cache, which the system takes back when it needs them; anonymous does not",
            f"compare: 22 scores, {REPLICATES:,} replicates; report: one run, its intervals from ensemble.replicates",
        ],
    }


if __name__ == "__main__":
    main()
