"""One training of the papers' table: a project folder of its own, `maskcli refit` in it, and what it scored.

The photos of an imbalance are prepared once, in TO/imbalance_<n>; a training has links of what that made, in
TO/trainings/<its name>, and there its checkpoint, from which it goes on where it was cut off. Nothing but the prepared files
is shared, so that what runs beside a training has no say in it.
"""

import dataclasses
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import long_tail
import methods
import numpy as np
import pandas as pd
import yaml
from methods import METHODS, SetUp

from stages.base.files import write_json

sys.path.append(str(Path(__file__).resolve().parent.parent))
import scratch

HERE = Path(__file__).resolve().parent
STAGES = ("prepare", "kfold", "lr-find")  # what a training begins with
GRACE = 30.0  # seconds that a training has for its checkpoint, once it was asked to stop
LOOK_EVERY = 0.1
ENVIRONMENT = scratch.ENVIRONMENT | {"OMP_NUM_THREADS": "1"}  # one thread, which params.yaml has for training alone
SERVED = "CUDA_MPS_"  # what the names of variables begin with that tell of a server that may have been started since
COMMAND = [sys.executable, "-m", "cli.main"]
Result = dict[str, Any]


class Failed(Exception):
    """The last line of a command that failed."""


class CutOff(Exception):
    """A training was asked to stop, and goes on another time."""


@dataclass(frozen=True)
class Training:
    """A method of METHODS, trained on all training photos of an imbalance."""

    imbalance: int
    set_up: SetUp
    method: str
    seed: int

    @property
    def key(self) -> str:
        """In results.json."""
        return f"imbalance {self.imbalance}, {self.set_up.name}, {self.method}, seed {self.seed}"

    @property
    def short(self) -> str:
        return f"imbalance {self.imbalance}, {self.method}, seed {self.seed}"

    @property
    def name(self) -> str:
        """Of its files."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.key)


def folder(to: Path, training: Training) -> Path:
    return to / "trainings" / training.name


def submission(to: Path, training: Training) -> Path:
    """Where the answers of a training are kept."""
    return to / "submissions" / f"{training.name}.csv"


def project(to: Path, imbalance: int) -> Path:
    """Where an imbalance's photos are prepared."""
    return to / f"imbalance_{imbalance}"


def lay_out(images: Path | None, to: Path, imbalance: int) -> None:
    """The photos of an imbalance below its project's data/, where they are not there yet.

    Raises long_tail.NotThere.
    """
    place = project(to, imbalance)
    if (place / "photos.json").is_file() or _is_prepared(place):
        return
    if images is None:
        raise long_tail.NotThere(f"--images: name a checkout of {long_tail.SOURCE}; {place} has no photos yet")
    shutil.rmtree(place, ignore_errors=True)
    kept = long_tail.make(images, place / "data", imbalance)
    write_json(place / "photos.json", kept)


def prepare(to: Path, training: Training, stop: threading.Event) -> None:
    """What trainings of an imbalance begin with, of photos that are laid out. Raises Failed, CutOff."""
    place = project(to, training.imbalance)
    if _is_prepared(place):
        return
    write_params(place, training)
    for stage in STAGES:
        maskcli(place, stop, stage)


def _is_prepared(place: Path) -> bool:
    return (place / "out/lr-find/lr.json").is_file()


def photos(to: Path, imbalance: int) -> int:
    """Training photos."""
    return sum(1 for _ in (project(to, imbalance) / "data/train").rglob("*.jp*g"))


def done(to: Path, training: Training) -> float:
    """Share of its epochs that a training's newest checkpoint holds; 0 where it has none."""
    header = _newest(folder(to, training))
    return float(header["epoch"] / header["epochs"]) if header else 0.0


def run_of(to: Path, training: Training) -> str:
    """The run that a training's newest checkpoint is of: another one where code, libraries or photos are others; empty where it
    has none."""
    return str(_newest(folder(to, training)).get("run", ""))


def _newest(place: Path) -> Result:
    """What the newest checkpoint says of itself; nothing where there is none."""
    newest: Result = {}
    for path in _checkpoints(place):
        with path.open("rb") as file, suppress(ValueError, KeyError):  # a damaged one is not gone on from
            file.readline(100)
            header = json.loads(file.readline(10_000))  # stages/learn/checkpoint.py, which imports torch
            if header["sequence"] > newest.get("sequence", -1):
                newest = header
    return newest


def _checkpoints(place: Path) -> list[Path]:
    return list((place / "out/checkpoints").glob("[-0-9]*.ckpt"))


def write_params(place: Path, training: Training) -> None:
    """params.yaml, and the plugin that it names."""
    told = methods.params(METHODS[training.method], training.seed, training.set_up)
    (place / "params.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    shutil.copyfile(HERE / "resnet_cifar.py", place / "resnet_cifar.py")


def train(to: Path, training: Training, card: str, jobs: int | str, stop: threading.Event) -> dict[str, Result]:
    """Train, on from the checkpoint where there is one, and score; results by key, also those of methods that only answer
    otherwise by the same training. jobs: trainings at once, for the record. Raises Failed, CutOff.
    """
    place = folder(to, training)
    _begin(to, training)
    parts = _parts(to, training)
    write_json(place / "parts.json", [*parts, {"card": card, "jobs": jobs, "seconds": None}])
    began = time.perf_counter()
    try:
        maskcli(place, stop, "refit")
    finally:
        own = run_of(to, training)
        part = {"card": card, "jobs": jobs, "seconds": round(time.perf_counter() - began, 2), "run": own}
        parts = [*(one for one in parts if one["run"] == own), part]  # before another run it began anew
        write_json(place / "parts.json", parts)
    return results(to, training, parts)


def results(to: Path, training: Training, parts: list[Result]) -> dict[str, Result]:
    """Scores of a training that has ended, and its answers, which are kept; nothing stops it: it takes seconds."""
    place, method = folder(to, training), METHODS[training.method]
    words = ("score", "--submission", "out/refit/submission.csv", "--json")
    plain = json.loads(maskcli(place, threading.Event(), *words))
    own = cost(parts, photos(to, training.imbalance) * training.set_up.epochs)
    told = {"error": plain["accuracy"], "low": plain["accuracy_high"], "high": plain["accuracy_low"]}
    result = {name: 100 * (1 - value) for name, value in told.items()} | own
    error, afterwards = adjusted_error(place, project(to, training.imbalance) / "data/train")
    answers = pd.read_csv(place / "out/refit/submission.csv", dtype=str)
    found = {}
    for name, one in METHODS.items():
        if one.params == method.params:
            same = dataclasses.replace(training, method=name)
            kept = submission(to, same)
            kept.parent.mkdir(parents=True, exist_ok=True)
            changed = answers.assign(label=answers["file"].map(afterwards)) if one.adjusted else answers
            changed.to_csv(kept, index=False)
            found[same.key] = error | own if one.adjusted else result
    return found


def cost(parts: list[Result], seen: int) -> Result:
    """Seconds of a training's parts together, the starts of all of them counted, and where it ran; photos/s of so many that it
    saw only where it ran in one: what was cut off began more than once. None: a part was killed before it could tell.
    """
    told = [part["seconds"] for part in parts]
    seconds = None if None in told else round(sum(told), 2)
    rate = round(seen / seconds, 1) if seconds and len(parts) == 1 else None
    cards = list(dict.fromkeys(part["card"] for part in parts))
    return {"seconds": seconds, "photos_per_second": rate, "cards": cards, "jobs": [part["jobs"] for part in parts]}


def _begin(to: Path, training: Training) -> None:
    """The training's folder: its params, and what was prepared."""
    place, prepared = folder(to, training), project(to, training.imbalance)
    for stage in STAGES:
        shutil.rmtree(place / "out" / stage, ignore_errors=True)
        for path in sorted((prepared / "out" / stage).iterdir()):
            link(path, place / "out" / stage / path.name)
    _unlink_data(place)
    (place / "data").symlink_to(os.path.relpath(prepared / "data", place))
    write_params(place, training)


def link(path: Path, to: Path) -> None:
    """As a hard link, where the disk has them; a copy of the same time else, so that nothing looks changed."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, to)
    except OSError:
        shutil.copy2(path, to)


def let_go(to: Path, training: Training, done: bool) -> None:
    """Remove a training's folder, or where it is not done all that is not needed to go on."""
    place = folder(to, training)
    if done:
        shutil.rmtree(place, ignore_errors=True)
    for stage in STAGES:
        shutil.rmtree(place / "out" / stage, ignore_errors=True)
    _unlink_data(place)


def _unlink_data(place: Path) -> None:
    (place / "data").unlink(missing_ok=True)


def _parts(to: Path, training: Training) -> list[Result]:
    """What a training's parts took; those of which nothing is left to go on from are none. One that was killed left its
    checkpoint, but not its run."""
    path, run = folder(to, training) / "parts.json", run_of(to, training)
    return [{"run": run} | part for part in json.loads(path.read_text())] if path.is_file() and run else []


def adjusted_error(place: Path, train: Path) -> tuple[Result, dict[str, str]]:
    """Error of answers by log p - log prior (Menon et al. 2021, section 4.1, tau 1) on the test photos, per cent, with Wilson's
    interval over photos; and these answers by photo. train: the training photos, a folder a class.
    """
    held = np.load(place / "out/refit/probabilities.npz")
    counts = np.array([len(list((train / name).iterdir())) for name in long_tail.CLASSES])
    answers = (np.log(np.maximum(held["probabilities"], 1e-30)) - np.log(counts / counts.sum())).argmax(1)
    truth = np.array([long_tail.CLASSES.index(Path(str(image)).parent.name) for image in held["image"]])
    wrong, n, z = float((answers != truth).mean()), len(truth), 1.96
    middle = (wrong + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(wrong * (1 - wrong) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    by_photo = {str(image): long_tail.CLASSES[number] for image, number in zip(held["image"], answers, strict=True)}
    return {"error": 100 * wrong, "low": 100 * (middle - half), "high": 100 * (middle + half)}, by_photo


def maskcli(place: Path, stop: threading.Event, *words: str) -> str:
    """Run a command in a project; its stdout. Once `stop` is set it is asked to stop, and killed where it does not.

    Raises Failed, CutOff.
    """
    place.mkdir(parents=True, exist_ok=True)
    log, printed = place / f"{words[0]}.log", place / f"{words[0]}.out"
    with log.open("w") as errors, printed.open("w") as lines:
        process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=place,
            env=ENVIRONMENT | {name: value for name, value in os.environ.items() if name.startswith(SERVED)},
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=errors,
            process_group=0,  # a Ctrl-C on the terminal is passed on, once: a second one would leave no checkpoint
        )
    asked = _ended(process, stop)
    if process.returncode and asked:
        raise CutOff
    if process.returncode:
        told = log.read_text(errors="replace").strip().splitlines() or [f"ended with {process.returncode}"]
        raise Failed(f"maskcli {' '.join(words)}: {told[-1]}")
    return printed.read_text()


def _ended(process: subprocess.Popen[bytes], stop: threading.Event) -> bool:
    """Wait for a process to end; whether it was asked to."""
    while not stop.is_set():
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_EVERY)
            return False
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True
