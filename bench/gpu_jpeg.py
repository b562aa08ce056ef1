"""Photos as heavy as the contest's, and the product's decoding of them whenever they are read."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.base import cores
from stages.base.talk import SILENT
from stages.data import demo_faces, pixel_cache
from stages.data.decode import decode
from stages.data.pixel_cache_record import Files
from stages.params.schema import Params

PHOTOS = 512  # different ones
HEIGHT, WIDTH = 512, 384  # px
NOISE = 9  # grey levels, so that a JPEG has 30 to 60 kB
QUALITY = 88
FACES = 12  # people that are drawn, 7 photos each


def photos(folder: Path, number: int) -> Files:
    """The demo's faces, enlarged, with noise as sensors have it."""
    demo_faces.write(folder / "data", people=FACES, eval_people=6)
    faces = sorted((folder / "data" / "train" / "images").glob("*/*.jpg"))
    drawn = [cv2.resize(cv2.imread(str(face)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for face in faces]

    def write(place: int) -> str:
        noise = np.random.default_rng(place).integers(-NOISE, NOISE + 1, (HEIGHT, WIDTH, 3))
        pixels = np.clip(drawn[place % len(drawn)] + noise, 0, 255).astype(np.uint8)
        content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        (folder / f"{place:04d}.jpg").write_bytes(content)
        return f"{place:04d}.jpg"

    with ThreadPoolExecutor(cores.usable()) as pool:
        return Files(folder, list(pool.map(write, range(number))))


def mean_bytes(files: Files) -> int:
    return round(sum(files[place].stat().st_size for place in range(len(files))) / len(files))


def on_the_fly(path: Path, files: Files, params: Params) -> pixel_cache.Pixels:
    """What prepare makes of photos for which data.cache_gb leaves no room."""
    pixel_cache.build(path, files, params, SILENT, "photos", keep=pixel_cache.fits(len(files), params))
    return pixel_cache.just_built(path, files, params)


def decoder_rates(files: Files, pixels: pixel_cache.Pixels, params: Params, seconds: float) -> dict[str, Any]:
    """Photos/s of the decoder with one thread, and of the product's reading with all cores."""
    height, width = params.cache_size

    def one(number: int) -> float:
        began = time.perf_counter()
        for place in range(number):
            decode(files[place % len(files)], height, width, params.image.face, params.data.max_pixels)
        return number / (time.perf_counter() - began)

    def all_cores(number: int) -> float:
        which = np.arange(len(files))
        began, read = time.perf_counter(), 0
        while read < number:
            read += len(pixels[which])
        return read / (time.perf_counter() - began)

    rate = one(min(32, len(files)))
    whole = all_cores(len(files))
    return {
        "one core": round(one(max(1, round(seconds * rate))), 1),
        "all cores": round(all_cores(max(1, round(seconds * whole))), 1),
    }
