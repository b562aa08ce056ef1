"""Made-up runs for the report's tests: of the contest, and of tasks of other forms."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.report.html.page import Run
from stages.report.html.page_scores import Oof

FOLDERS = Task("folder", (Axis("label", tuple(f"digit {number}" for number in range(10))),), "photo")
MANY = Task("folder", (Axis("label", tuple(f"species {number:03d}" for number in range(1000))),), "photo")
CELLS = Task(
    "table",
    (
        Axis("stain", ("none", "weak", "strong")),
        Axis("size", ("<2.5", "2.5-10", "10+"), (2.5, 10.0), regressed=True, scale=2.0),
    ),
    "group",
    {"large": (2, 5, 8), "strong_large": (8,)},
)


def oof(seed: int, people: int = 30, task: Task = CONTEST) -> Oof:
    """Random predictions, right more often than not; the last class is in neither truth nor prediction."""
    rng, classes = np.random.default_rng(seed), task.classes
    labels = np.random.default_rng(0).integers(0, classes - 1, people * 7)
    logits = rng.normal(size=(people * 7, classes)) + 2 * np.eye(classes)[labels]
    logits[:, -1] = -20
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    photo = np.array([f"{person:03d}_x/mask{number}.jpg" for person in range(people) for number in range(7)])
    group = np.arange(people * 7) if task.unit == "photo" else np.repeat(np.arange(people), 7).astype(str)
    return Oof(photo, group, labels, probabilities, probabilities.argmax(1))


def long_tailed(task: Task, photos: int, seed: int = 1) -> Oof:
    """Many classes, the commonest a thousand times as common as the rarest, each taken for its neighbour now and then."""
    rng, classes = np.random.default_rng(seed), task.classes
    share = np.geomspace(1, 1e-3, classes)
    labels = np.sort(np.random.default_rng(0).choice(classes, photos, p=share / share.sum()))
    taken = np.where(rng.random(photos) < 0.15 + 0.6 * labels / classes, labels // 2, labels)
    probabilities = np.full((photos, classes), 0.3 / classes)
    probabilities[np.arange(photos), taken] += rng.uniform(0.3, 0.7, photos)
    probabilities /= probabilities.sum(1, keepdims=True)
    photo = np.array([f"{task.class_names[label]}/{number:06d}.jpg" for number, label in enumerate(labels)])
    return Oof(photo, np.arange(photos), labels, probabilities, probabilities.argmax(1))


def run(name: str, seed: int = 1, task: Task = CONTEST, **changes: Any) -> Run:
    """A run of two folds and three epochs."""
    history = pd.DataFrame(
        {"fold": [0, 0, 0, 1, 1, 1], "epoch": [1, 2, 3] * 2, "repeat": 0, "lr": [0.01, 0.005, 0.001] * 2}
    )
    for column, first in (("train_loss", 2.5), ("val_loss", 2.7), ("val_nll", 2.7), ("val_f1", 0.1)):
        history[column] = first / history["epoch"] + 0.01 * history["fold"]
    lrs = np.geomspace(1e-5, 1, 20)
    curve = pd.DataFrame({"lr": lrs, "loss": np.linspace(3, 2, 20), "smoothed": np.linspace(3, 2, 20)})
    suggestions = pd.DataFrame({"lr": [0.01, 0.01], "smoothed": [2.4, 2.4], "name": ["half the fall", "chosen"]})
    scores = {
        "macro_f1": 0.6543, "macro_f1_low": 0.6001, "macro_f1_high": 0.7002,
        "ece": 0.0321, "ece_low": 0.0, "ece_high": 0.04, "ece_debiased": 0.02, "ece_by_chance": 0.018,
        "temperature": 1.25, "temperature_low": 1.1, "temperature_high": 1.4,
    }  # fmt: skip
    params = {"seed": 0, "loss": "ce", "train": {"epochs": 3}}
    made = Run(name, task, oof(seed, task=task), 1, scores, history, curve, suggestions, 0.01, params)
    return replace(made, **changes)
