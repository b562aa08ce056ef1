"""A digest of a large file that all cores work on: the BLAKE2b of its blocks' BLAKE2b's, a hash tree of two levels.

Source: RFC 7693; "BLAKE2: simpler, smaller, fast as MD5" (Aumasson et al. 2013), section 2.10, trees.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.base import cores

BLOCK = 1 << 22  # bytes
SIZE = 16  # bytes of a digest


class BlockHash:
    """Of what is written from beginning to end."""

    def __init__(self) -> None:
        self._blocks = hashlib.blake2b(digest_size=SIZE)
        self._block = hashlib.blake2b(digest_size=SIZE)
        self._room = BLOCK

    def update(self, content: bytes | memoryview) -> None:
        """content: contiguous."""
        left = memoryview(content).cast("B")
        while left.nbytes:
            part, left = left[: self._room], left[self._room :]
            self._block.update(part)
            self._room -= part.nbytes
            if not self._room:
                self._close()

    def hexdigest(self) -> str:
        whole = self._blocks.copy()
        if self._room < BLOCK:
            whole.update(self._block.digest())
        return whole.hexdigest()

    def _close(self) -> None:
        self._blocks.update(self._block.digest())
        self._block, self._room = hashlib.blake2b(digest_size=SIZE), BLOCK


def of_file(path: Path) -> str:
    """As BlockHash has it once the file's content went through it."""

    def digest(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.blake2b(file.read(BLOCK), digest_size=SIZE).digest()

    whole = hashlib.blake2b(digest_size=SIZE)
    with ThreadPoolExecutor(cores.usable()) as pool:
        for one in pool.map(digest, range(0, path.stat().st_size, BLOCK)):
            whole.update(one)
    return whole.hexdigest()
