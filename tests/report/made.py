"""A made-up run for the report's tests."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stages.report.html.numbers import Oof
from stages.report.html.page import Run


def oof(seed: int, people: int = 30) -> Oof:
    """Random predictions, right more often than not; class 17 is in neither truth nor prediction."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, 17, people * 7)
    logits = rng.normal(size=(people * 7, 18)) + 2 * np.eye(18)[labels]
    logits[:, 17] = -20
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    photo = np.array([f"{person:03d}_x/mask{number}.jpg" for person in range(people) for number in range(7)])
    return Oof(photo, np.repeat(np.arange(people), 7).astype(str), labels, probabilities, probabilities.argmax(1))


def run(name: str, seed: int = 1, **changes: Any) -> Run:
    """A run of two folds and three epochs."""
    history = pd.DataFrame(
        {"fold": [0, 0, 0, 1, 1, 1], "epoch": [1, 2, 3] * 2, "repeat": 0, "lr": [0.01, 0.005, 0.001] * 2}
    )
    for column, first in (("train_loss", 2.5), ("val_loss", 2.7), ("val_nll", 2.7), ("val_f1", 0.1)):
        history[column] = first / history["epoch"] + 0.01 * history["fold"]
    lrs = np.geomspace(1e-5, 1, 20)
    curve = pd.DataFrame({"lr": lrs, "loss": np.linspace(3, 2, 20), "smoothed": np.linspace(3, 2, 20)})
    suggestions = pd.DataFrame({"lr": [0.01, 0.01], "smoothed": [2.4, 2.4], "name": ["valley", "chosen"]})
    scores = {"macro_f1": 0.6543, "macro_f1_low": 0.6001, "macro_f1_high": 0.7002, "ece": 0.0321, "temperature": 1.25}
    made = Run(
        name, oof(seed), 1, scores, history, curve, suggestions, 0.01, {"seed": 0, "loss": "ce", "train": {"epochs": 3}}
    )
    return replace(made, **changes)
