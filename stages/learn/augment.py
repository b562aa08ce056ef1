"""Changes to training photos: random crop, flip, and for `light` brightness and contrast; then albumentations for the rest.

Crop, flip, brightness and contrast cost a few microseconds a photo at 64x48 px (OpenCV, straight into the batch), so that
they stay off a small model's back; albumentations, photo by photo, costs ten times that or more.
"""

import copy
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from torch import Tensor

from stages.base.errors import UserError, nearest
from stages.params.schema import Params

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Photos = TypeVar("Photos", np.ndarray, Tensor)


@dataclass(frozen=True)
class Windows:
    """Where each of n photos is cut, px from its upper left corner (black borders included), and whether it is mirrored."""

    tops: np.ndarray  # [n]
    lefts: np.ndarray  # [n]
    flips: np.ndarray  # bool [n]


def make(params: Params) -> Augment:
    """A function of cached photos uint8 [N, H + 2m, W + 2m, 3] and a generator to training photos uint8 [N, H, W, 3].

    Several threads may call it at once. Raises UserError for a transform or an argument that albumentations does not know,
    before any photo is read.
    """
    transform = pipeline(params)
    own = threading.local()  # a transform keeps its generator, so each thread has its own

    def augment(photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = crop_and_flip(photos, params, rng)
        if params.augment.pipeline == "light":
            brighten(out, rng)
        if transform is not None:
            if not hasattr(own, "transform"):
                own.transform = copy.deepcopy(transform)
            # Seeded per batch, so that what a photo gets depends on its epoch and step alone.
            own.transform.set_random_seed(int(rng.integers(2**31)))
            for position in range(len(out)):
                out[position] = own.transform(image=out[position])["image"]
        return out

    return augment


def crop_and_flip(photos: np.ndarray, params: Params, rng: np.random.Generator) -> np.ndarray:
    """A random window of the training size from each photo, mirrored with probability augment.hflip.

    Within image.margin windows show more of the photo itself, beyond it, up to augment.pad, black.
    """
    height, width, pad = params.image.height, params.image.width, params.augment.pad
    drawn = draw_windows(len(photos), params, rng)
    if pad:
        photos = np.pad(photos, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = np.empty((len(photos), height, width, 3), np.uint8)
    each = zip(drawn.tops.tolist(), drawn.lefts.tolist(), drawn.flips.tolist(), strict=True)
    for position, (top, left, flip) in enumerate(each):
        window = photos[position, top : top + height, left : left + width]
        if flip:
            cv2.flip(window, 1, out[position])
        else:
            out[position] = window
    return out


def draw_windows(count: int, params: Params, rng: np.random.Generator) -> Windows:
    """For `crop_and_flip` of so many photos."""
    tops, lefts = rng.integers(0, 2 * (params.image.margin + params.augment.pad) + 1, (2, count))
    return Windows(tops, lefts, rng.random(count) < params.augment.hflip)


def brighten(photos: np.ndarray, rng: np.random.Generator, limit: float = 0.2, share: float = 0.5) -> None:
    """Change brightness and contrast of about `share` of the photos uint8 [N, H, W, 3] in place: v * a + b, saturated.

    a in 1 +- limit, b in +- limit * 255, uniform, one pair a photo: what albumentations' RandomBrightnessContrast draws.
    """
    chosen = np.flatnonzero(rng.random(len(photos)) < share)
    gains, offsets = rng.uniform(-limit, limit, (2, len(chosen))) * [[1], [255]] + [[1], [0]]
    for position, gain, offset in zip(chosen.tolist(), gains.tolist(), offsets.tolist(), strict=True):
        cv2.addWeighted(photos[position], gain, photos[position], 0.0, offset, photos[position])


def centre(photos: Photos, margin: int) -> Photos:
    """The centre window of cached photos [N, H + 2m, W + 2m, 3]: what evaluation sees, [N, H, W, 3]."""
    return photos[:, margin : photos.shape[1] - margin, margin : photos.shape[2] - margin]


def pipeline(params: Params) -> Any | None:
    """The albumentations pipeline named in params, or None for `none` and `light`, which need none."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
    choice = params.augment.pipeline
    if choice in ("none", "light"):
        return None
    import albumentations as A

    height, width = params.image.height, params.image.width
    hole = (0.1, 0.25)
    brightness = A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5)
    holes = A.CoarseDropout(num_holes_range=(1, 2), hole_height_range=hole, hole_width_range=hole, p=0.3)
    medium = [
        A.Affine(scale=(0.9, 1.1), rotate=(-10, 10), translate_percent=(-0.05, 0.05), p=0.5),
        brightness,
        A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=20, val_shift_limit=10, p=0.3),
        holes,
    ]
    named = {
        "medium": medium,
        "strong": [*medium, A.ToGray(p=0.1), A.CLAHE(p=0.2), A.GaussianBlur(p=0.1), A.GaussNoise(p=0.2)],
    }
    transforms = (
        named[choice]
        if isinstance(choice, str)
        else [_transform(A, entry, place) for place, entry in enumerate(choice)]
    )
    made = A.Compose(transforms)
    sample = made(image=np.zeros((height, width, 3), np.uint8))["image"]
    if sample.shape != (height, width, 3) or sample.dtype != np.uint8:
        raise UserError(
            f"params.yaml: augment.pipeline: gives {sample.dtype} {sample.shape} where uint8 {(height, width, 3)} is needed; "
            "remove transforms that change size or type (normalisation is done for you)"
        )
    return made


def _transform(albumentations: Any, entry: str | dict[str, dict[str, Any]], place: int) -> Any:
    where = f"params.yaml: augment.pipeline.{place}"
    if isinstance(entry, dict) and len(entry) != 1:
        raise UserError(f"{where}: must name one transform, as `- CLAHE: {{p: 0.3}}`")
    name, arguments = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
    kind = getattr(albumentations, name, None)
    if not (isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)):
        hint = nearest(name, dir(albumentations), otherwise="check the name")
        raise UserError(f"{where}: albumentations has no `{name}`{hint}")
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # albumentations only warns of unknown arguments
            return kind(**(arguments or {}))
    except (TypeError, ValueError, UserWarning) as error:
        raise UserError(f"{where}: {name} refuses its arguments ({str(error).splitlines()[0]}); mend them") from None
