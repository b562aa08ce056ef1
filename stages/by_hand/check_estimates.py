"""How long each stage of `dvc repro` will take for all of the data, from what `maskcli check` has measured on a few photos."""

import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import cores, paths
from stages.by_hand.check_trial import Trial
from stages.data import near_duplicates, photos
from stages.data.decode import decode
from stages.data.found_photos import Found
from stages.judge import bootstrap, metrics
from stages.learn import lr_range_test, short_training
from stages.params.schema import Params
from stages.submission import decision_rule

JUDGED_PHOTOS = 3000  # at most, from which the time of judging all is reckoned
HASHED_PER_SECOND = 500e6  # bytes of the pixel cache that each training hashes for the name of its checkpoint
DVC_STAGE = 1.0  # seconds that DVC takes about a stage: hashing outputs, writing dvc.lock


@dataclass(frozen=True)
class Estimate:
    """How long a stage will take: speed as measured, in words, and seconds for all of the data."""

    stage: str
    speed: str
    seconds: float


def of_stages(trial: Trial, seconds: dict[str, float], measured: dict[str, Any]) -> list[Estimate]:
    """Seconds of each stage for all of the data, start of its process included.

    seconds: what the stages took in the trial; measured: photos a second in training, validation and prediction
    (train_rate, val_rate, predict_rate), the batch, photo_bytes, one photo's size in the cache, and jobs, the folds that
    are trained at a time.
    """
    params, found = trial.real, trial.found
    light = _startup("import stages.prepare, stages.oof_ensemble") + DVC_STAGE
    startup = _startup("import stages.parallel.preloaded") + DVC_STAGE
    folds, repeats, jobs = len(params.folds), params.train.repeats, min(len(params.folds), measured["jobs"])
    count, answers = len(found.photos), len(found.eval)
    train_side, val_side = count * (folds - 1) / folds, count / folds
    decode = (len(pd.read_csv(paths.PHOTOS)) + len(photos.read_eval())) / seconds["prepare"]
    rate, val_rate = measured["train_rate"], measured["val_rate"]
    epoch = train_side / rate + val_side / val_rate
    inner = params.label_noise.folds * short_training.inner_cost(params)
    hashing = count * measured["photo_bytes"] / HASHED_PER_SECOND
    told = [
        Estimate("prepare", f"{decode:.0f} photos/s", (count + answers) / decode + light),
        _of_eda(trial, seconds["eda"], light),
        Estimate("kfold", "", light),
        Estimate(
            "lr-find",
            f"{rate:.0f} photos/s",
            lr_range_test.number_of_steps(params, int(train_side)) * measured["batch"] / rate + startup,
        ),
        Estimate(
            f"train, {folds} folds"
            + (f" x {repeats}" if repeats > 1 else "")
            + (", label_noise" if inner else "")
            + (f", {jobs} at a time" if jobs > 1 else ""),
            f"{rate:.0f} photos/s, epoch {epoch:.1f} s",
            math.ceil(folds / jobs) * (repeats + inner) * params.train.epochs * epoch + folds * (hashing + startup),
        ),
        Estimate("oof-ensemble", f"{params.ensemble.replicates} samples", judging(params, found) + light),
    ]
    if answers:
        rate, views = measured["predict_rate"], len(params.tta.views) * folds * repeats
        told.append(Estimate("tta-predict", f"{rate:.0f} photos/s", answers * views / rate + startup))
    return told


def _startup(imports: str) -> float:
    """Seconds of a stage's process that imports what it needs, as cli/main.py has it imported, and does nothing."""
    code = f"from stages.base import garbage; garbage.collect_seldom(); {imports}"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=_importable())
    return time.perf_counter() - began


def _importable() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def _of_eda(trial: Trial, seconds: float, startup: float) -> Estimate:
    """Reading all photos, looking for pairs among all of them, and what eda took in the trial besides reading."""
    files = photos.files(trial.params, pd.read_csv(paths.PHOTOS, dtype={"file": str})["file"].tolist())
    began = time.perf_counter()
    with ThreadPoolExecutor(cores.usable()) as pool:
        list(pool.map(lambda place: _hash(files[place]), range(len(files))))
    read = time.perf_counter() - began
    rate, count = len(files) / read, len(trial.found.photos) + len(trial.found.eval)
    rest = _looking_for_pairs(count) + max(0.0, seconds - read)
    return Estimate("eda", f"{rate:.0f} photos/s", count / rate + rest + startup)


def _hash(file: Path) -> int:
    """What eda makes of a photo."""
    pixels = decode(file, near_duplicates.SIDE, near_duplicates.SIDE).pixels
    return near_duplicates.phash(near_duplicates.grey(pixels))


def _looking_for_pairs(photos: int) -> float:
    """Seconds in which eda finds near-duplicates among so many photos, with hashes drawn at random."""
    hashes = np.random.default_rng(0).integers(0, 2**64, photos, dtype=np.uint64)
    began = time.perf_counter()
    for _ in near_duplicates.candidates(hashes, np.arange(photos)):
        pass
    return time.perf_counter() - began


def judging(params: Params, found: Found) -> float:
    """Seconds of the decision rule's judgement and the score's interval, with answers drawn at random: measured on at most
    JUDGED_PHOTOS photos, and taken as proportional to their number.
    """
    rng = np.random.default_rng(0)
    classes = found.task.classes
    group = found.photos["group"].to_numpy(str)[:JUDGED_PHOTOS]
    labels = rng.integers(0, classes, len(np.unique(group)))[np.unique(group, return_inverse=True)[1]]
    log_probabilities = metrics.log_softmax(rng.normal(size=(len(group), classes)))
    began = time.perf_counter()
    decision_rule.judge(log_probabilities, labels, group, found.task, params)
    predictions = log_probabilities.argmax(1)
    bootstrap.macro_f1_interval(group, labels, predictions, params.ensemble.replicates, params.seed, classes)
    return (time.perf_counter() - began) * len(found.photos) / len(group)
