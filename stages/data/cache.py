"""The pixel cache: every photo decoded once, as one memory-mapped uint8 array [photos, height, width, 3].

Where the caches would take more than data.cache_gb, a cache file holds the CRC-32 of each photo's pixels instead, and
photos are decoded whenever they are read: the same pixels, checked against it, for the time of decoding.
"""

import math
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, TypeVar

import numpy as np

from stages import cores, paths
from stages.data import layout
from stages.data.decode import BadPhoto, decode
from stages.errors import UserError
from stages.files import read_csv, read_npy, reserve
from stages.params import Params
from stages.talk import Talk

SLICE = 16  # photos that a thread decodes at a time
CHECK = np.dtype(np.uint32)  # of a CRC-32

Item = TypeVar("Item")
Made = TypeVar("Made")
Fault = tuple[int, BadPhoto]  # position of a photo, and why it cannot be read


class Pixels(Protocol):
    """What is read of a pixel cache: the photos at some positions, uint8 [n, H, W, 3]."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Files:
    """Photos by their names below a folder."""

    folder: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, position: int) -> Path:
        return self.folder / self.names[position]


@dataclass(frozen=True)
class OnTheFly:
    """Photos decoded by threads whenever they are read; the pixels are those of the cache, bit by bit.

    Raises UserError where a photo no longer gives the pixels that prepare saw.
    """

    files: Files
    checks: np.ndarray  # uint32 [N]
    params: Params
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(cores.usable()))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray:
        found = np.empty((len(which), *self.params.cache_size, 3), np.uint8)
        parts = [slice(start, start + SLICE) for start in range(0, len(which), SLICE)]
        if len(parts) <= cores.usable():  # a small batch: no thread shall stand idle
            parts = [slice(place, place + 1) for place in range(len(which))]

        def work(part: slice) -> None:
            found[part], _ = _decoded(self.files, which[part], self.params)
            for position, pixels in zip(which[part], found[part], strict=True):
                if zlib.crc32(pixels) != self.checks[position]:
                    raise _changed(self.files[position])

        for _ in self.pool.map(work, parts):
            pass
        return found


def space(photos: int, params: Params) -> int:
    """Size of a cache of so many photos, bytes."""
    height, width = params.cache_size
    return photos * height * width * 3


def fits(photos: int, params: Params) -> bool:
    """Whether caches of so many photos in all may be written (data.cache_gb)."""
    return space(photos, params) <= params.data.cache_gb * 1e9


def build(path: Path, files: Files, params: Params, talk: Talk, title: str, keep: bool = True) -> list[Fault]:
    """Decode `files` in order into a new cache at `path`; return those that cannot be read, which are black there.

    keep: write the pixels; else a CRC-32 of each photo's, uint32 [N]. Memory holds a few slices of photos, however many
    there are. An error leaves half a file: give a path of stages.files.replacing.
    """
    faults: list[Fault] = []
    height, width = params.cache_size

    def work(start: int) -> tuple[np.ndarray, list[Fault]]:
        pixels, bad = _decoded(files, np.arange(start, min(start + SLICE, len(files))), params)
        return pixels if keep else np.array([zlib.crc32(photo) for photo in pixels], CHECK), bad

    ticks = talk.track(range(len(files)), len(files), title)
    with path.open("wb") as file:
        if keep:
            _begin(file, np.dtype(np.uint8), (len(files), height, width, 3))
        else:
            _begin(file, CHECK, (len(files),))
        for made, bad in _in_threads(work, range(0, len(files), SLICE)):
            file.write(made.data)
            faults += bad
            for _ in made:
                next(ticks)
        next(ticks, None)
    return faults


def open_cache(path: Path, photos: int, params: Params, files: Files | None = None) -> Pixels:
    """Open a cache for reading, and check that it fits the tables and the params: an array, or photos read on the fly.

    An array's header and size are checked; a changed pixel is not seen here, but by DVC, which keeps the file's MD5.
    files: the photos of a cache that is none of prepare's two.
    """
    found = read_npy(path, "prepare")
    expected = (photos, *params.cache_size, 3)
    if found.dtype == CHECK and found.shape == (photos,):
        opened = OnTheFly(files or _files_of(path), np.array(found), params)
        if photos:
            opened[np.arange(1)]  # of another size or crop, say
        return opened
    if found.shape != expected or found.dtype != np.uint8:
        raise UserError(
            f"{path}: holds {found.dtype} {found.shape}, params.yaml and the tables ask for uint8 {expected}; "
            "run `maskcli prepare` (or `dvc repro`) again"
        )
    return found


def bytes_a_photo(pixels: Pixels) -> int:
    """What a photo of an opened cache takes on the disk."""
    return CHECK.itemsize if isinstance(pixels, OnTheFly) else int(np.prod(pixels[np.arange(1)].shape))


def _files_of(path: Path) -> Files:
    """The photos of prepare's caches, in the order of its tables."""
    if path == paths.PIXELS:
        return Files(paths.TRAIN_IMAGES, read_csv(paths.PHOTOS, "prepare", {"file": str})["file"].tolist())
    ids = read_csv(paths.EVAL, "prepare", {"ImageID": str})["ImageID"].tolist()
    return Files(paths.EVAL_IMAGES, layout.eval_names(ids, paths.EVAL_IMAGES))


def _decoded(files: Files, which: np.ndarray, params: Params) -> tuple[np.ndarray, list[Fault]]:
    """Pixels uint8 [n, H, W, 3] of the photos at `which`, black where a photo cannot be read, and why it cannot."""
    height, width = params.cache_size
    pixels = np.zeros((len(which), height, width, 3), np.uint8)
    faults = []
    for place, position in enumerate(which.tolist()):
        try:
            photo = decode(files[position], height, width, params.image.face, params.data.max_pixels)
        except BadPhoto as fault:
            faults.append((position, fault))
        else:
            pixels[place] = photo.pixels
    return pixels, faults


def _in_threads(work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """map(work, items) by threads, in order; no more is begun than keeps them busy while the results are taken."""
    workers = cores.usable()
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _begin(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """The header of a .npy, and its space on the disk set aside."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    reserve(file, file.tell() + dtype.itemsize * math.prod(shape))


def _changed(file: Path) -> UserError:
    return UserError(
        f"{file}: gives other pixels than when prepare read it (the photo, or image in params.yaml, has changed); "
        "run `maskcli prepare` (or `dvc repro`) again"
    )
