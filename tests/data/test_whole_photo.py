"""Photos as phones, cameras and editors write them are whole; a file that lacks one pixel of its photo never is."""

import io
import struct
from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stages.data import whole_photo
from stages.data.decode import BadPhoto, Photo, decode_content
from stages.data.whole_photo import State

HEIGHT, WIDTH = 40, 32
CUT = "is cut off before its end"


@cache
def scene(seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.integers(0, 256, (5, 4, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.clip(smooth + rng.normal(0, 5, smooth.shape), 0, 255).astype(np.uint8)


def pillow(kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene()).convert(mode).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def opencv(kind: str, *options: int) -> bytes:
    return cv2.imencode(kind, scene(), options)[1].tobytes()


def inserted(segment: bytes, marker: int) -> bytes:
    """A JPEG with one more segment, right behind its beginning."""
    photo = pillow(quality=90)
    return photo[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(segment) + 2) + segment + photo[2:]


def exif_thumbnail() -> bytes:
    """As cameras write: a small JPEG, end marker and all, in the second table of EXIF."""
    small = io.BytesIO()
    Image.fromarray(scene(1)).resize((16, 20)).save(small, "JPEG")
    thumbnail = small.getvalue()
    tables = (
        b"MM\0*" + struct.pack(">I", 8) + struct.pack(">HI", 0, 14)
    )  # an empty first table, then the second's place
    entries = [(0x0201, 4, 1, 14 + 2 + 2 * 12 + 4), (0x0202, 4, 1, len(thumbnail))]
    second = struct.pack(">H", 2) + b"".join(struct.pack(">HHII", *entry) for entry in entries) + struct.pack(">I", 0)
    return inserted(b"Exif\0\0" + tables + second + thumbnail, 0xE1)


JPEGS = {
    "Pillow": pillow(quality=90),
    "Pillow, best quality": pillow(quality=100, subsampling=0),
    "Pillow, optimised": pillow(optimize=True),
    "Pillow, progressive": pillow(progressive=True),
    "Pillow, best quality, progressive": pillow(quality=100, subsampling=0, progressive=True),
    "Pillow, restart markers": pillow(restart_marker_rows=1),
    "Pillow, progressive, restart markers": pillow(progressive=True, restart_marker_blocks=3),
    "Pillow, grey": pillow(mode="L"),
    "Pillow, CMYK": pillow(mode="CMYK"),
    "OpenCV": opencv(".jpg"),
    "OpenCV, progressive": opencv(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "OpenCV, restart markers": opencv(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "a camera's, with a thumbnail": exif_thumbnail(),
    "a comment that holds a JPEG": inserted(pillow(quality=50), 0xFE),
    "several pictures (MPO)": pillow("MPO", save_all=True, append_images=[Image.fromarray(scene(1))]),
}
PNGS = {
    "Pillow": pillow("PNG"),
    "Pillow, grey": pillow("PNG", "L"),
    "Pillow, transparent": pillow("PNG", "RGBA"),
    "Pillow, palette": pillow("PNG", "P"),
    "OpenCV": opencv(".png"),
    "many chunks of pixels": b"",  # below
}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", whole_photo.zlib.crc32(name + data))


def in_many_chunks() -> bytes:
    header, _, rest = PNGS["Pillow"].partition(b"IDAT")
    (length,) = struct.unpack(">I", header[-4:])
    data = rest[:length]
    parts = b"".join(chunk(b"IDAT", data[place : place + 100]) for place in range(0, length, 100))
    return header[:-4] + parts + chunk(b"tEXt", b"Comment\0IEND") + whole_photo.IEND


PNGS["many chunks of pixels"] = in_many_chunks()
FILES = {f"JPEG: {name}": content for name, content in JPEGS.items()} | {
    f"PNG: {name}": content for name, content in PNGS.items()
}
TRAILERS = {
    "zeros": bytes(3000),
    "a line break": b"\r\n",
    "a phone's notes": bytes.fromhex("0000010a0e000000") + b"Image_UTC_Data1700000000000SEFH\x6a\0\0\0\x01\0\0\0SEFT",
    "a film": struct.pack(">I", 24) + b"ftypmp42\0\0\0\0isommp42" + np.random.default_rng(5).bytes(2000),
    "a film that looks like the beginning of a scan": b"\0\0\0\x18ftypmp42\xff\xda\0\x0c" + bytes(100),
    "another JPEG, cut off": pillow(quality=70)[:-300],
    "the name of PNG's end": b"....IEND....",
}


def decoded(content: bytes) -> Photo:
    return decode_content(content, HEIGHT, WIDTH)


def decoded_or_fault(content: bytes) -> Photo | str:
    try:
        return decoded(content)
    except BadPhoto as fault:
        return fault.problem


@pytest.mark.parametrize("name", FILES)
def test_what_writers_write_is_whole(name: str) -> None:
    photo = decoded(FILES[name])
    assert not photo.unended
    assert np.abs(photo.pixels.astype(int) - decoded(PNGS["Pillow"]).pixels).mean() < 60


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize(
    "name", ["JPEG: Pillow", "JPEG: OpenCV, progressive", "JPEG: several pictures (MPO)", "PNG: OpenCV"]
)
def test_what_stands_behind_a_photo_does_not_matter(name: str, trailer: str) -> None:
    alone = decoded(FILES[name])
    photo = decoded(FILES[name] + TRAILERS[trailer])
    assert (photo.pixels == alone.pixels).all()
    assert not photo.unended


def lengths(size: int) -> list[int]:
    """Every tenth, and each of the last and of some in between, where the data of a scan or interval may just be complete."""
    return sorted({*range(11, size, 10), *range(size // 2, size // 2 + 20), *range(size - 30, size)})


@pytest.mark.parametrize("padding", [b"", bytes(700), b"\xff" * 700], ids=["", "zeros", "ones"])
@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_never_taken_for_whole_unless_all_its_pixels_are_there(name: str, padding: bytes) -> None:
    """Cut anywhere, as a copy leaves it that broke off, whether or not the rest of the file's length has been filled."""
    content = FILES[name]
    pixels, first = decoded(content).pixels, len(content)
    if "MPO" in name:  # what comes after the first picture is no part of it
        first = len(whole_photo.judge(content).content)
    taken = []
    for length in lengths(first)[:: 5 if padding else 1]:
        photo = decoded_or_fault(content[:length] + padding)
        if isinstance(photo, str):
            assert photo == CUT or (padding and name.startswith("PNG")), length  # there, a check sum is wrong first
        else:
            taken.append(length)
            assert photo.unended, length
            assert (photo.pixels == pixels).all(), length
    end = 12 if name.startswith("PNG") else 2
    if not padding and "chunks" not in name:
        assert taken == list(range(first - end, first))


@pytest.mark.parametrize("name", [name for name in JPEGS if "MPO" not in name])
def test_a_jpeg_that_lacks_only_its_end_marker_is_used(name: str) -> None:
    content = JPEGS[name]
    judged = whole_photo.judge(content[:-2])
    assert (judged.state, judged.content) == (State.UNENDED, content)


def test_a_progressive_jpeg_without_its_last_scan_is_cut_off() -> None:
    """It decodes without a word, only coarser."""
    content = JPEGS["Pillow, progressive"]
    last = content.rfind(b"\xff\xda")
    table = content.rfind(b"\xff\xc4", 0, last)
    for end in (last, table):
        assert whole_photo.judge(content[:end]).state == State.CUT


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpegs_size_is_the_one_in_its_own_frame_header(name: str) -> None:
    """Not a thumbnail's, nor that of a JPEG in a comment."""
    content = JPEGS[name]
    assert whole_photo.jpeg_size(content) == (HEIGHT, WIDTH)
    frames = [content.rfind(bytes([0xFF, code]), 0, content.rfind(b"\xff\xda")) for code in (0xC0, 0xC2)]
    if "MPO" not in name:
        assert whole_photo.jpeg_size(content[: max(frames)]) is None


@pytest.mark.parametrize("content", [b"", b"text", whole_photo.JPEG, PNGS["Pillow"], b"\xff\xd8\xff\xe0\0\0" * 9])
def test_what_has_no_frame_header_has_no_size(content: bytes) -> None:
    assert whole_photo.jpeg_size(content) is None


def test_fill_bytes_and_unknown_segments_are_passed_over() -> None:
    content = JPEGS["Pillow"]
    filled = content[:2] + b"\xff\xff\xff" + content[3:-2] + b"\xff\xff\xff\xd9"
    assert whole_photo.judge(filled + b"more").content == filled
    assert (decoded(filled).pixels == decoded(content).pixels).all()


def test_a_png_chunk_whose_check_sum_is_wrong_is_damage() -> None:
    content = bytearray(PNGS["OpenCV"])
    content[content.find(b"IDAT") + 30] ^= 4
    assert whole_photo.judge(bytes(content)).state == State.DAMAGED
    with pytest.raises(BadPhoto, match="is damaged"):
        decoded(bytes(content))


def test_a_png_may_hold_notes_with_a_wrong_check_sum() -> None:
    notes = PngInfo()
    notes.add_text("Comment", "hello")
    content = bytearray(pillow("PNG", pnginfo=notes))
    content[content.find(b"hello")] ^= 1
    assert whole_photo.judge(bytes(content)).state == State.WHOLE


def test_a_jpeg_whose_data_end_in_ones_is_known_for_whole_without_its_end_marker() -> None:
    """There 0xFF 0x00 is the last byte of the data, and no padding."""
    rng = np.random.default_rng(0)
    photos = (cv2.imencode(".jpg", rng.integers(0, 256, (8, 8), np.uint8))[1].tobytes() for _ in range(20_000))
    content = next(photo for photo in photos if photo.endswith(b"\xff\x00\xff\xd9"))
    assert whole_photo.judge(content[:-2]).state == State.UNENDED
    assert whole_photo.judge(content[:-2] + bytes(50)).state == State.UNENDED
    assert whole_photo.judge(content[:-3]).state == State.CUT
