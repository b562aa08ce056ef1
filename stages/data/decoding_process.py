"""A process that decodes photos for one that trains beside a GPU.

There the thread that trains needs Python's lock for each of the GPU's many small pieces of work, and threads that decode take
it from that one some ten times a photo. A process of its own takes it twice for several photos, which come back in memory that
both see. It imports no torch, and ends with the process that began it.
"""

import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from stages.base import programs
from stages.base.errors import UserError
from stages.data.decode import decode_checked

AT_ONCE = 8  # photos that a process decodes between two messages
SHARED = Path(
    "/dev/shm"
)  # files here are memory alone (Linux); where it has no room, a file in the folder of temporaries
ENVIRONMENT = {
    # Photos are decoded side by side by several such processes.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc's: else a photo's memory goes back to the system, and is asked for again, filled with zeros, for the next one.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
}
# Decodes the files named into an array; gives the places of those whose pixels lack their CRC-32.
Decode = Callable[[Sequence[Path], Sequence[int], np.ndarray], list[int]]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Size:
    """Of the photos wanted, and what `decode_content` asks for."""

    height: int  # px
    width: int  # px
    face: float
    max_pixels: int


@dataclass(frozen=True, eq=False)
class Decoder:
    """The process, and what it decodes into: uint8 [AT_ONCE, height, width, 3]."""

    process: "subprocess.Popen[bytes]"
    photos: np.ndarray

    def __call__(self, files: Sequence[Path], checks: Sequence[int], out: np.ndarray) -> list[int]:
        """Decode at most AT_ONCE photos into `out`; the places of those whose pixels lack the CRC-32 in `checks`.

        Raises UserError where the process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            _send(self.process.stdin, ([os.fspath(file) for file in files], list(checks)))
            changed: list[int] = pickle.load(self.process.stdout)
        except (OSError, EOFError):
            self.process.kill()
            raise UserError(
                f"a process that decodes photos has ended (code {self.process.wait()}: killed, or out of memory); run again"
            ) from None
        out[...] = self.photos[: len(files)]
        return changed


def start(size: Size) -> Decoder:
    """Raises OSError where the system gives no process, or no memory that two may share."""
    shape = (AT_ONCE, size.height, size.width, 3)
    memory, name, inherited = _shared(int(np.prod(shape)))
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        process = subprocess.Popen(
            [*programs.PYTHON, "-m", "stages.data.decoding_process", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=inherited,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    finally:
        for descriptor in inherited:
            os.close(descriptor)
    decoder = Decoder(process, np.frombuffer(memory, np.uint8).reshape(shape))
    weakref.finalize(decoder, _end, process)
    assert process.stdin is not None
    _send(process.stdin, astuple(size))
    return decoder


def decode_all(size: Size, files: Sequence[Path], checks: Sequence[int], out: np.ndarray) -> list[int]:
    """What a Decoder does, without a process."""
    rows = zip(files, checks, out, strict=False)
    decoded = [decode_checked(file, check, row, size.face, size.max_pixels) for file, check, row in rows]
    return [place for place, same in enumerate(decoded) if not same]


def serve(name: str, asked: IO[bytes], told: IO[bytes]) -> None:
    """What the process does: a Size, then lists of files and check sums, until there are no more."""
    size = Size(*pickle.load(asked))
    shape = (AT_ONCE, size.height, size.width, 3)
    photos = np.frombuffer(_opened(name, int(np.prod(shape))), np.uint8).reshape(shape)
    while True:
        try:
            files, checks = pickle.load(asked)
        except EOFError:
            return
        _send(told, decode_all(size, [Path(file) for file in files], checks, photos))


def _send(to: IO[bytes], message: object) -> None:
    pickle.dump(message, to)
    to.flush()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what had not been sent yet
                continue


def _shared(size: int) -> tuple[mmap.mmap, str, tuple[int, ...]]:
    """Memory of `size` bytes that a child may open too, by the name, and descriptors that it inherits. Raises OSError."""
    if sys.platform == "win32":
        name = f"maskcli-{os.getpid()}-{os.urandom(8).hex()}"
        return mmap.mmap(-1, size, name), name, ()
    try:
        descriptor = _room(SHARED, size)
    except OSError:
        descriptor = _room(Path(tempfile.gettempdir()), size)
    return mmap.mmap(descriptor, size), str(descriptor), (descriptor,)


def _room(folder: Path, size: int) -> int:
    """A file without a name, whose space is set aside: a memory map of holes would kill who writes when they cannot be filled."""
    from stages.base.large_arrays import reserve  # it imports pandas, which the process does without

    with tempfile.TemporaryFile(dir=folder) as file:
        reserve(file, size)
        return os.dup(file.fileno())


def _opened(name: str, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size, name)
    return mmap.mmap(int(name), size)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks, whose end closes the pipe
    serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
