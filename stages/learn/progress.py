"""What is known of a training so far: its history, the selected epoch, and how far the running epoch has come."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from stages.params.schema import Params


@dataclass
class Progress:
    """What is known after some epochs and some steps of the next one."""

    history: list[dict[str, float]] = field(default_factory=list)
    selected_epoch: int = 0
    selected_state: dict[str, Tensor] = field(default_factory=dict)
    selected_logits: np.ndarray = field(default_factory=lambda: np.empty(0))
    last_logits: np.ndarray = field(default_factory=lambda: np.empty(0))
    predicted: list[np.ndarray] = field(default_factory=list)  # class of each validation photo after each epoch
    stale_epochs: int = 0
    seen: list[dict[str, Tensor]] = field(default_factory=list)  # loss parts of the running epoch's steps
    epoch_seconds: float = 0.0  # the running epoch has trained
    share: float = 0.0  # of the schedule gone by, 0..1
    limit: str = ""  # the time limit that shortened the schedule, if one did
    finished: bool = False


def over(progress: Progress, params: Params) -> bool:
    """Whether an epoch that has just ended was the last."""
    return len(progress.history) >= params.train.epochs or impatient(progress, params) or progress.share >= 1


def impatient(progress: Progress, params: Params) -> bool:
    """Whether train.patience epochs have brought nothing better."""
    return 0 < params.train.patience <= progress.stale_epochs


def select(history: list[dict[str, float]], rule: str) -> int:
    """Index of the epoch to keep: best_f1 (ties by val_nll, then the earlier), best_nll, or last."""
    keys: dict[str, Callable[[int], Any]] = {
        "best_f1": lambda index: (-history[index]["val_f1"], history[index]["val_nll"]),
        "best_nll": lambda index: history[index]["val_nll"],
        "last": lambda index: -index,
    }
    return min(range(len(history)), key=keys[rule])


def note(progress: Progress, rule: str, row: dict[str, float], logits: np.ndarray, state: dict[str, Tensor]) -> None:
    """Add an epoch's row and validation logits [n, C]; keep a copy of `state` if it is the one to select so far."""
    earlier = progress.history
    better_f1 = not earlier or row["val_f1"] > max(old["val_f1"] for old in earlier)
    better_nll = not earlier or row["val_nll"] < min(old["val_nll"] for old in earlier)
    progress.stale_epochs = 0 if better_f1 or better_nll else progress.stale_epochs + 1
    progress.history.append(row)
    progress.last_logits = logits
    progress.predicted.append(logits.argmax(1).astype(np.uint16))
    progress.seen, progress.epoch_seconds = [], 0.0
    if select(progress.history, rule) == len(progress.history) - 1:
        progress.selected_epoch = len(progress.history)
        progress.selected_state = {key: value.detach().cpu().clone() for key, value in state.items()}
        progress.selected_logits = logits
