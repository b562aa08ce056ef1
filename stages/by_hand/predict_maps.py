"""Heat maps of predicted photos: where each network finds what speaks for the answer (stages/learn/grad_cam.py), their mean."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.base.errors import UserError
from stages.bundle.predictor import Predictor
from stages.learn import grad_cam
from stages.report import heat_overlay

KEPT = re.compile(r"[^\w.-]+")  # of a photo's name all but this


def check(folder: Path, predictor: Predictor, force: bool) -> None:
    """Raise UserError where the models have no maps, or the folder holds something that is not to be overwritten."""
    grad_cam.places(predictor.networks[0])
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--explain {folder}: is a file; name a folder")
    if not force and folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"--explain {folder}: is there already; name another folder, or write over its maps with --force"
        )


def write(predictor: Predictor, pixels: np.ndarray, answers: np.ndarray, files: Sequence[Path]) -> None:
    """Draw each photo, uint8 [n, H + 2m, W + 2m, 3], in grey under the map for its answer, int [n], as a PNG file."""
    heat = np.mean([grad_cam.explain(net, pixels, answers, predictor.params) for net in predictor.networks], axis=0)
    for path, photo, own in zip(files, pixels, heat, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        heat_overlay.write(path, photo, own)


def file(folder: Path, position: int, name: str) -> Path:
    """Of the photo at a position of all that are asked: two photos of one name have two files."""
    return folder / f"{position + 1:06d}-{KEPT.sub('_', Path(name).stem)[:80]}.png"
