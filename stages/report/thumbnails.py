"""Small pictures of photos for the report, from the pixel cache or else from the photo's file."""

import base64
import io

import numpy as np
from PIL import Image

from stages import paths
from stages.data.decode import BadPhoto, decode
from stages.errors import UserError
from stages.files import read_csv, read_npy
from stages.params import Params

HEIGHT = 96  # px, at most


def pictures(names: set[str], params: Params) -> dict[str, np.ndarray]:
    """Pixels uint8 [height, width, 3] of each photo that can be had, at most HEIGHT px high; the others are left out."""
    cached = _cached(names)
    found = {}
    for name in sorted(names):
        pixels = cached.get(name)
        if pixels is None:
            pixels = _decoded(name, params)
        if pixels is not None:
            found[name] = _shrunk(pixels)
    return found


def jpeg(pixels: np.ndarray, quality: int) -> str:
    """A data: URI of the pixels as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _cached(names: set[str]) -> dict[str, np.ndarray]:
    """Photos out of the pixel cache; none if it is absent, damaged or of other photos than photos.csv."""
    try:
        pixels = read_npy(paths.PIXELS, "prepare")
        files = read_csv(paths.PHOTOS, "prepare", {"file": str})["file"]
    except UserError:
        return {}
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or len(pixels) != len(files):
        return {}
    return {name: np.asarray(pixels[row]) for row, name in enumerate(files) if name in names}


def _decoded(name: str, params: Params) -> np.ndarray | None:
    height, width = params.cache_size
    path = paths.TRAIN_IMAGES / name
    try:
        return decode(path, height, width, params.image.face, params.data.max_pixels).pixels
    except (BadPhoto, ValueError):  # ValueError: a name that no file can have
        return None


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    if height <= HEIGHT:
        return pixels
    size = (max(1, round(width * HEIGHT / height)), HEIGHT)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
