"""The pixel cache: every photo decoded once, as one memory-mapped uint8 array [photos, height, width, 3].

Where the caches would take more than data.cache_gb, a cache file holds the CRC-32 of each photo's pixels instead, and
photos are decoded whenever they are read: the same pixels, checked against it, for the time of decoding.
"""

import io
import math
import sys
import threading
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Protocol, TypeVar

import numpy as np

from stages.base import cores, gpu, paths
from stages.base.block_hash import BlockHash
from stages.base.errors import UserError
from stages.base.files import read_csv, read_npy
from stages.base.large_arrays import reserve
from stages.base.talk import Talk
from stages.data import decoding_process, photos, pixel_cache_record
from stages.data.decode import BadPhoto, decode_content, read
from stages.data.decoding_process import Decode, Size, decode_all
from stages.data.pixel_cache_record import Files
from stages.params.schema import Params

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
class Built:
    """What has been seen of N photos while their cache was written, in their order."""

    contents: list[str] = field(default_factory=list)  # made_of.content_of each; empty where there is no file
    times: array = field(default_factory=lambda: array("q"))  # made_of.file_times of each, from before it was read
    faults: list[Fault] = field(default_factory=list)  # those that cannot be read, which are black there
    unended: list[int] = field(default_factory=list)  # positions of those that lack their end marker alone
    hashed: BlockHash = field(default_factory=BlockHash)  # of the cache file

    def take(self, other: "Built") -> None:
        """Add what has been seen of the photos that follow."""
        self.contents.extend(other.contents)
        self.times.extend(other.times)
        self.faults.extend(other.faults)
        self.unended.extend(other.unended)


@dataclass(frozen=True)
class OnTheFly:
    """Photos decoded by threads whenever they are read; the pixels are those of the cache, bit by bit.

    Beside a GPU each thread has a process that decodes (stages/data/decoding_process.py). Raises UserError where a photo no
    longer gives the pixels that prepare saw.
    """

    files: Files
    checks: np.ndarray  # uint32 [N]
    params: Params
    apart: bool = field(default_factory=lambda: _trains_on_a_gpu())
    threads: int = field(default_factory=cores.usable)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(cores.usable()))
    own: threading.local = field(default_factory=threading.local, init=False)  # a thread's process; of no changed copy

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray:
        found = np.empty((len(which), *self.params.cache_size, 3), np.uint8)
        at_once = min(decoding_process.AT_ONCE, -(-len(which) // self.threads)) if self.apart else 1
        starts = iter(
            range(0, len(which), max(1, at_once))
        )  # each thread takes the next: none idles while others have many

        def work(_: int) -> list[int]:
            decode, changed = self._decoder(), list[int]()
            for start in starts:
                positions = which[start : start + at_once].tolist()
                files, checks = [self.files[one] for one in positions], self.checks[positions].tolist()
                changed.extend(start + one for one in decode(files, checks, found[start : start + at_once]))
            return changed

        changed = [place for some in self.pool.map(work, range(min(self.threads, len(which)))) for place in some]
        if changed:
            raise _changed(self.files[int(which[min(changed)])])
        return found

    def _decoder(self) -> Decode:
        """This thread's own."""
        if not hasattr(self.own, "decoder"):
            size = Size(*self.params.cache_size, self.params.image.face, self.params.data.max_pixels)
            self.own.decoder = partial(decode_all, size)
            if self.apart:
                with suppress(OSError):  # no process or shared memory is to be had: the thread decodes
                    self.own.decoder = decoding_process.start(size)
        decoder: Decode = self.own.decoder
        return decoder


def space(photos: int, params: Params) -> int:
    """Size of a cache of so many photos, bytes."""
    height, width = params.cache_size
    return photos * height * width * 3


def fits(photos: int, params: Params) -> bool:
    """Whether caches of so many photos in all may be written (data.cache_gb)."""
    return space(photos, params) <= params.data.cache_gb * 1e9


def build(path: Path, files: Files, params: Params, talk: Talk, title: str, keep: bool = True) -> Built:
    """Decode `files` in order into a new cache at `path`.

    keep: write the pixels; else a CRC-32 of each photo's, uint32 [N]. Pixels of a few slices of photos are held, however
    many there are. An error leaves half a file: give a path of stages.base.files.replacing. The cache can be opened once
    `record` has been called, with the cache in its place.
    """
    built = Built()
    height, width = params.cache_size

    def work(start: int) -> tuple[np.ndarray, Built]:
        seen = Built()
        pixels = _decoded(files, np.arange(start, min(start + SLICE, len(files))), params, seen)
        return pixels if keep else np.array([zlib.crc32(photo) for photo in pixels], CHECK), seen

    ticks = talk.track(range(len(files)), len(files), title)
    shape, dtype = ((len(files), height, width, 3), np.dtype(np.uint8)) if keep else ((len(files),), CHECK)
    with path.open("wb") as file:
        built.hashed.update(_begin(file, dtype, shape))
        for made, seen in _in_threads(work, range(0, len(files), SLICE)):
            file.write(made.data)
            built.hashed.update(made.data)
            built.take(seen)
            for _ in made:
                next(ticks)
        next(ticks, None)
    return built


def record(path: Path, built: Built, params: Params) -> None:
    """Write beside the cache at `path` what it was made of."""
    times = np.array(built.times, np.int64).reshape(-1, 2)
    pixel_cache_record.write(path, params, built.hashed.hexdigest(), built.contents, times)


def open_cache(path: Path, photos: int, params: Params, files: Files | None = None) -> Pixels:
    """Open a cache for reading: an array, or photos read on the fly.

    Raises UserError unless it was made with these image params, by this decoder, of the photos as the tables list them and
    as they are now (stages/data/pixel_cache_record.py). files: the photos of a cache that is none of prepare's two.
    """
    found = read_npy(path, "prepare")
    expected = (photos, *params.cache_size, 3)
    on_the_fly = found.dtype == CHECK and found.shape == (photos,)
    if not on_the_fly and (found.shape != expected or found.dtype != np.uint8):
        raise UserError(
            f"{path}: holds {found.dtype} {found.shape}, params.yaml and the tables ask for uint8 {expected}; "
            "run `maskcli prepare` (or `dvc repro`) again"
        )
    files = files or _files_of(path, params)
    pixel_cache_record.check(path, files, params)
    return OnTheFly(files, np.array(found), params) if on_the_fly else found


def just_built(path: Path, files: Files, params: Params) -> Pixels:
    """A cache that `build` has written at `path` a moment ago and that `record` has not seen yet."""
    found = np.load(path, mmap_mode="r")
    return OnTheFly(files, np.array(found), params) if found.dtype == CHECK else found


def bytes_a_photo(pixels: Pixels) -> int:
    """What a photo of an opened cache takes on the disk."""
    return CHECK.itemsize if isinstance(pixels, OnTheFly) else int(np.prod(pixels[np.arange(1)].shape))


def _trains_on_a_gpu() -> bool:
    """Whether this process does, or predicts there: one that has not imported torch does neither."""
    return "torch" in sys.modules and gpu.usable()


def _files_of(path: Path, params: Params) -> Files:
    """The photos of prepare's caches, in the order of its tables."""
    if path == paths.PIXELS:
        table = read_csv(paths.PHOTOS, "prepare", {"file": str, "content": str})
        return replace(photos.files(params, table["file"].tolist()), contents=table["content"].tolist())
    table = photos.read_eval()
    return replace(photos.eval_files(params, table["ImageID"].tolist()), contents=table["content"].tolist())


def _decoded(files: Files, which: np.ndarray, params: Params, seen: Built | None = None) -> np.ndarray:
    """Pixels uint8 [n, H, W, 3] of the photos at `which`, black where a photo cannot be read; `seen` takes the rest."""
    height, width = params.cache_size
    pixels = np.zeros((len(which), height, width, 3), np.uint8)
    for place, position in enumerate(which.tolist()):
        file, content = files[position], b""
        times = pixel_cache_record.file_times(file) if seen is not None else (-1, -1)
        try:
            content = read(file)
            photo = decode_content(content, height, width, params.image.face, params.data.max_pixels)
        except BadPhoto as fault:
            if seen is not None:
                seen.faults.append((position, fault))
        else:
            pixels[place] = photo.pixels
            if seen is not None and photo.unended:
                seen.unended.append(position)
        if seen is not None:
            seen.contents.append(pixel_cache_record.content_of(content) if times[0] >= 0 else "")
            seen.times.extend(times)
    return pixels


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


def _begin(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Write the header of a .npy, set its space on the disk aside, and return the header."""
    header = io.BytesIO()
    values = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, values)
    file.write(header.getvalue())
    reserve(file, file.tell() + dtype.itemsize * math.prod(shape))
    return header.getvalue()


def _changed(file: Path) -> UserError:
    return UserError(
        f"{file}: gives other pixels than when prepare read it (the photo, or image in params.yaml, has changed); "
        "run `maskcli prepare` (or `dvc repro`) again"
    )
