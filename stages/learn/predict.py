"""Logits of photos: what validation and the submission share."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from stages.data.fold import Pixels
from stages.judge import metrics
from stages.learn import loader, model, views
from stages.learn.model import Classifier, to_numpy
from stages.params import Params

BATCH = 256


def accelerator(params: Params) -> Accelerator:
    """The device and the precision to compute in. (`no` would be false in YAML, so params.yaml says none.)"""
    precision = params.train.mixed_precision
    return Accelerator(mixed_precision="no" if precision == "none" else precision)


def normalise(photos: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] to normalised float [N, 3, H, W] in channels_last, on the device of `mean`.

    (v - mean) / std, as one multiplication and addition over whole rows of pixels: on a CPU ten times faster than with
    three channels as the innermost loop.
    """
    count, height, width, channels = photos.shape
    factor = (1 / std).flatten().repeat(width)
    shift = (-mean / std).flatten().repeat(width)
    rows = photos.to(mean.device, non_blocking=True).float().reshape(count, height, width * channels)
    return torch.addcmul(shift, rows, factor).view(count, height, width, channels).permute(0, 3, 1, 2)


def raw_outputs(
    net: Classifier, batches: Iterable[Tensor], mean: Tensor, std: Tensor, accelerator: Accelerator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Raw outputs [N, C] and age outputs [N] (or None) of a model in eval mode, float32."""
    return _outputs(net, batches, mean, std, accelerator.autocast)


@torch.inference_mode()
def _outputs(
    net: Classifier,
    batches: Iterable[Tensor],
    mean: Tensor,
    std: Tensor,
    autocast: Callable[[], AbstractContextManager[object]],
) -> tuple[np.ndarray, np.ndarray | None]:
    outputs, ages = [], []
    for photos in batches:
        with autocast():
            raw, age = net(normalise(photos, mean, std))
        outputs.append(to_numpy(raw))
        if age is not None:
            ages.append(to_numpy(age))
    return np.concatenate(outputs), np.concatenate(ages) if ages else None


def of_views(
    net: Classifier,
    pixels: Pixels,
    positions: np.ndarray,
    names: tuple[str, ...],
    params: Params,
    batch: int = BATCH,
    device: torch.device | None = None,
) -> Iterator[np.ndarray]:
    """Probabilities float32 [n, 18] of a model in eval mode under each view in turn, for the cached photos at `positions`.

    device: compute there, in full precision, instead of where and how params ask for.
    """
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    if device is None:
        chosen = accelerator(params)
        device, autocast = chosen.device, chosen.autocast
    net = model.channels_last(net, device)
    mean, std = (tensor.to(device) for tensor in model.normalisation(net))
    for name in names:
        view = views.make(name)
        batches = (
            view(photos.to(device, non_blocking=True), params.image.margin)
            for photos in loader.evaluation(pixels, positions, 0, batch)
        )
        raw, _ = _outputs(net, batches, mean, std, autocast)
        logits = raw * net.architecture.scale
        yield np.exp(metrics.joint_log_probabilities(logits, net.architecture.targets)).astype(np.float32)
