"""New photos, of whoever has them: pixels exactly as prepare's cache has those that were learnt from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.base.errors import UserError
from stages.data import decode
from stages.data.decode import BadPhoto
from stages.params.schema import Params

MOST_BYTES = 200_000_000  # of a photo's file: no photo of data.max_pixels has more


class Unreadable(UserError):
    """Why a photo (`name`) has no answer: `problem`, and `mend`, how to get one."""

    def __init__(self, name: str, problem: str, mend: str) -> None:
        super().__init__(f"{name}: {problem}; {mend}")
        self.name, self.problem, self.mend = name, problem, mend


def read(source: Path | bytes, name: str, params: Params, seen: Callable[[bytes], None] | None = None) -> np.ndarray:
    """A photo's file, or its bytes, as uint8 [H + 2m, W + 2m, 3]. `name`: what an error calls it.

    Upright by its EXIF, cropped to image.face and resized as in training. seen: takes the bytes of what can be read. Raises
    Unreadable.
    """
    height, width = params.cache_size
    try:
        content = source if isinstance(source, bytes) else _content(source)
        found = decode.decode_content(content, height, width, params.image.face, params.data.max_pixels).pixels
    except BadPhoto as fault:
        # Whoever has a bundle has no params.yaml.
        mend = fault.mend.removesuffix(", or raise data.max_pixels")
        raise Unreadable(name, fault.problem, mend) from None
    if seen:
        seen(content)
    return found


def _content(path: Path) -> bytes:
    """A photo file's bytes. Raises BadPhoto; a pipe or a device, which may never end, is not read."""
    try:
        if path.is_dir():
            raise BadPhoto("is a folder, not a photo", "name a photo's file")
        if path.exists() and not path.is_file():
            raise BadPhoto("is no file", "name a photo's file")
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise BadPhoto(f"has more than {MOST_BYTES // 1_000_000} MB", "shrink it")
        return decode.read(path)
    except (OSError, ValueError) as error:  # a name that is too long, or has a zero byte
        raise BadPhoto(f"cannot be read ({getattr(error, 'strerror', None) or error})", "check its name") from None
