"""Photos as the page shows them: decoded within data.max_pixels, upright, small, and kept in bounded memory."""

import io
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

import cv2
import numpy as np
from PIL import Image

from stages.data import decode
from stages.data.decode import BadPhoto
from stages.data.photo_files import Places, leads_astray
from stages.review.numbered_photos import Numbered

SIZES = {"small": (224, 82), "large": (1400, 88), "whole": (4096, 90)}  # px of the longer side, JPEG quality
MEMORY = 32_000_000  # bytes of pictures that are kept
TURNED = (5, 6, 7, 8)  # EXIF orientations that lie on their side
ORIENTATION = 0x0112
AWAY = ("lies behind a link that leads out of the data", "copy the photo there")


@dataclass
class Pictures:
    """JPEGs of the photos, the latest ones kept."""

    photos: Numbered
    max_pixels: int
    memory: int = MEMORY
    places: Places = field(init=False)
    kept: "OrderedDict[tuple[str, str], bytes]" = field(default_factory=OrderedDict)
    used: int = 0
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.places = Places(self.photos.folder.resolve())

    def state(self, number: int) -> str:
        """What changes when the photo's file does. Raises BadPhoto where there is none that may be shown."""
        file = self.photos.files[number]
        if why := leads_astray(file):
            raise BadPhoto(f"{file!r}: {why}", "mend its name in the data")
        path = self.photos.folder / file
        if not self.places.hold(path):
            raise BadPhoto(*AWAY)
        try:
            found = path.stat()
        except OSError as error:
            raise BadPhoto(
                f"cannot be read ({error.strerror})", "was it moved or deleted? `maskcli prepare` looks again"
            ) from None
        return f"{number}-{found.st_mtime_ns:x}-{found.st_size:x}"

    def jpeg(self, number: int, size: str) -> bytes:
        """The photo at most as large as SIZES says. Raises BadPhoto."""
        key = (self.state(number), size)
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        picture = self._made(number, size)
        with self.lock:
            if key not in self.kept and len(picture) <= self.memory:
                self.kept[key] = picture
                self.used += len(picture)
            while self.used > self.memory:
                self.used -= len(self.kept.popitem(last=False)[1])
        return picture

    def _made(self, number: int, size: str) -> bytes:
        side, quality = SIZES[size]
        content = decode.read(self.photos.folder / self.photos.files[number])
        pixels = decode.decode_content(content, *_shape(content, side), max_pixels=self.max_pixels).pixels
        done, made = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise BadPhoto(*decode.DAMAGED)
        return np.asarray(made).tobytes()


def _shape(content: bytes, side: int) -> tuple[int, int]:
    """Height and width of the upright photo, px, at most `side` and no more than it has."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if image.getexif().get(ORIENTATION) in TURNED:
                width, height = height, width
    except Exception:  # Pillow raises many kinds; decode says what is wrong
        return side, side
    scale = min(1.0, side / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))
