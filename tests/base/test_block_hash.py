from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base import block_hash
from stages.base.block_hash import BlockHash


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_hash, "BLOCK", 5)


def as_described(content: bytes) -> str:
    blocks = [content[start : start + 5] for start in range(0, len(content), 5)]
    return blake2b(b"".join(blake2b(block, digest_size=16).digest() for block in blocks), digest_size=16).hexdigest()


@given(parts=st.lists(st.binary(max_size=12), max_size=6))
def test_the_digest_does_not_depend_on_the_pieces_that_content_comes_in(parts: list[bytes]) -> None:
    found = BlockHash()
    for part in parts:
        found.update(part)
    assert found.hexdigest() == found.hexdigest() == as_described(b"".join(parts))


@pytest.mark.parametrize("size", [0, 4, 5, 6, 10, 23])
def test_of_a_file_it_is_the_same_and_any_bit_counts(tmp_path: Path, size: int) -> None:
    content = bytearray(range(size))
    path = tmp_path / "file"
    path.write_bytes(content)
    assert block_hash.of_file(path) == as_described(bytes(content))
    for place in range(size):
        content[place] ^= 1
        path.write_bytes(content)
        assert block_hash.of_file(path) != as_described(bytes(range(size)))
        content[place] ^= 1


def test_an_array_of_any_shape_is_its_bytes() -> None:
    found, photos = BlockHash(), np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    found.update(photos.data)
    assert found.hexdigest() == as_described(photos.tobytes())
