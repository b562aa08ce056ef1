"""Logits of photos: what validation and the submission share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from stages.base.talk import SILENT, Talk
from stages.data.fold_data import Pixels
from stages.judge import metrics
from stages.learn import heap, loader, merged_batch_norm, model, tta_views
from stages.learn.model import Classifier, to_numpy
from stages.params.schema import Params

BATCH = 256  # most photos that are predicted at a time
CPU_PIXELS = 2**19  # most pixels of them on a CPU
MODEL_BYTES = 2**29  # weights of models that predict together


def accelerator(params: Params) -> Accelerator:
    """The device and the precision to compute in. (`no` would be false in YAML, so params.yaml says none.)

    The heap of this process is set for it (stages/learn/heap.py).
    """
    heap.keep_freed()
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


def batch_size(params: Params, device: torch.device) -> int:
    """Photos that are predicted at a time.

    On a CPU fewer where photos are larger: from some megabytes an activation on, every layer asks the system for new memory
    (measured before memory was kept: efficientnet_b0 at 128x96 px 161 photos/s by 32, 97 by 256).
    """
    if device.type != "cpu":
        return BATCH
    return min(BATCH, max(8, CPU_PIXELS // (params.image.height * params.image.width)))


def of_views(
    net: Classifier,
    pixels: Pixels,
    positions: np.ndarray,
    names: tuple[str, ...],
    params: Params,
    batch: int | None = None,
    device: torch.device | None = None,
) -> np.ndarray:
    """Probabilities float32 [views, n, 18] of a model in eval mode, for the cached photos at `positions`.

    batch: photos at a time; `batch_size` if None. device: compute there, in full precision, instead of where and how params
    ask for.
    """
    model.check_image(net.architecture, params, "the model")
    parts = [part for _, part in _together([net], pixels, positions, names, params, batch, device)]
    return np.concatenate([part[0] for part in parts], axis=1)


def of_weights(
    weights: Sequence[Path],
    pixels: Pixels,
    positions: np.ndarray,
    names: tuple[str, ...],
    params: Params,
    talk: Talk = SILENT,
) -> Iterator[tuple[int, slice, np.ndarray]]:
    """Batch by batch the number of a weights file, which of `positions` are meant, and probabilities float32 [views, n, 18].

    Every photo is read once, and each of its views made once, for all the models that fit MODEL_BYTES together.
    """
    first = 0
    for nets in _groups(weights, params, talk):
        for places, found in _together(nets, pixels, positions, names, params, talk=talk):
            for number, part in enumerate(found, first):
                yield number, places, part
        first += len(nets)


def count(models: int, photos: int, params: Params) -> int:
    """How many parts `of_weights` gives."""
    return models * len(loader.split(np.arange(photos), batch_size(params, accelerator(params).device)))


def _groups(weights: Sequence[Path], params: Params, talk: Talk) -> Iterator[list[Classifier]]:
    """Models in order, of one architecture, as many at a time as fit MODEL_BYTES (one at least), ready to predict."""
    group: list[Classifier] = []
    size, warned = 0, False
    for path in weights:
        net = model.load(path)
        model.check_image(net.architecture, params, str(path))
        if net.architecture.face is None and not warned:
            talk.say(model.unknown_face(str(path)))
            warned = True
        own = sum(value.nbytes for value in net.state_dict().values())
        if group and (size + own > MODEL_BYTES or net.architecture != group[0].architecture):
            yield group
            group, size = [], 0
        group.append(net)
        size += own
    if group:
        yield group


@torch.inference_mode()
def _together(
    nets: Sequence[Classifier],
    pixels: Pixels,
    positions: np.ndarray,
    names: tuple[str, ...],
    params: Params,
    batch: int | None = None,
    device: torch.device | None = None,
    talk: Talk = SILENT,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Batch by batch the places in `positions` and probabilities float32 [models, views, n, 18], of one architecture."""
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    if device is None:
        chosen = accelerator(params)
        device, autocast = chosen.device, chosen.autocast
    shape = nets[0].architecture
    ready = [model.channels_last(merged_batch_norm.folded(net, talk), device) for net in nets]
    mean, std = (tensor.to(device) for tensor in model.normalisation(nets[0]))
    made = [tta_views.make(name) for name in names]
    start = 0
    for photos in loader.evaluation(pixels, positions, 0, batch or batch_size(params, device)):
        moved, raws = photos.to(device, non_blocking=True), []
        with autocast():
            for view in made:
                seen = normalise(view(moved, params.image.margin), mean, std)
                raws += [net(seen)[0] for net in ready]
        logits = to_numpy(torch.stack(raws)) * shape.scale
        found = np.exp(metrics.joint_log_probabilities(logits, shape.targets)).astype(np.float32)
        yield (
            slice(start, start := start + len(photos)),
            found.reshape(len(made), len(ready), *found.shape[1:]).swapaxes(0, 1),
        )
