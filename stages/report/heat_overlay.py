"""A heat map over its photo, as a picture."""

from pathlib import Path

import numpy as np
from PIL import Image

from stages.base.files import replacing
from stages.report.colours import HEAT

STRONGEST = 0.8  # share of colour where the heat is 1: the photo is still seen
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
STEPS = 6  # colours that a legend names


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the photo in grey, coloured by heat float [H, W] in 0..1: nothing where it is 0, HEAT's last where 1.

    pixels: uint8, as large as `heat` or with a margin around it, which is left out.
    """
    down, across = ((large - own) // 2 for large, own in zip(pixels.shape, heat.shape, strict=False))
    seen = pixels[down : down + heat.shape[0], across : across + heat.shape[1]]
    share = np.clip(heat, 0, 1)[..., None]
    grey = (seen @ GREY)[..., None]
    return np.round(grey + STRONGEST * share * (_ramp(share[..., 0]) - grey)).astype(np.uint8)


def write(path: Path, pixels: np.ndarray, heat: np.ndarray) -> None:
    """Write the overlay as a PNG file."""
    with replacing(path) as temporary:
        Image.fromarray(overlay(pixels, heat)).save(temporary, "PNG")


def legend() -> list[str]:
    """Colours as #rrggbb of heat from 0 to 1, over a middle grey."""
    share = np.linspace(0, 1, STEPS)[None]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in overlay(np.full((1, STEPS, 3), 128), share)[0]]


def _ramp(share: np.ndarray) -> np.ndarray:
    """Colours [..., 3] in 0..255, between those of HEAT."""
    stops = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in HEAT])
    return np.stack([np.interp(share, np.linspace(0, 1, len(stops)), channel) for channel in stops.T], axis=-1)
