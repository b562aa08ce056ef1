"""A photo file to pixels: uint8 RGB at the size of the pixel cache.

OpenCV decodes (fastest of the libraries at hand, and JPEG at a reduced size); Pillow reads the header first, so that a
bomb, a cut-off file or text named .jpg is refused with its own message before memory is spent on it.
"""

import io
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.data import whole_photo
from stages.data.whole_photo import State

cv2.setNumThreads(0)  # photos are decoded side by side; threads inside one photo only get in the way


@dataclass(frozen=True)
class Photo:
    """A decoded photo: pixels uint8 [height, width, 3] RGB, and the file's own size, px.

    unended: the file lacks its end marker, and nothing else.
    """

    pixels: np.ndarray
    source_height: int
    source_width: int
    unended: bool = False


AT_ONCE = 2**18  # pixels that are laid on white at a time
CUT = ("is cut off before its end", "replace it by the original")
DAMAGED = ("is damaged: its header can be read but not its pixels", "replace it by the original")


class BadPhoto(Exception):
    """Why a photo cannot be used (`problem`) and how to mend it (`mend`)."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}; {mend}")
        self.problem, self.mend = problem, mend


def decode(path: Path, height: int, width: int, face: float = 1.0, max_pixels: int = 50_000_000) -> Photo:
    """`read` and `decode_content` in one. Raises BadPhoto."""
    return decode_content(read(path), height, width, face, max_pixels)


def read(path: Path) -> bytes:
    """A photo file's bytes. Raises BadPhoto."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPhoto(f"cannot be read ({error.strerror})", "check that the file is there and readable") from None


def decode_content(content: bytes, height: int, width: int, face: float = 1.0, max_pixels: int = 50_000_000) -> Photo:
    """Turn a photo upright (EXIF), crop its centre to the share `face`, and resize it to height x width px.

    Grey, CMYK, palette, 16-bit and transparent photos become 8-bit RGB; transparency is laid on white.
    Raises BadPhoto.
    """
    if not content:
        raise BadPhoto("is empty (zero bytes)", "replace it by the original")
    kind, mode, source_height, source_width = _header(content, max_pixels)
    judged = whole_photo.judge(content)
    if judged.state == State.CUT:
        raise BadPhoto(*CUT)
    if judged.state == State.DAMAGED:
        raise BadPhoto(*DAMAGED)
    pixels = _decode_opencv(judged.content, kind, mode, min(source_height / height, source_width / width) * face)
    pixels = _centre(pixels, face)
    return Photo(resized(pixels, height, width), source_height, source_width, judged.state == State.UNENDED)


def decode_checked(file: Path, check: int, out: np.ndarray, face: float = 1.0, max_pixels: int = 50_000_000) -> bool:
    """`decode` into `out`, uint8 [height, width, 3], a photo whose pixels had the CRC-32 `check` before; whether they still do.

    Only where they do not at once is the file searched for faults, which takes Python's lock for longer than all the rest. A
    photo that cannot be read is black.
    """
    try:
        content = read(file)
        if _decode_jpeg(content, out, face, max_pixels) and zlib.crc32(out.data) == check:
            return True
        out[...] = decode_content(content, out.shape[0], out.shape[1], face, max_pixels).pixels
    except BadPhoto:
        out[...] = 0
    return zlib.crc32(out.data) == check


def _decode_jpeg(content: bytes, out: np.ndarray, face: float, max_pixels: int) -> bool:
    """`decode_content` without the search for faults; False, and anything in `out`, where it is no JPEG or does not decode."""
    size = whole_photo.jpeg_size(content)
    if size is None or size[0] * size[1] > max_pixels:
        return False
    height, width = out.shape[:2]
    try:
        pixels = _decode_opencv(content, "JPEG", "", min(size[0] / height, size[1] / width) * face)
    except BadPhoto:
        return False
    resized(_centre(pixels, face), height, width, out)
    return True


def _header(content: bytes, max_pixels: int) -> tuple[str, str, int, int]:
    """Format, colour mode and size, px, read without decoding."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs; the limit below refuses them
            with Image.open(io.BytesIO(content)) as image:
                kind, mode, (width, height) = image.format or "", image.mode, image.size
                if "transparency" in image.info:
                    mode = f"{mode} with transparency"
    except Image.DecompressionBombError:
        raise BadPhoto(f"has more than {max_pixels} pixels", "shrink it, or raise data.max_pixels") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, OverflowError):
        if whole_photo.header_is_cut(content):
            raise BadPhoto(*CUT) from None
        raise BadPhoto("is not a photo that can be read", "replace it by a JPEG or PNG") from None
    if kind not in ("JPEG", "PNG", "MPO"):
        raise BadPhoto(f"is {kind}, not JPEG or PNG", "convert it")
    if width * height > max_pixels:
        raise BadPhoto(f"is {width}x{height}, more than {max_pixels} pixels", "shrink it, or raise data.max_pixels")
    return kind, mode, height, width


def _decode_opencv(content: bytes, kind: str, mode: str, shrink: float) -> np.ndarray:
    buffer = np.frombuffer(content, np.uint8)
    transparent = "transparency" in mode or mode in ("RGBA", "LA", "PA")
    if kind == "PNG" and transparent and not mode.startswith("I"):  # Pillow clips 16-bit grey; OpenCV scales it
        try:
            return _on_white(content)
        except Exception:  # Pillow raises many kinds for damaged files
            raise BadPhoto(*DAMAGED) from None
    flag = cv2.IMREAD_COLOR if kind == "PNG" else _jpeg_flag(shrink)
    try:
        decoded = cv2.imdecode(buffer, flag)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise BadPhoto(*DAMAGED)
    return decoded if flag == cv2.IMREAD_COLOR_RGB else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _on_white(content: bytes) -> np.ndarray:
    """A transparent photo upright and laid on white, uint8 [height, width, 3].

    Some rows at a time: worked out as a whole, a file of 6 kB that swells to 50 megapixels would take 1.8 GB.
    """
    with Image.open(io.BytesIO(content)) as image:
        ImageOps.exif_transpose(image, in_place=True)
        width, height = image.size
        found = np.empty((height, width, 3), np.uint8)
        step = max(1, AT_ONCE // width)
        for top in range(0, height, step):
            bottom = min(top + step, height)
            pixels = np.asarray(image.crop((0, top, width, bottom)).convert("RGBA"))
            alpha = pixels[..., 3:].astype(np.float32) / 255
            found[top:bottom] = (pixels[..., :3] * alpha + 255 * (1 - alpha)).round()
    return found


def _jpeg_flag(shrink: float) -> int:
    """How a JPEG is decoded that becomes `shrink` times smaller: as RGB, or reduced as BGR.

    It decodes to 1/2, 1/4 or 1/8 for a fraction of the time. Twice the wanted size is kept, so that the final area average
    still sees every wanted pixel from four or more.
    """
    for factor, reduced in (
        (8, cv2.IMREAD_REDUCED_COLOR_8),
        (4, cv2.IMREAD_REDUCED_COLOR_4),
        (2, cv2.IMREAD_REDUCED_COLOR_2),
    ):
        if shrink >= 2 * factor:
            return reduced
    return cv2.IMREAD_COLOR_RGB


def _centre(pixels: np.ndarray, face: float) -> np.ndarray:
    height, width = (max(1, round(size * face)) for size in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def resized(pixels: np.ndarray, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    """Area averages where photos shrink, bilinear where they grow; where they do one each way, first what shrinks.

    OpenCV averages areas only where neither side grows: else a side that shrinks would be sampled and alias. out: where the
    pixels go, uint8 [height, width, 3], contiguous; else into a new array.
    """
    if pixels.shape[:2] == (height, width):
        if out is None:
            return np.ascontiguousarray(pixels)
        out[...] = pixels
        return out
    shrunk = min(pixels.shape[0], height), min(pixels.shape[1], width)
    if shrunk == (height, width):
        return cv2.resize(pixels, (width, height), out, interpolation=cv2.INTER_AREA)
    if pixels.shape[:2] != shrunk:
        pixels = cv2.resize(pixels, shrunk[::-1], interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (width, height), out, interpolation=cv2.INTER_LINEAR)
