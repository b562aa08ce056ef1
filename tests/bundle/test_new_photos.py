"""New photos come out as prepare's cache has them; what cannot be read says why."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import prepare
from stages.base import paths
from stages.base.talk import SILENT
from stages.bundle import new_photos
from stages.data import photos
from stages.data.photos import Files
from tests.conftest import small


@pytest.mark.parametrize("image", [{}, {"face": 0.5, "height": 20, "margin": 0}])
def test_pixels_are_those_of_the_cache(project: Path, image: dict[str, Any]) -> None:
    turned = sorted(paths.EVAL_IMAGES.iterdir())[0]
    upright = Image.open(turned)
    exif = upright.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    upright.save(turned, exif=exif)
    params = small(image=image)
    prepare.run(params, SILENT)
    cached = np.load(paths.EVAL_PIXELS)
    files: Files = photos.eval_files(params, photos.read_eval()["ImageID"].tolist())
    for position in range(len(files)):
        by_path = new_photos.read(files[position], "a", params)
        assert (by_path == cached[position]).all()
        assert (new_photos.read(files[position].read_bytes(), "a", params) == by_path).all()


def gif() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save("x.jpg", "GIF", save_all=True, append_images=frames[1:])
    return Path("x.jpg").read_bytes()


def large() -> None:
    with Path("x.jpg").open("wb") as file:
        file.truncate(new_photos.MOST_BYTES + 1)


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "not there": (
        lambda: None,
        "cannot be read (No such file or directory); check that the file is there and readable",
    ),
    "a folder": (lambda: Path("x.jpg").mkdir(), "is a folder, not a photo; name a photo's file"),
    "a pipe": (lambda: os.mkfifo("x.jpg"), "is no file; name a photo's file"),
    "empty": (lambda: Path("x.jpg").touch(), "is empty (zero bytes); replace it by the original"),
    "an animated GIF": (gif, "is GIF, not JPEG or PNG; convert it"),
    "too many pixels": (
        lambda: Image.new("L", (8000, 8000)).save("x.jpg"),
        "is 8000x8000, more than 50000000 pixels; shrink it",
    ),
    "too many bytes": (large, "has more than 200 MB; shrink it"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_photo_says_why(case: str) -> None:
    write, message = CASES[case]
    write()
    with pytest.raises(new_photos.Unreadable) as refusal:
        new_photos.read(Path("x.jpg"), "holiday", small())
    assert str(refusal.value) == f"holiday: {message}"
    assert f"{refusal.value.problem}; {refusal.value.mend}" == message


def test_a_name_that_no_file_can_have_is_one_line() -> None:
    for name in ("\0", "x" * 300):
        with pytest.raises(
            new_photos.Unreadable, match=r"holiday: cannot be read \((embedded null byte|File name too long)\); check"
        ):
            new_photos.read(Path(name), "holiday", small())
