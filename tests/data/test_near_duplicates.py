import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.data import near_duplicates
from stages.data.decode import decode


def small(path: Path) -> np.ndarray:
    return near_duplicates.grey(decode(path, near_duplicates.SIDE, near_duplicates.SIDE).pixels)


def distance(left: int, right: int) -> int:
    return (left ^ right).bit_count()


def copy_of(path: Path, folder: Path, quality: int, scale: float) -> Path:
    with Image.open(path) as image:
        size = (round(image.width * scale), round(image.height * scale))
        content = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(content, "JPEG", quality=quality)
    copied = folder / "copy.jpg"
    copied.write_bytes(content.getvalue())
    return copied


def pairs_by_brute_force(hashes: np.ndarray, owners: np.ndarray) -> set[tuple[int, int, int]]:
    found = set()
    for a in range(len(hashes)):
        for b in range(a + 1, len(hashes)):
            bits = distance(int(hashes[a]), int(hashes[b]))
            if bits <= near_duplicates.MAX_DISTANCE and owners[a] != owners[b]:
                found.add((a, b, bits))
    return found


@pytest.mark.parametrize(("quality", "scale"), [(60, 1.0), (95, 0.9), (95, 0.75), (60, 0.5)])
def test_the_hash_hardly_changes_under_recompression_and_resizing(
    prepared: Path, tmp_path: Path, quality: int, scale: float
) -> None:
    photos = sorted((prepared / "data/train/images").glob("*/normal.jpg"))
    assert len(photos) == 24
    originals = [near_duplicates.phash(small(photo)) for photo in photos]
    copies = [near_duplicates.phash(small(copy_of(photo, tmp_path, quality, scale))) for photo in photos]
    assert max(map(distance, originals, copies)) <= near_duplicates.MAX_DISTANCE
    assert (
        np.median([distance(a, b) for a in originals for b in originals if a != b]) > 2 * near_duplicates.MAX_DISTANCE
    )


def test_every_bit_says_whether_a_low_frequency_exceeds_the_median() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    # The DCT by its definition, orthonormal, as a matrix product.
    k, n = np.mgrid[:32, :32]
    basis = np.cos(np.pi * (2 * n + 1) * k / 64) * np.where(k == 0, np.sqrt(1 / 32), np.sqrt(2 / 32))
    low = (basis @ noise @ basis.T)[:8, :8].ravel()
    expected = np.packbits(low > np.median(low)).tobytes()
    assert near_duplicates.phash(noise).to_bytes(8, "little") == expected


def test_a_flat_photo_is_blank_and_a_face_is_not(prepared: Path) -> None:
    assert near_duplicates.is_blank(np.full((32, 32), 90, np.uint8))
    assert not near_duplicates.is_blank(small(next((prepared / "data/train/images").glob("*/normal.jpg"))))


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_the_search_finds_what_comparing_all_pairs_finds_and_each_pair_once(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    random = np.random.default_rng(1)
    centres = random.integers(0, 2**64, 12, dtype=np.uint64)
    flips = [sum(1 << int(bit) for bit in random.choice(64, count % 7, replace=False)) for count in range(120)]
    hashes = np.array([centres[number % 12] ^ np.uint64(flip) for number, flip in enumerate(flips)], np.uint64)
    owners = random.integers(0, 30, 120)
    found = [
        tuple(triple)
        for parts in near_duplicates.candidates(hashes, owners)
        for triple in np.column_stack(parts).tolist()
    ]
    expected = pairs_by_brute_force(hashes, owners)
    assert {bits for _, _, bits in expected} >= {0, 1, 6, 7}
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_alike_hashes_alone_make_no_pair() -> None:
    random = np.random.default_rng(2)
    greys = random.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    greys[2] = greys[0] // 2 + 40  # darker and flatter, the same picture
    hashes = np.zeros(3, np.uint64)
    pairs, complete = near_duplicates.duplicates(hashes, greys, np.arange(3), np.ones(3, bool))
    assert pairs[["a", "b", "distance"]].to_numpy().tolist() == [[0, 2, 0]]
    assert complete


def test_what_cannot_be_compared_is_passed_over_and_positions_stay() -> None:
    greys = np.repeat(np.random.default_rng(3).integers(0, 256, (1, 32, 32), dtype=np.uint8), 4, axis=0)
    comparable = np.array([False, True, False, True])
    pairs, _ = near_duplicates.duplicates(np.zeros(4, np.uint64), greys, np.arange(4), comparable)
    assert pairs[["a", "b"]].to_numpy().tolist() == [[1, 3]]


def test_a_picture_under_very_many_people_ends_the_search_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 10)
    greys = np.repeat(np.random.default_rng(4).integers(0, 256, (1, 32, 32), dtype=np.uint8), 20, axis=0)
    pairs, complete = near_duplicates.duplicates(np.zeros(20, np.uint64), greys, np.arange(20), np.ones(20, bool))
    assert len(pairs) == 10
    assert not complete
