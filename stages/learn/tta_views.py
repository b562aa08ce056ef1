"""Test-time views: pure functions of a batch of cached photos, on whatever device it lies; one call for the whole batch.

A view takes photos [N, H + 2m, W + 2m, 3], uint8 or float in 0..255, with the margin m that the cache has around what the
model sees, and gives [N, H, W, 3] in 0..255. Shifts and crops show pixels from the margin; rotations and scales draw on
it as well, and where even the margin ends they repeat its edge.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.params import tta_view_names

View = Callable[[Tensor, int], Tensor]


def make(name: str) -> View:
    """The view of a name such as `hflip`, `shift_left_2` or `rotate_5`. Raises ValueError for a name that is none."""
    kind, amount = tta_view_names.split(name)
    if kind == "identity":
        return _window(0, 0)
    if kind == "hflip":
        return lambda photos, margin: _window(0, 0)(photos, margin).flip(2)
    if kind in tta_view_names.SHIFTS:
        return shift(*_WAYS[kind], None if amount is None else int(amount))
    if kind in tta_view_names.CROPS:
        # A window that lies further up or left shows the photo further down or right.
        return shift(1 if "top" in kind else -1, 1 if "left" in kind else -1, None)
    assert amount is not None
    return _WITH_AMOUNT[kind](amount)


def shift(down: int, right: int, pixels: int | None) -> View:
    """The photo moved by `pixels` (the whole margin if None) in a direction, each of -1, 0, 1: down, and right."""

    def view(photos: Tensor, margin: int) -> Tensor:
        by = margin if pixels is None else pixels
        if by > margin:
            raise ValueError(f"a shift of {by} px needs a margin as wide, not {margin} px")
        return _window(down * by, right * by)(photos, margin)

    return view


def scale(factor: float) -> View:
    """The photo enlarged by `factor` about its centre (below 1: shrunk), bilinear."""
    return lambda photos, margin: _affine(photos, margin, 1 / factor, 0.0)


def rotate(degrees: float) -> View:
    """The photo turned counter-clockwise about its centre, bilinear."""
    return lambda photos, margin: _affine(photos, margin, 1.0, math.radians(degrees))


def brightness(factor: float) -> View:
    """Every value times `factor`, clamped to 0..255."""
    return lambda photos, margin: (_window(0, 0)(photos, margin).float() * factor).clamp(0, 255)


_WAYS = {"shift_up": (-1, 0), "shift_down": (1, 0), "shift_left": (0, -1), "shift_right": (0, 1)}
_WITH_AMOUNT: dict[str, Callable[[float], View]] = {"scale": scale, "rotate": rotate, "brightness": brightness}


def _window(down: int, right: int) -> View:
    def view(photos: Tensor, margin: int) -> Tensor:
        height, width = photos.shape[1] - 2 * margin, photos.shape[2] - 2 * margin
        return photos[:, margin - down :, margin - right :][:, :height, :width]

    return view


def _affine(photos: Tensor, margin: int, zoom: float, angle: float) -> Tensor:
    """Sample the whole cached photo where the seen window's pixels, turned by `angle` and spread by `zoom`, fall."""
    count, full_height, full_width, _ = photos.shape
    ys = torch.arange(full_height - 2 * margin, device=photos.device) - (full_height - 2 * margin - 1) / 2
    xs = torch.arange(full_width - 2 * margin, device=photos.device) - (full_width - 2 * margin - 1) / 2
    y, x = torch.meshgrid(ys * zoom, xs * zoom, indexing="ij")
    from_x = math.cos(angle) * x - math.sin(angle) * y
    from_y = math.sin(angle) * x + math.cos(angle) * y
    # grid_sample counts from -1 at the photo's left edge to 1 at its right edge (align_corners=False).
    grid = torch.stack([from_x * 2 / full_width, from_y * 2 / full_height], dim=-1).expand(count, -1, -1, -1)
    channels_first = photos.permute(0, 3, 1, 2).float()
    sampled = F.grid_sample(channels_first, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.permute(0, 2, 3, 1)
