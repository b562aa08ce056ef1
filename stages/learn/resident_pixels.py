"""The pixel cache in a GPU's memory: batches are cut, mirrored and brightened there, and little goes over the bus.

With one photo after the other cut out by the CPU, making batches takes as long as a small model's step once that is a CUDA
graph. What is drawn for a batch is what stages/learn/augment.py draws, and the pixels are the same, bit by bit: whether there is
room on the GPU, which other programs have a say in, has none in what is learnt.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stages.data.fold_data import FoldData, Pixels
from stages.learn import augment
from stages.learn.augment import Windows
from stages.params.schema import Params

ROOM = 0.1  # share of the GPU's free memory that the photos may take: the rest is the training's
SLICE = 512  # photos brought there at a time


@dataclass(frozen=True)
class Resident:
    """A pixel cache, as any other to whoever reads it, and all of it on a device."""

    source: Pixels
    tensor: Tensor  # uint8 [N, H + 2m, W + 2m, 3]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray:
        return self.source[which]


def placed(params: Params, data: FoldData, device: torch.device) -> FoldData:
    """The data, its photos on the device where that is a GPU with room and nothing but crop, flip and brightness changes them.

    Photos that are decoded on the fly are left to the CPU, as is what albumentations does.
    """
    source = data.pixels
    if device.type != "cuda" or params.augment.pipeline not in ("none", "light") or not isinstance(source, np.ndarray):
        return data
    if source.nbytes > ROOM * torch.cuda.mem_get_info(device)[0]:
        return data
    return replace(data, pixels=brought(source, device))


def brought(source: np.ndarray, device: torch.device) -> Resident:
    """All photos of a cache uint8 [N, H + 2m, W + 2m, 3] on a device."""
    tensor = torch.empty(source.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(source), SLICE):
        tensor[start : start + SLICE] = torch.from_numpy(np.array(source[start : start + SLICE]))
    return Resident(source, tensor)


def augmented(pixels: Resident, which: np.ndarray, params: Params, rng: np.random.Generator) -> Tensor:
    """Training photos uint8 [n, H, W, 3] of the positions `which` [n], as `augment.make(params)` makes them."""
    photos = _cut(pixels.tensor, which, augment.draw_windows(len(which), params, rng), params)
    return _brightened(photos, rng) if params.augment.pipeline == "light" else photos


def centres(pixels: Resident, batches: list[np.ndarray], margin: int) -> Iterator[Tensor]:
    """Centre crops uint8 [n, H, W, 3] of each batch's photos."""
    for which in batches:
        yield augment.centre(pixels.tensor[_sent(which, pixels.tensor.device)], margin)


def _cut(photos: Tensor, which: np.ndarray, windows: Windows, params: Params) -> Tensor:
    height, width, pad = params.image.height, params.image.width, params.augment.pad
    device = photos.device
    # One journey for all that was drawn.
    place, top, left, flip = _sent(np.stack([which, windows.tops, windows.lefts, windows.flips]), device)
    along = torch.arange(width, device=device)
    rows = top[:, None] - pad + torch.arange(height, device=device)
    columns = left[:, None] - pad + torch.where(flip[:, None] > 0, width - 1 - along, along)
    if not pad:
        return photos[place[:, None, None], rows[:, :, None], columns[:, None, :]]
    inside = ((rows >= 0) & (rows < photos.shape[1]))[:, :, None] & ((columns >= 0) & (columns < photos.shape[2]))[
        :, None
    ]
    rows, columns = rows.clamp(0, photos.shape[1] - 1), columns.clamp(0, photos.shape[2] - 1)
    return photos[place[:, None, None], rows[:, :, None], columns[:, None, :]] * inside[..., None]


def _brightened(photos: Tensor, rng: np.random.Generator) -> Tensor:
    """`augment.brighten`, by what it makes of each of the 256 values a photo can have."""
    tables = np.tile(np.arange(256, dtype=np.uint8), (len(photos), 1))
    augment.brighten(tables, rng)
    return _sent(tables, photos.device).gather(1, photos.flatten(1).long()).view_as(photos)


def _sent(values: np.ndarray, device: torch.device) -> Tensor:
    """Values on the device, from page-locked memory, for which the CPU need not wait."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
