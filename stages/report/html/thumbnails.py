"""Small pictures of photos for the report, from the photo's file or else from the pixel cache."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv, read_npy
from stages.data import pixel_cache_record
from stages.data.decode import BadPhoto, decode
from stages.data.pixel_cache_record import Files

SIZE = 144  # px of the longer side: sharp at 72 px on a screen of two dots a pixel


def pictures(names: set[str], folder: Path) -> dict[str, np.ndarray]:
    """Pixels uint8 [height, width, 3] of each training photo that can be had, at most SIZE px; the others are left out.

    Photos lie below `folder`, by the column `file` of photos.csv.
    """
    found = {name: pixels for name in sorted(names) if (pixels := _opened(folder / name)) is not None}
    return found | {name: shrunk(pixels) for name, pixels in _cached(names - set(found), folder).items()}


def jpeg(pixels: np.ndarray, quality: int) -> str:
    """A data: URI of the pixels as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _opened(path: Path) -> np.ndarray | None:
    """The whole photo in its own shape, upright; None if it is not there or cannot be read."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off instead of scale
                scale = min(1.0, SIZE / max(image.size))
                width, height = (max(1, round(scale * size)) for size in image.size)
                return decode(path, height, width).pixels
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
            return shrunk(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, BadPhoto):
        # ValueError: an impossible name
        return None


def _cached(names: set[str], folder: Path) -> dict[str, np.ndarray]:
    """Photos out of the pixel cache; none if it is absent, damaged, of other photos than photos.csv, or without pixels."""
    if not names:
        return {}
    try:
        pixels = read_npy(paths.PIXELS, "prepare")
        table = read_csv(paths.PHOTOS, "prepare", {"file": str, "content": str})
        files = table["file"].tolist()
        pixel_cache_record.check_listed(paths.PIXELS, Files(folder, files, table["content"].tolist()))
    except UserError:
        return {}
    if pixels.ndim != 4:
        return {}
    return {name: np.asarray(pixels[row]) for row, name in enumerate(files) if name in names}


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """At most SIZE px high and wide, in the same shape."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(image)
