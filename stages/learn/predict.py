"""Logits of photos: what validation and the submission share."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from stages.base import gpu
from stages.base.talk import SILENT, Talk
from stages.data.fold_data import Pixels
from stages.data.task_and_classes import Task
from stages.judge import metrics
from stages.learn import loader, malloc, merged_batch_norm, model, same_task, tta_views
from stages.learn.model import Architecture, Classifier, to_numpy
from stages.params.schema import Params

BATCH = 256  # most photos that are predicted at a time
CPU_PIXELS = 2**19  # most pixels of them on a CPU
MODEL_BYTES = 2**29  # weights of models that predict together
AT_ONCE = 2**22  # probabilities computed at a time: 32 MB each of some arrays


def accelerator(params: Params) -> Accelerator:
    """The device and the precision to compute in. (`no` would be false in YAML, so params.yaml says none.)

    The heap of this process is set for it (stages/learn/malloc.py). Of several processes (torchrun) each has a GPU of its
    own; without GPUs they share the CPU.
    """
    malloc.keep_freed()
    precision = params.train.mixed_precision
    return Accelerator(mixed_precision="no" if precision == "none" else precision, cpu=_on_cpu())


def _on_cpu() -> bool:
    """Whether accelerate must be told to take the CPU: by itself it takes a GPU that is there but broken, and of processes that
    have no GPUs each trains all by itself.
    """
    if gpu.usable():
        return False
    other = torch.accelerator.current_accelerator()
    together = "LOCAL_RANK" in os.environ and (other is None or other.type in ("cuda", "mps"))
    return together or torch.cuda.is_available()


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. Only a copy from page-locked memory goes on by itself: torch keeps that memory until it is done,
    and other memory, where the device is Apple's, not (pytorch's issue 189690: photos of other batches, and no error).
    """
    return tensor.to(device, non_blocking=tensor.is_pinned())


def normalise(photos: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] to normalised float [N, 3, H, W] in channels_last, on the device of `mean`.

    (v - mean) / std, as one multiplication and addition over whole rows of pixels: on a CPU ten times faster than with
    three channels as the innermost loop.
    """
    count, height, width, channels = photos.shape
    factor = (1 / std).flatten().repeat(width)
    shift = (-mean / std).flatten().repeat(width)
    rows = moved(photos, mean.device).float().reshape(count, height, width * channels)
    return torch.addcmul(shift, rows, factor).view(count, height, width, channels).permute(0, 3, 1, 2)


def raw_outputs(
    net: Classifier, batches: Iterable[Tensor], mean: Tensor, std: Tensor, accelerator: Accelerator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Raw outputs [N, outputs] and the regression's [N] (or None) of a model in eval mode, float32."""
    return _outputs(net, batches, mean, std, accelerator.autocast)


@torch.inference_mode()
def _outputs(
    net: Classifier,
    batches: Iterable[Tensor],
    mean: Tensor,
    std: Tensor,
    autocast: Callable[[], AbstractContextManager[object]],
) -> tuple[np.ndarray, np.ndarray | None]:
    outputs, regressions = [], []
    for photos in batches:
        with autocast():
            raw, regression = net(normalise(photos, mean, std))
        outputs.append(to_numpy(raw))
        if regression is not None:
            regressions.append(to_numpy(regression))
    return np.concatenate(outputs), np.concatenate(regressions) if regressions else None


def log_probabilities(raw: np.ndarray, shape: Architecture) -> np.ndarray:
    """Log probabilities of the classes, float32 [N, C], from a model's raw outputs [N, outputs].

    Computed in float64, some rows at a time, so that memory stays near the result's own.
    """
    found = np.empty((len(raw), shape.task.classes), np.float32)
    rows = max(1, AT_ONCE // shape.task.classes)
    for start in range(0, len(raw), rows):
        some = slice(start, start + rows)
        found[some] = metrics.joint_log_probabilities(raw[some] * shape.scale, shape.factors)
    return found


def batch_size(params: Params, device: torch.device) -> int:
    """Photos that are predicted at a time.

    On a CPU fewer where photos are larger: from some megabytes an activation on, every layer asks the system for new memory
    (measured before memory was kept: efficientnet_b0 at 128x96 px 161 photos/s by 32, 97 by 256).
    """
    if device.type != "cpu":
        return BATCH
    return min(BATCH, max(8, CPU_PIXELS // (params.image.height * params.image.width)))


@dataclass(frozen=True)
class Asked:
    """What is to be predicted: cached photos under each view, as classes of a task."""

    task: Task
    pixels: Pixels
    positions: np.ndarray  # [n] in `pixels`
    views: tuple[str, ...]  # names


def of_views(
    net: Classifier, asked: Asked, params: Params, batch: int | None = None, device: torch.device | None = None
) -> np.ndarray:
    """Probabilities float32 [views, n, C] of a model in eval mode.

    batch: photos at a time; `batch_size` if None. device: compute there, in full precision, instead of where and how params
    ask for.
    """
    check(net, asked.task, params, "the model")
    parts = [part for _, part in _together([net], asked, params, batch, device)]
    return np.concatenate([part[0] for part in parts], axis=1)


def of_weights(
    weights: Sequence[Path], asked: Asked, params: Params, talk: Talk = SILENT
) -> Iterator[tuple[int, slice, np.ndarray]]:
    """Batch by batch the number of a weights file, which of the positions are meant, and probabilities float32 [views, n, C].

    Every photo is read once, and each of its views made once, for all the models that fit MODEL_BYTES together.
    """
    first = 0
    for nets in _groups(weights, asked, params):
        for places, found in _together(nets, asked, params, talk=talk):
            for number, part in enumerate(found, first):
                yield number, places, part
        first += len(nets)


def count(models: int, photos: int, params: Params) -> int:
    """How many parts `of_weights` gives."""
    return models * len(loader.split(np.arange(photos), batch_size(params, accelerator(params).device)))


def check(net: Classifier, task: Task, params: Params, what: str) -> None:
    """Raise UserError for a model (`what`) of other classes, or of photos of another size or crop, than those asked for."""
    same_task.check(net.architecture.task, task, what)
    model.check_image(net.architecture, params, what)


def _groups(weights: Sequence[Path], asked: Asked, params: Params) -> Iterator[list[Classifier]]:
    """Models in order, of one architecture, as many at a time as fit MODEL_BYTES (one at least), ready to predict."""
    group: list[Classifier] = []
    size = 0
    for path in weights:
        net = model.load(path, params.plugins)
        check(net, asked.task, params, str(path))
        own = sum(value.nbytes for value in net.state_dict().values())
        if group and (size + own > MODEL_BYTES or net.architecture != group[0].architecture):
            yield group
            group, size = [], 0
        group.append(net)
        size += own
    if group:
        yield group


def _together(
    nets: Sequence[Classifier],
    asked: Asked,
    params: Params,
    batch: int | None = None,
    device: torch.device | None = None,
    talk: Talk = SILENT,
) -> Iterator[tuple[slice, np.ndarray]]:
    """`of_ready` of models as they were loaded."""
    chosen = accelerator(params).device if device is None else device
    return of_ready(ready(nets, chosen, talk), asked, params, batch, device)


def ready(nets: Sequence[Classifier], device: torch.device, talk: Talk = SILENT) -> list[Classifier]:
    """Models in eval mode as they predict fastest: batch norms merged into convolutions, on the device."""
    return [model.channels_last(merged_batch_norm.merged(net, talk), device) for net in nets]


@torch.inference_mode()
def of_ready(
    nets: Sequence[Classifier],
    asked: Asked,
    params: Params,
    batch: int | None = None,
    device: torch.device | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Batch by batch the places in the positions and probabilities float32 [models, views, n, C], of `ready` models of one
    architecture.
    """
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    if device is None:
        chosen = accelerator(params)
        device, autocast = chosen.device, chosen.autocast
    shape = nets[0].architecture
    mean, std = (tensor.to(device) for tensor in model.normalisation(nets[0]))
    made = [tta_views.make(name) for name in asked.views]
    start = 0
    for photos in loader.evaluation(asked.pixels, asked.positions, 0, batch or batch_size(params, device)):
        there, raws = moved(photos, device), []
        with autocast():
            for view in made:
                seen = normalise(view(there, params.image.margin), mean, std)
                raws += [net(seen)[0] for net in nets]
        logits = to_numpy(torch.stack(raws)) * shape.scale
        found = np.exp(metrics.joint_log_probabilities(logits, shape.factors)).astype(np.float32)
        yield (
            slice(start, start := start + len(photos)),
            found.reshape(len(made), len(nets), *found.shape[1:]).swapaxes(0, 1),
        )
