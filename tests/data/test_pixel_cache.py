"""Above data.cache_gb photos are decoded on the fly, and nothing else changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import prepare, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.by_hand import submit_now
from stages.data import pixel_cache
from stages.data.fold_data import open_fold
from stages.learn import augment, loader
from tests.conftest import small

FLY = small(data={"cache_gb": 0})
PHOTOS, EVAL_PHOTOS = 168, 42


@pytest.fixture
def on_the_fly(project: Path) -> pixel_cache.Pixels:
    """The project's caches without pixels; what is read of its training photos."""
    prepare.run(FLY, SILENT)
    return pixel_cache.open_cache(paths.PIXELS, PHOTOS, FLY)


@pytest.mark.parametrize("which", [[], [3], [167, 0, 5, 5], list(range(PHOTOS))[::-1]])
def test_pixels_are_those_of_the_cache_whatever_is_read(project: Path, which: list[int]) -> None:
    cached = np.load(paths.PIXELS)
    prepare.run(FLY, SILENT)
    assert paths.PIXELS.stat().st_size < PHOTOS * 4 + 200
    found = pixel_cache.open_cache(paths.PIXELS, PHOTOS, FLY)
    assert len(found) == PHOTOS
    assert (found[np.array(which, int)] == cached[which]).all()
    assert found[np.array(which, int)].shape == (len(which), *FLY.cache_size, 3)
    assert pixel_cache.bytes_a_photo(found) == 4
    assert pixel_cache.bytes_a_photo(cached) == 36 * 36 * 3


def test_eval_photos_are_read_in_the_order_of_the_table(project: Path) -> None:
    cached = np.load(paths.EVAL_PIXELS)
    prepare.run(FLY, SILENT)
    assert (pixel_cache.open_cache(paths.EVAL_PIXELS, EVAL_PHOTOS, FLY)[np.arange(EVAL_PHOTOS)] == cached).all()


def test_training_batches_and_oof_predictions_are_the_same_either_way(project: Path) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    found = []
    for params in (small(train={"epochs": 1}), small(train={"epochs": 1}, data={"cache_gb": 0})):
        prepare.run(params, SILENT)
        data = open_fold(params, 0)
        order = loader.epoch_order(params, data, 0, 0)
        batches = loader.training(params, data, order, augment.make(params), loader.Place(0, 0))
        photos = np.concatenate([batch.photos.numpy() for batch in batches])
        train.run(params, SILENT, 0)
        with np.load(paths.oof_logits(0)) as arrays:
            found.append((type(data.pixels), photos, arrays["last"]))
    (cached, *from_cache), (fly, *from_files) = found
    assert (cached, fly) == (np.memmap, pixel_cache.OnTheFly)
    for one, other in zip(from_cache, from_files, strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("position", [0, 100])
def test_a_changed_photo_is_noticed_when_it_is_read(on_the_fly: pixel_cache.Pixels, position: int) -> None:
    assert isinstance(on_the_fly, pixel_cache.OnTheFly)
    file, other = on_the_fly.files[position], on_the_fly.files[(position + 7) % PHOTOS]
    file.write_bytes(other.read_bytes())
    message = f"{file}: gives other pixels than when prepare read it .* run `maskcli prepare`"
    with pytest.raises(UserError, match=message):
        on_the_fly[np.arange(PHOTOS)]
    file.unlink()
    with pytest.raises(UserError, match=message):
        on_the_fly[np.array([position])]


def test_another_photo_size_is_noticed_when_the_cache_is_opened(on_the_fly: pixel_cache.Pixels) -> None:
    with pytest.raises(UserError, match=r"was made with image.height: 32, and 48 is asked for"):
        pixel_cache.open_cache(paths.PIXELS, PHOTOS, small(image={"height": 48}))


def test_the_limit_is_on_both_caches_together_and_prepare_says_what_it_means(project: Path) -> None:
    together = (PHOTOS + EVAL_PHOTOS) * 36 * 36 * 3
    said: list[str] = []
    talk = replace(SILENT, say=said.append)
    prepare.run(small(data={"cache_gb": together / 1e9}), talk)
    assert len(np.load(paths.PIXELS).shape) == 4
    assert len(said) == 1
    prepare.run(small(data={"cache_gb": (together - 1) / 1e9}), talk)
    assert np.load(paths.PIXELS).dtype == np.uint32
    assert "the pixel caches would take 0.000816 GB, more than data.cache_gb allows (0.000816479)" in said[-1]
    assert "raise data.cache_gb or lower image.height and image.width" in said[-1]


def test_faults_are_found_without_a_cache_too(on_the_fly: pixel_cache.Pixels) -> None:
    assert isinstance(on_the_fly, pixel_cache.OnTheFly)
    on_the_fly.files[20].write_bytes(b"text")
    with pytest.raises(UserError, match="is not a photo that can be read"):
        prepare.run(FLY, SILENT)
    skipping = small(data={"cache_gb": 0, "on_fault": "skip"})
    prepare.run(skipping, SILENT)
    assert len(pixel_cache.open_cache(paths.PIXELS, PHOTOS - 7, skipping)) == PHOTOS - 7


def test_submit_now_reads_on_the_fly_what_prepare_saw_and_photos_of_another_size_too(
    on_the_fly: pixel_cache.Pixels, tmp_path: Path
) -> None:
    task, images = submit_now._eval_set(FLY)
    for height in (32, 48):
        params = small(image={"height": height}, data={"cache_gb": 0})
        predictor = submit_now.Predictor(params, task, images, tmp_path, SILENT)
        pixels = submit_now._pixels(predictor, params)
        assert isinstance(pixels, pixel_cache.OnTheFly)
        assert pixels[np.arange(EVAL_PHOTOS)].shape == (EVAL_PHOTOS, height + 4, 36, 3)


def test_photos_that_lack_only_their_end_marker_are_used_and_told_of(project: Path) -> None:
    cached = np.load(paths.PIXELS)
    files = sorted(paths.TRAIN_IMAGES.rglob("mask2.jpg"))[:2]
    for file in files:
        file.write_bytes(file.read_bytes()[:-2])
    said: list[str] = []
    prepare.run(small(), replace(SILENT, say=said.append))
    name = files[0].relative_to(paths.TRAIN_IMAGES)
    assert said[0] == (
        f"warning: 2 photos in {paths.TRAIN_IMAGES} lack only the mark of their end, first `{name}`: used, since all pixels "
        "are there"
    )
    assert (np.load(paths.PIXELS) == cached).all()
