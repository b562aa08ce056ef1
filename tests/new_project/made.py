"""Small made-up photos in each layout: noise on a colour of their class."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

CLASSES = {"cat": 14, "dog": 10, "horse": 6}
COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "horse": (40, 40, 200)}


def photo(path: Path, name: str, seed: int, size: tuple[int, int] = (40, 48)) -> None:
    """A PNG whose colour is its class's: blobs of noise, no two alike."""
    rng = np.random.default_rng(seed)
    noise = cv2.resize(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    mixed = noise * 0.6 + np.array(COLOURS[name]) * 0.4
    assert cv2.imwrite(str(path), mixed.astype(np.uint8))


def folder(root: Path, classes: Mapping[str, int] = CLASSES, first: int = 0) -> Path:
    """root/<class>/<number>.png"""
    for place, (name, count) in enumerate(classes.items()):
        for number in range(count):
            photo(root / name / f"{number:03}.png", name, first + 1000 * place + number)
    return root


def table(root: Path, groups_of: int = 2, eval_photos: int = 6) -> Path:
    """root/photos.csv with columns filename, kind, patient, weight and split, and root/images/."""
    rows = []
    for place, (name, count) in enumerate(CLASSES.items()):
        for number in range(count):
            file = f"images/{name[0]}{number:03}.png"
            photo(root / file, name, 1000 * place + number)
            rows.append((file, name, f"{name[0]}{number // groups_of:02}", 5.5 * (place + 1) + number % 3, "train"))
    for number in range(eval_photos):
        file = f"images/eval{number}.png"
        photo(root / file, "cat", 9000 + number)
        rows.append((file, "", f"e{number}", "", "test"))
    names = ["filename", "kind", "patient", "weight", "split"]
    path = root / "photos.csv"
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)
    return path
