"""What a pixel cache was made of, kept beside it: pixels of another crop, other photos or a damaged file are never read.

pixels.npy has pixels.json, which is the same wherever the same photos are prepared, and pixels.times.npz: sizes and times
of the files when their content was last looked at, so that it need not be looked at again while these stand still.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import PIL
from pydantic import BaseModel, ValidationError

from stages.base import block_hash, cores
from stages.base.errors import UserError
from stages.base.files import load_npz, read_json, replacing, write_json
from stages.data import decode
from stages.params.schema import Params

AGAIN = "run `maskcli prepare` again"


class MadeOf(BaseModel):
    """The record beside a pixel cache."""

    height: int
    width: int
    margin: int
    face: float
    decoder: str
    photos: str  # digest of the photos' contents, in order
    array: str  # digest of the cache file
    in_blocks: bool = False  # whether it is one of stages/base/block_hash.py; earlier ones are of the file in one piece


@dataclass(frozen=True)
class Files:
    """Photos by their names below a folder, and their `content_of` where that is known."""

    folder: Path
    names: Sequence[str]
    contents: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, position: int) -> Path:
        return self.folder / self.names[position]


@dataclass(frozen=True)
class Times:
    """Size, bytes, and time of the last change, ns, of a cache and of its photos [N, 2]; -1 where there is no file."""

    cache: tuple[int, int]
    photos: np.ndarray


def content_of(photo: bytes) -> str:
    """What tables call a photo's `content`: 16 hexadecimal digits of its file's BLAKE2b."""
    return hashlib.blake2b(photo, digest_size=8).hexdigest()


def digest_of(contents: Sequence[str]) -> str:
    """One digest of photos' contents in their order."""
    return hashlib.blake2b(" ".join(contents).encode(), digest_size=16).hexdigest()


@cache
def decoder() -> str:
    """What pixels depend on besides photo and params: the libraries, and the code between them."""
    source = Path(decode.__file__).read_bytes().replace(b"\r\n", b"\n")
    code = hashlib.blake2b(source, digest_size=4).hexdigest()
    return f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}, decode.py {code}"


def write(path: Path, params: Params, array: str, contents: Sequence[str], times: np.ndarray) -> None:
    """Write the record of the cache at `path`, which lies in its place already.

    array: BlockHash's digest of the file as it was written. times: int64 [N, 2] of the photos, from before each was read.
    """
    image = params.image
    made = MadeOf(
        height=image.height,
        width=image.width,
        margin=image.margin,
        face=image.face,
        decoder=decoder(),
        photos=digest_of(contents),
        array=array,
        in_blocks=True,
    )
    write_json(_record(path), made.model_dump())
    _write_times(path, Times(file_times(path), times))


def check(path: Path, files: Files, params: Params) -> None:
    """Raise UserError, which says what differs, unless the cache at `path` was made of `files` as they are now by `params`.

    The cache is hashed if its size or time has changed since its content was last looked at, and so is every such photo. A
    photo that is not there has not been replaced.
    """
    _check_params(path, _read(path), params)
    known = check_listed(path, files)
    now = Times(file_times(path), _times_of(files))
    there = now.photos[:, 0] >= 0
    touched = there & (now.photos != known.photos).any(1) if len(known.photos) == len(files) else there
    if touched.any():
        _check_photos(files, np.flatnonzero(touched).tolist())
    if touched.any() or now.cache != known.cache:
        with suppress(UserError):  # on a read-only disk
            _write_times(path, now)


def check_listed(path: Path, files: Files) -> Times:
    """Raise UserError unless the cache at `path` is whole and of `files` as the tables list them; return what was known."""
    made = _read(path)
    if digest_of(files.contents) != made.photos:
        raise UserError(f"{path}: was made of other photos than the tables beside it list; {AGAIN}")
    known = _read_times(path)
    if known.cache != file_times(path):
        checked_digest(path)
    return known


def checked_digest(path: Path) -> str:
    """The digest of the whole cache file, which is read for it. Raises UserError if it is not what prepare wrote."""
    made = _read(path)
    if made.in_blocks:
        found = block_hash.of_file(path)
    else:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    if found != made.array:
        raise UserError(f"{path}: is not what prepare wrote (damaged, or another run's); {AGAIN}")
    return found


def file_times(path: Path) -> tuple[int, int]:
    """Size, bytes, and time of the last change, ns; -1 where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> MadeOf:
    try:
        return MadeOf.model_validate(read_json(_record(path), "prepare"))
    except ValidationError:
        raise UserError(f"{_record(path)}: is not what this version of prepare writes; {AGAIN}") from None


def _check_params(path: Path, made: MadeOf, params: Params) -> None:
    wanted = params.image.model_dump(include={"height", "width", "margin", "face"})
    differing = {name: (getattr(made, name), value) for name, value in wanted.items() if getattr(made, name) != value}
    if differing:
        old = ", ".join(f"image.{name}: {value}" for name, (value, _) in differing.items())
        new = ", ".join(f"{value}" for _, value in differing.values())
        raise UserError(f"{path}: was made with {old}, and {new} is asked for; {AGAIN}")
    if made.decoder != decoder():
        raise UserError(f"{path}: was made by {made.decoder}, here is {decoder()}; {AGAIN}")


def _check_photos(files: Files, which: list[int]) -> None:
    """Raise UserError for the first photo at `which` whose content is not the one listed."""
    with ThreadPoolExecutor(cores.usable()) as pool:
        for one, content in zip(which, pool.map(lambda one: _content_on_disk(files[one]), which), strict=True):
            if content not in ("", files.contents[one]):
                raise UserError(f"{files[one]}: is not the photo that prepare read; {AGAIN}")


def _content_on_disk(path: Path) -> str:
    try:
        return content_of(path.read_bytes())
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check that it is readable") from None


def _record(path: Path) -> Path:
    return path.with_suffix(".json")


def _times(path: Path) -> Path:
    return path.with_suffix(".times.npz")


def _times_of(files: Files) -> np.ndarray:
    return np.array([file_times(files[place]) for place in range(len(files))], np.int64).reshape(-1, 2)


def _write_times(path: Path, times: Times) -> None:
    made = _read(path)
    with replacing(_times(path)) as temporary:
        np.savez(temporary, key=np.array([made.array, made.photos]), cache=np.array(times.cache), photos=times.photos)


def _read_times(path: Path) -> Times:
    """Nothing where there is no such file, or it belongs to another cache."""
    made = _read(path)
    with suppress(ValueError):
        found = load_npz(_times(path), ("key", "cache", "photos"))
        if found["key"].tolist() == [made.array, made.photos]:
            size, changed = found["cache"].tolist()
            return Times((size, changed), found["photos"])
    return Times((-1, -1), np.empty((0, 2), np.int64))
