"""What is asked of a peer: the command line, and the photos of a fold. Imports no torch.

A peer is a program of its own, started once per fold and once for inference, as its users would:

    python bench/peers/plain.py fit --project DIR --fold 0 --to FOLDER [--epochs 20 --workers 2 ...]
    python bench/peers/plain.py predict --project DIR --to FOLDER

`fit` decodes the JPEGs of the fold in every epoch, validates after every epoch, and writes FOLDER/<fold>.pt and
FOLDER/<fold>.npz (photo [n], probabilities [n, 18]); `predict` joins all folds' models over two views of the eval photos
in FOLDER/eval.csv. Both print one line of JSON. Which photo is in which fold comes from maskcli's own tables.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES = 18
FLIP, JITTER, JITTER_SHARE = 0.5, 0.2, 0.5
WEIGHT_DECAY = 0.05


@dataclass(frozen=True)
class Options:
    """The work that is asked of a peer; sizes in px."""

    action: str
    project: Path
    to: Path
    fold: int
    folds: int
    epochs: int
    model: str
    height: int
    width: int
    margin: int
    batch_size: int
    lr: float
    workers: int
    threads: int
    channels_last: bool
    weights: Path | None

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def with_margin(self) -> tuple[int, int]:
        return self.height + 2 * self.margin, self.width + 2 * self.margin


def parser(description: str | None, actions: tuple[str, ...] = ("fit", "predict")) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("action", choices=actions)
    made.add_argument("--project", type=Path, required=True, help="folder with data/ and out/kfold/folds.csv")
    made.add_argument("--to", type=Path, required=True, help="folder for weights and predictions")
    for name, default in (("fold", 0), ("folds", 5), ("epochs", 20), ("height", 64), ("width", 48), ("margin", 4)):
        made.add_argument(f"--{name}", type=int, default=default)
    made.add_argument("--model", default="test_resnet")
    made.add_argument("--batch-size", type=int, default=32)
    made.add_argument("--lr", type=float, default=0.003)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--threads", type=int, default=0, help="torch's threads in the main process; 0: its own choice")
    made.add_argument("--channels-last", action="store_true")
    made.add_argument("--weights", type=Path, help=".safetensors of timm's model to begin with; left out: from nothing")
    return made


def of_fold(project: Path, fold: int) -> tuple[list[Path], np.ndarray, np.ndarray, np.ndarray]:
    """Files of all photos, their labels [N], and the positions of the training and of the validation side."""
    photos = _rows(project / "out/prepare/photos.csv")
    folds = {row["person"]: int(row["fold"]) for row in _rows(project / "out/kfold/folds.csv")}
    files = [project / "data/train/images" / row["file"] for row in photos]
    labels = np.array([int(row["label"]) for row in photos])
    validates = np.array([folds[row["person"]] == fold for row in photos])
    return files, labels, np.flatnonzero(~validates), np.flatnonzero(validates)


def eval_photos(project: Path) -> list[Path]:
    return [project / "data/eval/images" / row["ImageID"] for row in _rows(project / "data/eval/info.csv")]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_eval(to: Path, files: list[Path], answers: np.ndarray) -> None:
    with (to / "eval.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("ImageID", "ans"))
        writer.writerows((path.name, int(answer)) for path, answer in zip(files, answers, strict=True))


def macro_f1(labels: np.ndarray, answers: np.ndarray) -> float:
    """Macro F1 over the classes that occur in labels or answers [N]."""
    scores = []
    for number in np.union1d(labels, answers):
        both = ((labels == number) & (answers == number)).sum()
        scores.append(2 * both / ((labels == number).sum() + (answers == number).sum()))
    return float(np.mean(scores))


def say(**found: object) -> None:
    print(json.dumps(found))
