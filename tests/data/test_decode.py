import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.data.decode import BadPhoto, decode

RED_TOP = np.zeros((80, 60, 3), np.uint8)
RED_TOP[:40, :, 0] = 220
RED_TOP[40:, :, 2] = 220


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def is_red_over_blue(pixels: np.ndarray) -> bool:
    top, bottom = pixels[:30].mean((0, 1)), pixels[-30:].mean((0, 1))
    return bool(top[0] > 150 > top[2] and bottom[2] > 150 > bottom[0])


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L", "P", "RGBA"])
def test_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.png" if mode in ("P", "RGBA") else "a.jpg")
    photo = decode(saved(path, Image.fromarray(RED_TOP).convert(mode)), 80, 60)
    assert photo.pixels.shape == (80, 60, 3)
    assert photo.pixels.dtype == np.uint8
    assert is_red_over_blue(photo.pixels) or mode == "L"


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = saved(tmp_path / "a.jpg", Image.fromarray(RED_TOP[::-1, ::-1].copy()), exif=exif)
    assert is_red_over_blue(decode(path, 80, 60).pixels)


def test_sixteen_bit_png_keeps_its_brightness(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.full((40, 40), 128 * 257, np.uint16)))
    assert abs(int(decode(path, 20, 20).pixels.mean()) - 128) <= 1


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGBA", (20, 20), (0, 0, 0, 0)))
    assert decode(path, 20, 20).pixels.min() == 255


def test_one_pixel_and_reduced_decoding(tmp_path: Path) -> None:
    assert decode(saved(tmp_path / "a.png", Image.new("RGB", (1, 1), (9, 9, 9))), 8, 8).pixels.mean() == 9
    large = np.asarray(Image.fromarray(RED_TOP).resize((960, 1280)))
    reduced = decode(saved(tmp_path / "b.jpg", Image.fromarray(large), quality=95), 80, 60).pixels
    assert np.abs(reduced.astype(int) - RED_TOP).mean() < 3


def test_face_crop_keeps_the_centre(tmp_path: Path) -> None:
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[20:60, 20:60] = 200
    path = saved(tmp_path / "a.png", Image.fromarray(frame))
    assert decode(path, 40, 40, face=0.5).pixels.min() == 200


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty (zero bytes)"),
        (b"hello, I am text", "is not a photo that can be read"),
        ("truncated", "is cut off before its end"),
        ("gif", "is GIF, not JPEG or PNG"),
        ("bomb", "has more than 50000000 pixels"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, content: bytes | str, problem: str) -> None:
    path = tmp_path / "a.jpg"
    buffer = io.BytesIO()
    if content == "truncated":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(buffer, "JPEG")
        content = buffer.getvalue()[:-200]
    elif content == "gif":
        Image.new("L", (4, 4)).save(buffer, "GIF")
        content = buffer.getvalue()
    elif content == "bomb":
        Image.new("1", (20000, 20000)).save(buffer, "PNG")
        content = buffer.getvalue()
    assert isinstance(content, bytes)
    path.write_bytes(content)
    with pytest.raises(BadPhoto) as caught:
        decode(path, 8, 8)
    assert caught.value.problem == problem
