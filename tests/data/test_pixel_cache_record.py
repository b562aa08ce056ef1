"""A pixel cache is read only where it holds the photos of the tables, as they are now, at the size and crop asked for."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import prepare
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data import photos, pixel_cache, pixel_cache_record
from stages.data.task_and_classes import CONTEST
from stages.params.schema import Params
from tests.conftest import small

PHOTOS, EVAL_PHOTOS = 168, 42
AGAIN = "run `maskcli prepare` again"
MODES = {"cached": {}, "on the fly": {"data": {"cache_gb": 0}}}


@pytest.fixture(params=MODES)
def params(request: pytest.FixtureRequest, project: Path) -> Params:
    """Those that the project's caches were made with: of pixels, or of photos' check sums only."""
    chosen = small(**MODES[request.param])
    if request.param != "cached":
        prepare.run(chosen, SILENT)
    return chosen


def opened(params: Params) -> tuple[pixel_cache.Pixels, pixel_cache.Pixels]:
    both = ((paths.PIXELS, PHOTOS), (paths.EVAL_PIXELS, EVAL_PHOTOS))
    first, second = (pixel_cache.open_cache(path, photos, params) for path, photos in both)
    return first, second


def first_photo() -> Path:
    return paths.TRAIN_IMAGES / photos.read(CONTEST)["file"][0]


def test_the_tables_end_with_each_photos_content(project: Path) -> None:
    for table, folder, name in ((paths.PHOTOS, paths.TRAIN_IMAGES, "file"), (paths.EVAL, paths.EVAL_IMAGES, "ImageID")):
        rows = pd.read_csv(table, dtype=str)
        assert rows.columns[-1] == "content"
        assert rows["content"].tolist() == [
            pixel_cache_record.content_of((folder / file).read_bytes()) for file in rows[name]
        ]
        assert rows["content"].str.fullmatch("[0-9a-f]{16}").all()


@pytest.mark.parametrize("change", [{"face": 0.5}, {"face": 0.5, "margin": 3, "height": 34, "width": 34}])
def test_other_image_params_of_the_same_shape_are_refused_and_both_values_told(
    params: Params, change: dict[str, float]
) -> None:
    other = params.model_copy(update={"image": params.image.model_copy(update=change)})
    assert other.cache_size == params.cache_size or change["margin"] == 3
    with pytest.raises(UserError, match=r"pixels.npy: .*; run `maskcli prepare`"):
        opened(other)


def test_the_crop_that_differs_is_named(project: Path) -> None:
    message = f"out/prepare/pixels.npy: was made with image.face: 1.0, and 0.5 is asked for; {AGAIN}"
    with pytest.raises(UserError, match=re.escape(message)):
        opened(small(image={"face": 0.5}))


def test_a_margin_and_a_height_that_add_up_to_the_same_size_are_refused(project: Path) -> None:
    other = small(image={"height": 34, "width": 34, "margin": 1})
    assert other.cache_size == small().cache_size
    with pytest.raises(UserError, match=r"was made with image.height: 32, image.width: 32, image.margin: 2, and 34"):
        opened(other)


def test_another_decoder_is_refused(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_cache_record, "decoder", lambda: "OpenCV 9")
    with pytest.raises(UserError, match=rf"was made by OpenCV .*, here is OpenCV 9; {AGAIN}"):
        opened(params)


def test_a_cache_of_other_photos_than_the_tables_list_is_refused(params: Params) -> None:
    table = pd.read_csv(paths.PHOTOS, dtype=str)
    table.iloc[::-1].to_csv(paths.PHOTOS, index=False)
    with pytest.raises(
        UserError, match=rf"pixels.npy: was made of other photos than the tables beside it list; {AGAIN}"
    ):
        opened(params)


def replaced(times_kept: bool = False) -> None:
    photo = first_photo()
    before = photo.stat()
    shutil.copyfile(photo.with_name("mask3.jpg"), photo)
    if times_kept:
        os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_photo_replaced_in_place_is_named(params: Params) -> None:
    opened(params)
    replaced()
    message = f"{first_photo()}: is not the photo that prepare read; {AGAIN}"
    for _ in range(2):
        with pytest.raises(UserError, match=re.escape(message)):
            opened(params)
    prepare.run(params, SILENT)
    opened(params)


def test_a_photo_of_another_size_is_seen_though_its_time_stands_still(params: Params) -> None:
    replaced(times_kept=True)
    with pytest.raises(UserError, match="is not the photo that prepare read"):
        opened(params)


def test_the_same_photos_with_new_times_are_no_fault_and_read_once_only(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `dvc checkout` leaves them, which links or copies them anew."""
    expected = opened(params)[0][np.arange(PHOTOS)]
    for path in [*paths.TRAIN_IMAGES.rglob("*.jpg"), paths.PIXELS]:
        os.utime(path, ns=(1, 1))
    assert (opened(params)[0][np.arange(PHOTOS)] == expected).all()
    monkeypatch.setattr(pixel_cache_record, "_content_on_disk", lambda path: pytest.fail("was read again"))
    monkeypatch.setattr(pixel_cache_record, "checked_digest", lambda path: pytest.fail("was read again"))
    opened(params)


def test_a_photo_that_is_not_there_has_not_been_replaced(project: Path) -> None:
    """On a machine to which only out/ was copied, say."""
    expected = np.load(paths.PIXELS)
    shutil.rmtree("data")
    assert (opened(small())[0][np.arange(PHOTOS)] == expected).all()


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def of_another_run(path: Path) -> None:
    """As `git checkout` and `dvc checkout` leave it: all of one run but the cache, which is another's of the same shape."""
    kept = path.with_name("kept.npy")
    beside = {other: other.read_bytes() for other in path.parent.iterdir() if other != path}
    prepare.run(small(image={"face": 0.5}), SILENT)
    path.rename(kept)
    for other, content in beside.items():
        other.write_bytes(content)
    kept.rename(path)


@pytest.mark.parametrize("damage", [flipped, of_another_run])
@pytest.mark.parametrize("path", [paths.PIXELS, paths.EVAL_PIXELS])
def test_a_cache_that_is_not_the_one_recorded_is_refused(
    project: Path, path: Path, damage: Callable[[Path], None]
) -> None:
    damage(path)
    with pytest.raises(UserError, match=rf"{path}: is not what prepare wrote .*; {AGAIN}"):
        opened(small())


def test_a_flipped_bit_in_the_check_sums_of_photos_is_refused(project: Path) -> None:
    params = small(data={"cache_gb": 0})
    prepare.run(params, SILENT)
    flipped(paths.PIXELS)
    with pytest.raises(UserError, match=rf"{paths.PIXELS}: is not what prepare wrote .*; {AGAIN}"):
        opened(params)


def test_a_cache_of_an_earlier_version_whose_digest_is_of_one_piece_is_still_read(project: Path) -> None:
    record = paths.PIXELS.with_suffix(".json")
    told = json.loads(record.read_text())
    assert told.pop("in_blocks")
    told["array"] = hashlib.blake2b(paths.PIXELS.read_bytes(), digest_size=16).hexdigest()
    record.write_text(json.dumps(told))
    assert pixel_cache_record.checked_digest(paths.PIXELS) == told["array"]
    opened(small())
    flipped(paths.PIXELS)
    with pytest.raises(UserError, match=rf"{paths.PIXELS}: is not what prepare wrote .*; {AGAIN}"):
        opened(small())


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "not found; run `maskcli prepare`"), ("{", "is not JSON; run"), ("{}", f"is not what this .*; {AGAIN}")],
)
def test_a_cache_without_a_record_is_refused(project: Path, content: str | None, problem: str) -> None:
    record = paths.PIXELS.with_suffix(".json")
    record.unlink() if content is None else record.write_text(content)
    with pytest.raises(UserError, match=f"{record}: {problem}"):
        opened(small())


def test_without_its_notes_of_times_everything_is_looked_at_again(params: Params) -> None:
    times = paths.PIXELS.with_suffix(".times.npz")
    times.unlink()
    opened(params)
    assert times.is_file()
    times.write_bytes(b"damaged")
    replaced(times_kept=True)
    with pytest.raises(UserError, match="is not the photo that prepare read"):
        opened(params)


def test_the_record_is_the_same_whenever_the_same_photos_are_prepared(project: Path) -> None:
    before = {path: path.read_bytes() for path in paths.PIXELS.parent.glob("*pixels.json")}
    assert len(before) == 2
    for path in paths.TRAIN_IMAGES.rglob("*.jpg"):
        os.utime(path, ns=(1, 1))
    prepare.run(small(), SILENT)
    assert {path: path.read_bytes() for path in before} == before
