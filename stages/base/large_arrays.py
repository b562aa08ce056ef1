"""Arrays that grow with photos x classes: from LARGE on they lie in a file without a name, mapped into memory, whose pages the
system takes back when it needs them; what is worked out from them goes block by block.

Results do not depend on it: all that is done by blocks is row by row.
"""

import mmap
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from stages.base.errors import UserError

LARGE = 2**28  # bytes
BLOCK = 2**18  # numbers that are worked on at a time: 2 MB in double precision, which stay in a core's cache
PIECE = 2**24  # bytes read at a time
FOLDER = Path("out")  # on the disk that has room for a project's files, where there is one


def room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros; a large one in a file that goes with it. Raises UserError where the disk has no room."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.zeros(shape, dtype)
    folder = FOLDER if FOLDER.is_dir() else Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            reserve(file, size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise UserError(
            f"{folder}: has no room for {size / 1e9:.1f} GB of numbers that are worked on ({error.strerror or error}); free disk "
            "space, then rerun"
        ) from error
    return np.frombuffer(mapped, dtype).reshape(shape)


def reserve(file: IO[bytes], size: int) -> None:
    """Set aside space on the disk for the first `size` bytes of an open file; those not yet written are zero.

    A memory map of a file with holes kills the process (SIGBUS) when the disk fills up; this raises OSError instead.
    """
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:  # macOS
        file.truncate(size)


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows of so many numbers each, in order; one, perhaps empty, where they are few."""
    step = max(1, BLOCK // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, max(1, rows), step))


def by_rows(of: Callable[[slice], np.ndarray], rows: int, width: int) -> np.ndarray:
    """`of` all blocks, one after the other, [N]."""
    return np.concatenate([of(which) for which in blocks(rows, width)])


def taken(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """array[rows], [n, C]."""
    found = room((len(rows), array.shape[1]), array.dtype)
    for which in blocks(*found.shape):
        found[which] = array[rows[which]]
    return found


def text(values: pd.Series) -> np.ndarray:
    """A column of text as numpy has it, all of one length, [N]."""
    longest = int(values.str.len().max()) if len(values) else 0
    if len(values) * longest * 4 < LARGE:
        return values.to_numpy(str)
    found = room((len(values),), f"<U{longest}")
    for which in blocks(len(values), longest):
        found[which] = values.iloc[which].to_numpy(str)
    return found


def is_large(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether an array of an .npz is."""
    return archive.getinfo(f"{name}.npy").file_size >= LARGE


def unpacked(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an .npz, read piece by piece. Raises ValueError where it is damaged."""
    with archive.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, dtype = read(member)
        if by_column or dtype.hasobject:
            raise ValueError(f"{name} is of another order or of objects")
        found = room(shape, dtype)
        rest = found.reshape(-1).view(np.uint8)
        while len(rest):
            piece = np.frombuffer(member.read(min(PIECE, len(rest))), np.uint8)
            if not len(piece):
                raise ValueError(f"{name} is cut off")
            rest[: len(piece)], rest = piece, rest[len(piece) :]
        if member.read(1):  # also what has the checksum looked at
            raise ValueError(f"{name} is too long")
    return found
