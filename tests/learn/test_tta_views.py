import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.learn import tta_views
from stages.params import tta_view_names

MARGIN = 4
PHOTOS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 28, 24, 3), np.uint8))
SEEN = PHOTOS[:, 4:24, 4:20]
NAMES = (*tta_view_names.EXAMPLES, "shift_up_3", "scale_0.75", "rotate_12.5", "brightness_1.5")


def view(name: str, photos: torch.Tensor = PHOTOS, margin: int = MARGIN) -> torch.Tensor:
    return tta_views.make(name)(photos, margin)


def test_identity_is_what_evaluation_sees_and_hflip_mirrors_it() -> None:
    assert (view("identity") == SEEN).all()
    assert (view("hflip") == SEEN.flip(2)).all()


@pytest.mark.parametrize(
    ("name", "down", "right"),
    [
        ("shift_left_2", 0, -2),
        ("shift_right_2", 0, 2),
        ("shift_up_3", -3, 0),
        ("shift_down_1", 1, 0),
        ("shift_left", 0, -4),
        ("shift_down", 4, 0),
        ("crop_top_left", 4, 4),
        ("crop_bottom_right", -4, -4),
        ("crop_top_right", 4, -4),
        ("crop_bottom_left", -4, 4),
    ],
)
def test_a_shift_moves_a_pixel_by_the_stated_number_of_pixels(name: str, down: int, right: int) -> None:
    photos = torch.zeros((1, 28, 24, 3), dtype=torch.uint8)
    photos[0, 4 + 10, 4 + 8] = 200  # row 10, column 8 of what is seen
    moved = view(name, photos)
    assert moved.shape == (1, 20, 16, 3)
    assert (moved[0, :, :, 0] == 200).nonzero().tolist() == [[10 + down, 8 + right]]


def test_corner_crops_with_the_centre_are_the_five_windows_of_the_cached_photo() -> None:
    assert (view("crop_top_left") == PHOTOS[:, :20, :16]).all()
    assert (view("crop_bottom_right") == PHOTOS[:, 8:, 8:]).all()


@pytest.mark.parametrize("name", ["rotate_0", "scale_1", "brightness_1"])
def test_a_view_that_changes_nothing_is_identity(name: str) -> None:
    assert view(name).numpy() == pytest.approx(SEEN.numpy(), abs=1e-2)


def test_rotation_is_counter_clockwise_about_the_centre() -> None:
    photos = torch.zeros((1, 31, 31, 3))
    photos[0, 15, 25] = 255  # right of the centre by 10 px
    turned = view("rotate_30", photos, 5)[0, :, :, 0]
    row, column = np.unravel_index(int(turned.argmax()), turned.shape)
    # Of what is seen the centre is 10, 10: up by 10 sin 30, right by 10 cos 30.
    assert (row, column) == (5, 19)


def test_scale_draws_what_lies_about_the_centre_apart() -> None:
    photos = torch.zeros((1, 31, 31, 3))
    photos[0, 15, 21] = 255
    wide = view("scale_1.5", photos, 5)[0, :, :, 0]
    assert np.unravel_index(int(wide.argmax()), wide.shape) == (10, 19)  # 6 px from the centre become 9
    ramp = torch.arange(31.0).view(1, 1, 31, 1).expand(1, 31, 31, 3)
    shrunk = view("scale_0.8", ramp, 5)[0, 10, :, 0]
    assert shrunk.numpy() == pytest.approx(15 + (np.arange(21) - 10) / 0.8, abs=1e-3)  # pixels from the margin come in


def test_brightness_clamps_at_white() -> None:
    bright = view("brightness_1.5")
    assert bright.numpy() == pytest.approx(np.minimum(SEEN.numpy() * 1.5, 255))
    assert (bright == 255).any()
    assert view("brightness_0.5").numpy() == pytest.approx(SEEN.numpy() * 0.5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("margin", [0, MARGIN])
def test_every_view_keeps_the_size_the_range_and_its_input_and_takes_photos_one_by_one(name: str, margin: int) -> None:
    if tta_view_names.margin_needed(name) > margin:
        return
    before = PHOTOS.clone()
    made = view(name, margin=margin)
    assert made.shape == (3, 28 - 2 * margin, 24 - 2 * margin, 3)
    assert made.min() >= 0
    assert made.max() <= 255
    assert (before == PHOTOS).all()
    alone = torch.cat([view(name, photo[None], margin) for photo in PHOTOS])
    assert alone.float().numpy() == pytest.approx(made.float().numpy(), abs=1e-3)
    assert view(name, PHOTOS.float(), margin).numpy() == pytest.approx(made.float().numpy(), abs=1e-3)


def test_a_shift_beyond_the_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="a shift of 5 px needs a margin as wide, not 4 px"):
        view("shift_left_5")
    assert [tta_view_names.margin_needed(name) for name in ("shift_left_5", "shift_left", "crop_top_left")] == [5, 1, 1]
    assert tta_view_names.margin_needed("rotate_5") == 0


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=12) | st.sampled_from(["rotate_", "scale_x", "shift_left_0", "rotate_1e1", "scale_9"]))
def test_other_names_are_refused_by_name(name: str) -> None:
    if name in NAMES:
        return
    try:
        kind, amount = tta_view_names.split(name)
    except ValueError as error:
        assert str(error).startswith(f"`{name}`")  # noqa: PT017 -- both outcomes are right
    else:
        assert kind in tta_view_names.AMOUNTS
        assert amount is not None
        tta_views.make(name)
