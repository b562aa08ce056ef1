from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.report import colours, heat_overlay


def test_a_photo_without_heat_is_grey_and_the_hottest_place_is_coloured_and_still_seen() -> None:
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[:, 3:] = (255, 0, 0)
    heat = np.zeros((4, 4))
    heat[0, 0] = heat[0, 3] = 1
    made = heat_overlay.overlay(pixels, heat)  # a margin of 1 px is left out
    assert made.shape == (4, 4, 3)
    assert made[1:, :2].tolist() == np.zeros((3, 2, 3)).tolist()
    assert made[1:, 2:].tolist() == np.full((3, 2, 3), 76).tolist()
    hot = [int(colours.HEAT[-1][place : place + 2], 16) for place in (1, 3, 5)]
    assert made[0, 0] == pytest.approx(np.multiply(hot, 0.8), abs=1)
    assert made[0, 3] == pytest.approx(np.multiply(hot, 0.8) + 0.2 * 76, abs=1)


def test_a_legend_runs_from_grey_to_the_hottest_colour() -> None:
    shown = heat_overlay.legend()
    assert shown[0] == "#808080"
    assert len(set(shown)) == len(shown)


def test_the_picture_is_written_as_png(tmp_path: Path) -> None:
    pixels, heat = np.full((8, 6, 3), 90, np.uint8), np.linspace(0, 1, 24).reshape(6, 4)
    heat_overlay.write(tmp_path / "a.png", pixels, heat)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), heat_overlay.overlay(pixels, heat))
