import io
import resource
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.data import whole_photo
from stages.data.decode import BadPhoto, decode, decode_checked, decode_content, resized
from stages.data.whole_photo import Judged, State
from tests.data.test_whole_photo import FILES

RED_TOP = np.zeros((80, 60, 3), np.uint8)
RED_TOP[:40, :, 0] = 220
RED_TOP[40:, :, 2] = 220


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def converted(mode: str) -> Image.Image:
    image = Image.fromarray(RED_TOP)
    return image.quantize(4) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "RGBA"])
def test_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.PNG" if mode in ("P", "RGBA") else "a.JPG")
    pixels = decode(saved(path, converted(mode)), 80, 60).pixels
    assert (pixels.shape, pixels.dtype) == ((80, 60, 3), np.uint8)
    inside = np.r_[0:32, 48:80]  # JPEG blurs the edge between the colours
    assert np.abs(pixels[inside].astype(int) - RED_TOP[inside]).max() <= (0 if path.suffix == ".PNG" else 3)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(RED_TOP).convert("L")), 80, 60).pixels
    assert (pixels[:40] == round(0.299 * 220)).all()
    assert (pixels[40:] == round(0.114 * 220)).all()


@pytest.mark.parametrize("mode", ["P", "L", "LA", "RGBA"])
def test_transparency_of_any_kind_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    """The upper half is transparent: by palette entry, by grey value, or by alpha."""
    image = converted(mode)
    options = {"transparency": image.getpixel((0, 0))} if mode in ("P", "L") else {}
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.repeat([[0], [255]], 40, 0).repeat(60, 1).astype(np.uint8)))
    pixels = decode(saved(tmp_path / "a.png", image, **options), 80, 60).pixels
    assert (pixels[:40] == 255).all()
    blue = [0, 0, 220] if mode in ("P", "RGBA") else [25, 25, 25]
    assert (pixels[40:] == blue).all()


def test_a_small_file_of_many_transparent_pixels_takes_little_more_memory_than_these_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("P", (2000, 2000)), transparency=0)
    tracemalloc.start()
    try:
        pixels = decode(path, 80, 60).pixels
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (pixels == 255).all()
    assert path.stat().st_size < 10_000
    assert most < 2 * (2000 * 2000 * 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "transparent.png"])
def test_exif_orientation_is_honoured(tmp_path: Path, name: str, orientation: int) -> None:
    """Stored turned or mirrored in each of EXIF's eight ways, a photo comes out upright: four corners, four colours."""
    upright = np.zeros((64, 48, 3), np.uint8)
    upright[:32, :24], upright[:32, 24:], upright[32:, :24], upright[32:, 24:] = (
        (200, 0, 0),
        (0, 200, 0),
        (0, 0, 200),
        99,
    )
    turns = (0, 0, 2, 2, 1, 1, 3, 3)
    stored = np.rot90(upright[:, ::-1] if orientation in (2, 4, 5, 7) else upright, turns[orientation - 1])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored)).convert("RGBA" if name.startswith("t") else "RGB")
    options = {"quality": 95, "subsampling": 0} if name.endswith("jpg") else {}
    pixels = decode(saved(tmp_path / name, image, exif=exif, **options), 64, 48).pixels
    for row, column in ((12, 12), (12, 36), (52, 12), (52, 36)):
        assert np.abs(pixels[row, column].astype(int) - upright[row, column]).max() <= 4


def test_sixteen_bit_png_keeps_its_brightness(tmp_path: Path) -> None:
    colour = np.full((40, 40, 3), (60000, 30000, 1000), np.uint16)
    (tmp_path / "b.png").write_bytes(cv2.imencode(".png", colour[..., ::-1])[1].tobytes())
    assert decode(tmp_path / "b.png", 20, 20).pixels[0, 0].tolist() == [60000 >> 8, 30000 >> 8, 1000 >> 8]
    path = saved(tmp_path / "a.png", Image.fromarray(np.full((40, 40), 128 * 257, np.uint16)))
    assert abs(int(decode(path, 20, 20).pixels.mean()) - 128) <= 1


def test_one_pixel_and_reduced_decoding(tmp_path: Path) -> None:
    assert decode(saved(tmp_path / "a.png", Image.new("RGB", (1, 1), (9, 9, 9))), 8, 8).pixels.mean() == 9
    large = np.asarray(Image.fromarray(RED_TOP).resize((960, 1280)))
    reduced = decode(saved(tmp_path / "b.jpg", Image.fromarray(large), quality=95), 80, 60).pixels
    assert np.abs(reduced.astype(int) - RED_TOP).mean() < 3


PHOTO = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


@pytest.mark.parametrize("size", [(20, 30), (13, 40), (40, 7), (40, 40)])
def test_a_photo_that_shrinks_is_averaged_over_areas(size: tuple[int, int]) -> None:
    assert np.array_equal(resized(PHOTO, *size), cv2.resize(PHOTO, size[::-1], interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("size", [(60, 80), (40, 41), (99, 40)])
def test_a_photo_that_grows_is_interpolated(size: tuple[int, int]) -> None:
    assert np.array_equal(resized(PHOTO, *size), cv2.resize(PHOTO, size[::-1], interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("turned", [False, True])
def test_a_side_that_shrinks_does_not_alias_though_the_other_grows(turned: bool) -> None:
    """Of five lines of one pixel each, two or three are white: their mean is grey; one of them would be black or white."""
    lines = np.zeros((250, 40, 3), np.uint8)
    lines[::2] = 255
    photo, (height, width) = (lines.swapaxes(0, 1), (60, 50)) if turned else (lines, (50, 60))
    found = resized(np.ascontiguousarray(photo), height, width)
    assert found.shape == (height, width, 3)
    assert set(np.unique(found)) == {255 * 2 // 5, 255 * 3 // 5}


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
    assert isinstance(content, bytes)
    path.write_bytes(content)
    with pytest.raises(BadPhoto) as caught:
        decode(path, 8, 8)
    assert caught.value.problem == problem


def test_a_bomb_is_refused_before_memory_is_spent_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png", compress_level=1)  # 1.2 GB as RGB
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadPhoto, match=r"has more than 50000000 pixels; shrink it, or raise data\.max_pixels"):
        decode(tmp_path / "a.png", 8, 8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_the_limit_of_pixels_can_be_raised(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (200, 100), (1, 2, 3)))
    with pytest.raises(BadPhoto, match="is 200x100, more than 19999 pixels"):
        decode(path, 8, 8, max_pixels=19_999)
    assert decode(path, 8, 8, max_pixels=20_000).pixels[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_png_with_any_flipped_bit_is_refused_or_unchanged(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).convert(mode)
    path = saved(tmp_path / "a.png", image)
    content, pixels = path.read_bytes(), decode(path, 12, 12).pixels
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            assert (decode(path, 12, 12).pixels == pixels).all()
        except BadPhoto:
            continue


@pytest.mark.parametrize(
    ("height", "width", "face"), [(40, 32, 1.0), (20, 30, 0.7), (90, 17, 1.0), (6, 5, 1.0), (2, 2, 1.0)]
)
@pytest.mark.parametrize("name", FILES)
def test_a_photo_read_again_gives_the_same_pixels(
    tmp_path: Path, name: str, height: int, width: int, face: float
) -> None:
    path = tmp_path / "photo"
    for content in (FILES[name], FILES[name] + b"a phone's notes", FILES[name].removesuffix(b"\xff\xd9")):
        path.write_bytes(content)
        pixels = decode(path, height, width, face).pixels
        for check, same in ((zlib.crc32(pixels.data), True), (1, False)):
            out = np.full((height, width, 3), 7, np.uint8)
            assert decode_checked(path, check, out, face) == same
            assert (out == pixels).all()


def test_faults_are_looked_for_again_only_where_the_pixels_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = saved(tmp_path / "a.jpg", Image.fromarray(RED_TOP)), np.empty((40, 30, 3), np.uint8)
    check = zlib.crc32(decode(path, 40, 30).pixels.data)
    looked: list[bytes] = []
    monkeypatch.setattr(whole_photo, "judge", lambda content: looked.append(content) or Judged(State.CUT, content))
    assert decode_checked(path, check, out)
    assert not looked
    assert not decode_checked(path, check + 1, out)
    assert (len(looked), out.max()) == (1, 0)


def test_a_photo_with_more_pixels_than_are_allowed_is_not_decoded_again(tmp_path: Path) -> None:
    path, out = saved(tmp_path / "a.jpg", Image.fromarray(RED_TOP)), np.empty((40, 30, 3), np.uint8)
    check = zlib.crc32(decode(path, 40, 30).pixels.data)
    assert decode_checked(path, check, out, max_pixels=4800)
    assert not decode_checked(path, check, out, max_pixels=4799)


@pytest.mark.parametrize("name", FILES)
def test_colours_come_in_the_order_red_green_blue(name: str) -> None:
    """As OpenCV's own order turned round, bit by bit, whichever way it is asked for."""
    if "transparent" in name:
        return
    expected = cv2.imdecode(np.frombuffer(FILES[name], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (decode_content(FILES[name], *expected.shape[:2]).pixels == expected).all()
