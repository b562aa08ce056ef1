import numpy as np
import pytest

from stages.base.errors import UserError
from stages.learn import augment
from tests.conftest import small

PHOTOS = np.random.default_rng(0).integers(0, 255, (6, 36, 36, 3), np.uint8)


@pytest.mark.parametrize(
    "pipeline", ["none", "light", "medium", "strong", [{"CLAHE": {"p": 1.0}}, "ToGray", {"CoarseDropout": {"p": 1.0}}]]
)
def test_pipelines_keep_size_and_type_and_repeat_for_the_same_generator(pipeline: object) -> None:
    change = augment.make(small(augment={"pipeline": pipeline}))
    first, second, other = (change(PHOTOS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 32, 32, 3)
    assert first.dtype == np.uint8
    assert (first == second).all()
    assert (first != other).any()


def test_crops_are_windows_of_the_photo_and_flips_mirror_them() -> None:
    params = small(augment={"pipeline": "none", "hflip": 1.0}, image={"margin": 0, "height": 36, "width": 36})
    assert (augment.crop_and_flip(PHOTOS, params, np.random.default_rng(0)) == PHOTOS[:, :, ::-1]).all()
    params = small(augment={"pipeline": "none", "hflip": 0.0})
    out = augment.crop_and_flip(PHOTOS, params, np.random.default_rng(0))
    windows = [PHOTOS[0, top : top + 32, left : left + 32] for top in range(5) for left in range(5)]
    assert any((out[0] == window).all() for window in windows)


def test_padding_lays_black_pixels_around_the_photo_that_windows_move_over() -> None:
    """torchvision's RandomCrop(size, padding=4): every offset from -4 to 4, zeros beyond the photo."""
    params = small(augment={"pipeline": "none", "hflip": 0.0, "pad": 4}, image={"margin": 0, "height": 36, "width": 36})
    photos = np.tile(PHOTOS[:1] | 1, (400, 1, 1, 1))
    out = augment.crop_and_flip(photos, params, np.random.default_rng(0))
    padded = np.pad(photos[0], ((4, 4), (4, 4), (0, 0)))
    windows = {padded[top : top + 36, left : left + 36].tobytes(): (top, left) for top in range(9) for left in range(9)}
    seen = {windows[photo.tobytes()] for photo in out}
    assert {top for top, _ in seen} == {left for _, left in seen} == set(range(9))


def test_padding_goes_on_where_the_margin_ends() -> None:
    params = small(augment={"pipeline": "none", "hflip": 0.0, "pad": 1})  # a margin of 2
    out = augment.crop_and_flip(PHOTOS.repeat(50, 0) | 1, params, np.random.default_rng(0))
    black = (out == 0).all((2, 3))
    assert black[:, 0].any()
    assert not black[:, 1:-1].any()


def test_the_centre_is_what_evaluation_sees() -> None:
    assert (augment.centre(PHOTOS, 2) == PHOTOS[:, 2:34, 2:34]).all()


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (["Clahe"], "augment.pipeline.0: albumentations has no `Clahe`; did you mean `CLAHE`?"),
        ([{"CLAHE": {"clip": 3}}], "augment.pipeline.0: CLAHE refuses its arguments"),
        ([{"Resize": {"height": 8, "width": 8}}], "augment.pipeline: gives uint8"),
        ([{"CLAHE": {}, "ToGray": {}}], "augment.pipeline.0: must name one transform"),
    ],
)
def test_a_wrong_pipeline_is_refused_before_any_photo(pipeline: object, message: str) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: ") as caught:
        augment.make(small(augment={"pipeline": pipeline}))
    assert message in str(caught.value)


def test_brightening_moves_half_of_the_photos_by_one_line_each_and_saturates() -> None:
    before = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (200, 1, 4, 3))
    photos = before.copy()
    augment.brighten(photos, np.random.default_rng(0))
    changed = [number for number in range(200) if (photos[number] != before[number]).any()]
    assert 75 < len(changed) < 125
    for curve in photos[changed, :, 0, 0].astype(int):
        inside = (curve > 0) & (curve < 255)
        slope, shift = np.polyfit(np.arange(256)[inside], curve[inside], 1)
        assert 0.79 < slope < 1.21
        assert -52 < shift < 52
        assert (np.abs(np.clip(slope * np.arange(256) + shift, 0, 255) - curve) < 1.5).all()
