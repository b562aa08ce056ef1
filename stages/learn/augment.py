"""Changes to training photos: random crop and flip in one step for the whole batch, then an albumentations pipeline."""

import difflib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from stages.errors import UserError
from stages.params import Params

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def make(params: Params) -> Augment:
    """A function of cached photos uint8 [N, H + 2m, W + 2m, 3] and a generator to training photos uint8 [N, H, W, 3].

    Raises UserError for a transform or an argument that albumentations does not know, before any photo is read.
    """
    transform = pipeline(params)

    def augment(photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = crop_and_flip(photos, params, rng)
        if transform is not None:
            # Seeded per batch, so that what a photo gets depends on its epoch and step alone.
            transform.set_random_seed(int(rng.integers(2**31)))
            for position in range(len(out)):
                out[position] = transform(image=out[position])["image"]
        return out

    return augment


def crop_and_flip(photos: np.ndarray, params: Params, rng: np.random.Generator) -> np.ndarray:
    """A random window of the training size from each photo, mirrored with probability augment.hflip."""
    height, width, margin = params.image.height, params.image.width, params.image.margin
    tops, lefts = rng.integers(0, 2 * margin + 1, (2, len(photos)))
    flips = rng.random(len(photos)) < params.augment.hflip
    out = np.empty((len(photos), height, width, 3), np.uint8)
    for position, (top, left, flip) in enumerate(zip(tops.tolist(), lefts.tolist(), flips.tolist(), strict=True)):
        window = photos[position, top : top + height, left : left + width]
        out[position] = window[:, ::-1] if flip else window
    return out


def centre(photos: np.ndarray, margin: int) -> np.ndarray:
    """The centre window of cached photos [N, H + 2m, W + 2m, 3]: what evaluation sees, [N, H, W, 3]."""
    return photos[:, margin : photos.shape[1] - margin, margin : photos.shape[2] - margin]


def pipeline(params: Params) -> Any | None:
    """The albumentations pipeline named in params, or None for `none`."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
    import albumentations as A

    choice = params.augment.pipeline
    if choice == "none":
        return None
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
        "light": [brightness],
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
        by_lower = {known.lower(): known for known in dir(albumentations)}
        close = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=1)]
        raise UserError(
            f"{where}: albumentations has no `{name}`; {f'did you mean `{close[0]}`?' if close else 'check the name'}"
        )
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # albumentations only warns of unknown arguments
            return kind(**(arguments or {}))
    except (TypeError, ValueError, UserWarning) as error:
        raise UserError(f"{where}: {name} refuses its arguments ({str(error).splitlines()[0]}); mend them") from None
