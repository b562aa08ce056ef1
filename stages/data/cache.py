"""The pixel cache: every photo decoded once, as one memory-mapped uint8 array [photos, height, width, 3]."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stages.data.decode import BadPhoto, decode
from stages.errors import UserError
from stages.files import read_npy, reserve
from stages.params import Params
from stages.talk import Talk

CHUNK = 256  # photos handed to the threads at a time, so that a million photos do not mean a million waiting tasks


def build(path: Path, files: list[Path], params: Params, talk: Talk, title: str) -> list[tuple[int, BadPhoto]]:
    """Decode `files` in order into a new cache at `path`; return (position, fault) of those that cannot be read.

    Faulty photos stay black in the cache. An error leaves half a file: give a path of stages.files.replacing.
    """
    height, width = params.cache_size
    faults: list[tuple[int, BadPhoto]] = []
    pixels = _make(path, (len(files), height, width, 3))
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def work(position: int) -> BadPhoto | None:
            try:
                photo = decode(files[position], height, width, params.image.face, params.data.max_pixels)
            except BadPhoto as fault:
                return fault
            pixels[position] = photo.pixels
            return None

        ticks = talk.track(range(len(files)), len(files), title)
        for start in range(0, len(files), CHUNK):
            chunk = range(start, min(start + CHUNK, len(files)))
            for position, fault in zip(chunk, pool.map(work, chunk), strict=True):
                next(ticks)
                if fault:
                    faults.append((position, fault))
        next(ticks, None)
        pixels.flush()
    return faults


def _make(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy of uint8 zeros, open for writing, its space on the disk set aside."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        reserve(file, start + math.prod(shape))
    return np.memmap(path, np.uint8, "r+", start, shape)


def open_cache(path: Path, photos: int, params: Params) -> np.ndarray:
    """Open a cache for reading, uint8 [photos, height, width, 3], and check that it fits the tables and the params.

    Its header and size are checked; a changed pixel is not seen here, but by DVC, which keeps the file's MD5.
    """
    pixels = read_npy(path, "prepare")
    expected = (photos, *params.cache_size, 3)
    if pixels.shape != expected or pixels.dtype != np.uint8:
        raise UserError(
            f"{path}: holds {pixels.dtype} {pixels.shape}, params.yaml and the tables ask for uint8 {expected}; "
            "run `maskcli prepare` (or `dvc repro`) again"
        )
    return pixels
