from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.base import block_hash, paths
from stages.data import pixel_cache_record
from stages.report.html import thumbnails
from tests.conftest import small


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one wide photo, one that is turned by EXIF, one that is no photo, and a cache of four black ones."""
    monkeypatch.chdir(tmp_path)
    for path in (paths.TRAIN_IMAGES / "p", paths.PIXELS.parent):
        path.mkdir(parents=True)
    wide = Image.new("RGB", (400, 200), (200, 30, 30))
    wide.save(paths.TRAIN_IMAGES / "p/wide.jpg")
    turned = wide.getexif()
    turned[0x0112] = 6
    wide.save(paths.TRAIN_IMAGES / "p/turned.jpg", exif=turned)
    (paths.TRAIN_IMAGES / "p/text.jpg").write_text("not a photo")
    files = ["p/wide.jpg", "p/turned.jpg", "p/text.jpg", "p/gone.jpg"]
    pd.DataFrame({"file": files, "content": "0"}).to_csv(paths.PHOTOS, index=False)
    cache_of(4)
    return tmp_path


def cache_of(count: int) -> None:
    """A cache of black photos as if prepare had written it."""
    np.save(paths.PIXELS, np.zeros((count, 300, 200, 3), np.uint8))
    pixel_cache_record.write(
        paths.PIXELS, small(), block_hash.of_file(paths.PIXELS), ["0"] * count, np.empty((count, 2), np.int64)
    )


def test_a_photo_is_shown_whole_and_upright_in_its_own_shape(photos: Path) -> None:
    found = thumbnails.pictures({"p/wide.jpg", "p/turned.jpg"}, paths.TRAIN_IMAGES)
    assert found["p/wide.jpg"].shape == (72, 144, 3)
    assert found["p/turned.jpg"].shape == (144, 72, 3)
    assert np.abs(found["p/wide.jpg"].mean((0, 1)) - [200, 30, 30]).max() < 5


def test_a_photo_that_is_gone_or_unreadable_comes_from_the_pixel_cache_and_else_is_left_out(photos: Path) -> None:
    names = {"p/gone.jpg", "p/text.jpg", "p/never\0.jpg", "p/other.jpg"}
    found = thumbnails.pictures(names, paths.TRAIN_IMAGES)
    assert set(found) == {"p/gone.jpg", "p/text.jpg"}
    assert found["p/gone.jpg"].shape == (144, 96, 3)
    assert not found["p/gone.jpg"].any()
    cache_of(3)  # not the cache of this table
    assert thumbnails.pictures(names, paths.TRAIN_IMAGES) == {}
    paths.PIXELS.write_bytes(b"damaged")
    assert thumbnails.pictures(names, paths.TRAIN_IMAGES) == {}


def test_a_photo_of_16_bits_is_shown_in_its_own_greys_also_where_there_is_no_cache(photos: Path) -> None:
    paths.PIXELS.unlink()
    Image.fromarray(np.full((200, 400), 128 * 257, np.uint16)).save(paths.TRAIN_IMAGES / "p/deep.png")
    (found,) = thumbnails.pictures({"p/deep.png"}, paths.TRAIN_IMAGES).values()
    assert found.shape == (72, 144, 3)
    assert (found == 128).all()
