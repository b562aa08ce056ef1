"""CPU time of a photo from its JPEG over that of bare OpenCV, which reads, decodes and resizes it and looks at nothing.

python bench/decoding.py [--rounds 9]       (about half a minute)

Photos as heavy as the contest's: 384x512 px, some 35 kB. CPU seconds, not wall time: a machine that others use as well
gives the same. "in the process that trains" is what is left there where processes decode, as beside a GPU. All ways take
turns within a round; a ratio is the median of the rounds' own ratios.
"""

import argparse
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scratch import report, say, table

from stages.data.decode import decode
from stages.data.pixel_cache import CHECK, OnTheFly
from stages.data.pixel_cache_record import Files
from stages.params.load import parse

PHOTOS = 64
SIZES = ((240, 240), (168, 128))  # of the cache, px
BARE = "bare OpenCV"


@dataclass(frozen=True)
class Way:
    """Something that makes all photos once, and the threads whose CPU time counts."""

    make: Callable[[], object]
    clock: Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds: int = parser.parse_args().rounds
    goals: dict[str, float] = {}
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory(prefix="maskcli-bench-") as folder:
        files = photos(Path(folder))
        for height, width in SIZES:
            say(f"decoding: {height}x{width}")
            found = seconds(ways(files, height, width), rounds)
            for name, taken in found.items():
                ratio = statistics.median(a / b for a, b in zip(taken, found[BARE], strict=True))
                rows.append([f"{height}x{width}", name, round(statistics.median(taken) * 1e6), round(ratio, 3)])
                if name != BARE:
                    goals[f"decoding_ratio_{name.replace(',', '').replace(' ', '_')}_{height}x{width}"] = round(
                        ratio, 4
                    )
    columns = ["cache, px", "way", "us of CPU a photo", "over bare OpenCV"]
    report(goals, [table("A photo from its JPEG", columns, rows)], [f"{PHOTOS} photos of 384x512 px, {rounds} rounds"])


def photos(folder: Path) -> Files:
    """Smooth colours and grain, as JPEGs."""
    rng = np.random.default_rng(0)
    for place in range(PHOTOS):
        smooth = cv2.resize(rng.integers(40, 220, (8, 6, 3), np.uint8), (384, 512), interpolation=cv2.INTER_CUBIC)
        grain = cv2.GaussianBlur(rng.normal(0, 40, smooth.shape), (0, 0), 1.2) + rng.normal(0, 4, smooth.shape)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        (folder / f"{place}.jpg").write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
    return Files(folder, [f"{place}.jpg" for place in range(PHOTOS)])


def ways(files: Files, height: int, width: int) -> dict[str, Way]:
    params = parse({"image": {"height": height, "width": width, "margin": 0}})
    every = np.arange(len(files))

    def bare() -> None:
        for place in range(len(files)):
            pixels = cv2.imdecode(np.frombuffer(files[place].read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)

    def prepare() -> None:
        for place in range(len(files)):
            decode(files[place], height, width)

    checks = np.array([zlib.crc32(decode(files[place], height, width).pixels.data) for place in every.tolist()], CHECK)
    threads, apart = (OnTheFly(files, checks, params, apart=apart, threads=1) for apart in (False, True))
    return {
        BARE: Way(bare, time.thread_time),
        "prepare": Way(prepare, time.thread_time),
        "on the fly": Way(lambda: threads[every], time.process_time),
        "on the fly, in the process that trains": Way(lambda: apart[every], time.process_time),
    }


def seconds(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """CPU time a photo of each way, in each round; the first round, in which processes start, is not counted."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            began = way.clock()
            way.make()
            found[name].append((way.clock() - began) / PHOTOS)
    return {name: taken[1:] for name, taken in found.items()}


if __name__ == "__main__":
    main()
