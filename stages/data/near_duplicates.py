"""Near-duplicate photos under different owners: a perceptual hash finds candidates, their pixels confirm them.

The hash is the DCT hash of Zauner 2010, "Implementation and benchmarking of perceptual image hash functions": bits
that hardly change when a photo is compressed again or resized. Centred faces have much of it in common, so a small
distance alone proves nothing: two photos count as one when their small grey images correlate as well.
Mirrored, rotated and cropped copies are not found.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pandas as pd

from stages.base import cores
from stages.base.files import make_folder, unwritable
from stages.base.large_arrays import reserve
from stages.base.talk import Talk
from stages.data.decode import resized

SIDE = 32  # px of the small grey image
LOW = 8  # lowest frequencies kept, in each direction
BANDS = 4  # of 16 bits: if at most 7 of the 64 bits differ, some band differs in at most one bit
# Copies (JPEG quality 30 and up, 50 to 90 % of the size) lay within 6 bits and above 0.985; photos of different people
# within 10 bits stayed below 0.93.
MAX_DISTANCE = 7
MIN_CORRELATION = 0.97
MIN_CONTRAST = 2.0  # standard deviation in grey levels; below it a photo is blank, and its hash is noise
MOST_PAIRS = 100_000
BLOCK = 1 << 20  # candidate pairs held at a time
CHUNK = 64  # photos that a thread looks at at a time


class Pixels(Protocol):
    """Photos that are decoded already: uint8 [n, H, W, 3] of those at some positions."""

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray: ...


@contextmanager
def room(folder: Path, photos: int) -> Iterator[np.ndarray]:
    """A zeroed uint8 array [photos, SIDE, SIDE] in an unnamed file in `folder`, so that memory does not grow with it."""
    make_folder(folder)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            reserve(file, photos * SIDE**2)
        except OSError as error:
            raise unwritable(folder, error) from error
        yield np.memmap(file, np.uint8, "r+", shape=(photos, SIDE, SIDE))


def grey(pixels: np.ndarray) -> np.ndarray:
    """Grey image, uint8 [SIDE, SIDE], of RGB pixels, uint8 [SIDE, SIDE, 3]."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def is_blank(small: np.ndarray) -> bool:
    """Whether a grey image shows one flat colour."""
    return bool(small.std() < MIN_CONTRAST)


def phash(small: np.ndarray) -> int:
    """64-bit hash of a grey image, uint8 [SIDE, SIDE]: which of its 8 x 8 lowest frequencies exceed their median."""
    low = cv2.dct(small.astype(np.float32))[:LOW, :LOW].ravel()
    return int(np.packbits(low > np.median(low)).view("<u8")[0])


def look_at(pixels: Pixels, greys: np.ndarray, talk: Talk) -> tuple[np.ndarray, np.ndarray]:
    """Fill `greys`, uint8 [N, SIDE, SIDE], from photos decoded already; return their hashes, uint64 [N], and whether each is
    more than one flat colour, bool [N]. On all cores."""
    hashes, comparable = np.zeros(len(greys), np.uint64), np.zeros(len(greys), bool)

    def work(start: int) -> None:
        part = slice(start, min(start + CHUNK, len(greys)))
        for place, photo in enumerate(pixels[np.arange(part.start, part.stop)], start):
            small = grey(resized(photo, SIDE, SIDE))
            greys[place], hashes[place], comparable[place] = small, phash(small), not is_blank(small)

    starts = range(0, len(greys), CHUNK)
    with ThreadPoolExecutor(cores.usable()) as pool:
        for _ in talk.track(pool.map(work, starts), len(starts), "look for near-duplicates"):
            pass
    return hashes, comparable


def joined(owners: np.ndarray, pairs: pd.DataFrame) -> np.ndarray:
    """Owners int [N] (0..G-1) once those of each pair (positions a and b) are one: the first of those joined stands for all."""
    x, y = owners[pairs["a"].to_numpy()], owners[pairs["b"].to_numpy()]
    first = np.arange(int(owners.max()) + 1)
    while True:
        lower = np.minimum(first[x], first[y])
        found = first.copy()
        np.minimum.at(found, x, lower)
        np.minimum.at(found, y, lower)
        found = found[found]
        if (found == first).all():
            return first[owners]
        first = found


def duplicates(
    hashes: np.ndarray, greys: np.ndarray, owners: np.ndarray, comparable: np.ndarray
) -> tuple[pd.DataFrame, bool]:
    """Pairs of photos that are one picture under two owners, and whether the list is complete.

    `hashes` uint64 [N], `greys` uint8 [N, SIDE, SIDE], `owners` int [N]; photos that are not `comparable`,
    bool [N], are passed over. Columns: a, b (positions, a < b), distance (bits), correlation; closest first.
    The search ends at MOST_PAIRS, which one picture under 500 people can reach.
    """
    which = np.flatnonzero(comparable)
    found = [np.empty((0, 4))]
    count = 0
    for a, b, distance in candidates(hashes[which], owners[which]):
        a, b = which[a], which[b]
        correlation = _correlation(greys, a, b)
        keep = correlation >= MIN_CORRELATION
        found.append(np.column_stack([a, b, distance, correlation])[keep])
        count += int(keep.sum())
        if count >= MOST_PAIRS:
            break
    table = pd.DataFrame(np.concatenate(found), columns=["a", "b", "distance", "correlation"])
    table = table.astype({"a": np.int64, "b": np.int64, "distance": np.int64})
    table = table.sort_values(["distance", "correlation", "a", "b"], ascending=[True, False, True, True])
    return table.head(MOST_PAIRS).reset_index(drop=True), count < MOST_PAIRS


def candidates(hashes: np.ndarray, owners: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield blocks (a, b, distance) of all pairs of different owners within MAX_DISTANCE bits; each pair once, a < b.

    Multi-index hashing (Norouzi et al. 2012): per band, photos are looked up by the band's 16 bits and by the 16 values
    one bit away, so that a million photos are not compared each with each.
    """
    bands = hashes.astype("<u8").view("<u2").reshape(-1, BANDS)
    for band in range(BANDS):
        keys = bands[:, band].astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(2**16 + 1))
        for flip in (0, *(1 << bit for bit in range(16))):
            probe = keys ^ flip
            for a, b in _lookups(starts[probe], starts[probe + 1], order):
                keep = (a < b) & (owners[a] != owners[b])
                a, b = a[keep], b[keep]
                differing = np.bitwise_count(bands[a] ^ bands[b])
                distance = differing.sum(1)
                # A pair is told by the first band that finds it.
                keep = (distance <= MAX_DISTANCE) & ((differing <= 1).argmax(1) == band)
                if keep.any():
                    yield a[keep], b[keep], distance[keep]


def _lookups(first: np.ndarray, last: np.ndarray, order: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (photo, order[first..last) of that photo), about BLOCK at a time."""
    counts = last - first
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + BLOCK, "right")))
        here = counts[start:stop]
        a = np.repeat(np.arange(start, stop), here)
        within = np.arange(len(a)) - np.repeat(np.cumsum(here) - here, here)
        yield a, order[np.repeat(first[start:stop], here) + within]
        start = stop


def _correlation(greys: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation over pixels of the grey images at positions a and b, float [pairs]."""
    values = np.empty(len(a))
    for start in range(0, len(a), 4096):
        part = slice(start, start + 4096)
        left, right = (greys[which[part]].reshape(-1, SIDE * SIDE).astype(np.float32) for which in (a, b))
        left, right = (flat - flat.mean(1, keepdims=True) for flat in (left, right))
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        values[part] = (left * right).sum(1) / np.maximum(norms, 1e-9)
    return values
