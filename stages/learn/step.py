"""One step of the optimizer on one batch, also where the batch does not fit the device's memory whole."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from stages.base.errors import UserError
from stages.learn import captured_step, compiling, loader, optimizer
from stages.learn.captured_step import Graph
from stages.learn.device_memory import in_one_line, out_of_memory, release
from stages.learn.learner import Learner
from stages.learn.loader import Batch
from stages.learn.objective import Objective
from stages.learn.predict import moved, normalise


def step(
    learner: Learner, goal: Objective, batch: Batch, lr: float, seed: int, backbone: float = 1.0
) -> dict[str, Tensor]:
    """One step of the optimizer on one batch, at learning rate `lr`, in the backbone at the share `backbone` of it; the loss
    parts it had before the step.

    Where memory runs out: with train.auto_batch the batch is cut in two, again and again, and the gradients of its pieces
    are added up, in this step and all later ones; without it, UserError names the batch size that fits. Batch norm and
    losses that look at a whole batch (f1, weighted_ce) then see pieces.
    """
    optimizer.set_lr(learner.optimizer, lr, backbone)
    with in_one_line("the photos of a batch do not fit the device; lower train.batch_size or take smaller photos"):
        mixed = on_device(learner, batch, seed)
    return learn(learner, goal, mixed, seed)


def learn(learner: Learner, goal: Objective, mixed: "Mixed", seed: int) -> dict[str, Tensor]:
    """`step` at the learning rate that the optimizer has, on a batch that lies on the device."""
    parts = _gradients_that_fit(learner, goal, mixed, seed)
    # No second try here: some weights may have moved already.
    with in_one_line(
        "the optimizer's state does not fit beside the weights; take a smaller model or optimizer.name: sgd"
    ):
        _update(learner)
    return parts


@dataclass(frozen=True)
class Mixed:
    """A batch of n photos on the device, after mixup where that is on."""

    photos: Tensor  # float [n, 3, H, W], normalised
    labels: Tensor  # [n]
    numbers: Tensor  # [n] of the regressed axis, in its own unit
    share: float  # of each photo itself; the rest is its partner's
    partner: Tensor | None  # [n] positions
    weight: float = 1.0  # of its mean loss, beside other processes'


def on_device(learner: Learner, batch: Batch, seed: int) -> Mixed:
    """The batch on the device, normalised; with mixup or CutMix mixed with its reverse.

    Positions go through timm's Mixup in place of labels, so that any loss can be mixed: row i of its soft target holds
    the share of photo i itself. It pairs photos two by two, so an odd last photo is left out. The positions stay on the
    CPU: reading the share from a GPU would wait for all it has in hand.
    """
    device = learner.accelerator.device
    photos = normalise(batch.photos, learner.mean, learner.std)
    labels, numbers = moved(batch.labels, device), moved(batch.numbers, device)
    if learner.mixup is None:
        return Mixed(photos, labels, numbers, 1.0, None, batch.weight)
    size = len(photos) // 2 * 2
    np.random.seed(seed % 2**32)  # timm draws from numpy's global generator
    mixer: Any = learner.mixup(
        mixup_alpha=learner.params.augment.mixup,
        cutmix_alpha=learner.params.augment.cutmix,
        label_smoothing=0.0,
        num_classes=size,
    )
    mixed, soft = mixer(photos[:size].contiguous(memory_format=torch.channels_last), torch.arange(size))
    partner = torch.arange(size - 1, -1, -1, device=device)
    return Mixed(mixed, labels[:size], numbers[:size], float(soft[0, 0]), partner, batch.weight)


def _gradients(learner: Learner, goal: Objective, batch: Mixed, pieces: int, seed: int) -> dict[str, Tensor]:
    """Gradients of the mean loss, added up over pieces of the batch; returns the loss parts."""
    if pieces > 1:
        pieces = max(1, min(pieces, len(batch.photos) // _least(learner)))
    if pieces == 1 and (graph := _graph(learner, batch.photos)):
        return _captured_gradients(learner, goal, batch, graph, seed)
    learner.optimizer.zero_grad()
    _seed(learner.accelerator.device, seed)  # dropout and stochastic depth
    total: dict[str, Tensor] = {}
    for number in range(pieces):
        # Not neighbours, which often are of one class: a batch stands in the file's order.
        places = slice(number, None, pieces)
        weight = len(batch.labels[places]) / len(batch.labels)
        raw, regression = _forward(learner, batch.photos[places])
        parts = _loss_parts(goal, batch, places, raw, regression)
        learner.accelerator.backward(torch.stack(list(parts.values())).sum() * (weight * batch.weight))
        for name, part in parts.items():
            total[name] = total.get(name, 0) + part.detach() * weight
    return total


def _graph(learner: Learner, photos: Tensor) -> Graph | None:
    """The graph of a batch's size, where its steps are captured by now. Raises UserError where it cannot be recorded."""
    if learner.captured is None:
        return None
    try:
        return captured_step.of_batch(learner.captured, learner.bare, photos, partial(_forward, learner))
    except (RuntimeError, MemoryError) as error:
        # Where memory runs out, the end of the recording may fail on top of it.
        if not any(out_of_memory(one) for one in (error, error.__context__) if one):
            why = " ".join(str(error).split())[:150]
            raise UserError(
                f"params.yaml: train.cuda_graph: steps of {learner.params.model.name} cannot be recorded ({why}); set it to "
                "false, and run the same command again"
            ) from error
    # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
    _make_room(learner)
    return None


def _captured_gradients(learner: Learner, goal: Objective, batch: Mixed, graph: Graph, seed: int) -> dict[str, Tensor]:
    """`_gradients` of the whole batch by a graph of its size."""
    _seed(learner.accelerator.device, seed)  # each replay draws anew
    raw, regression = captured_step.outputs(graph, batch.photos)
    parts = _loss_parts(goal, batch, slice(None), raw, regression)
    loss = torch.stack(list(parts.values())).sum() * batch.weight
    scaler = learner.accelerator.scaler  # of fp16, whose small gradients would be 0 unscaled
    captured_step.backward(graph, loss if scaler is None else scaler.scale(loss), raw, regression)
    return {name: part.detach() for name, part in parts.items()}


def _forward(learner: Learner, photos: Tensor) -> tuple[Tensor, Tensor | None]:
    """The model's raw outputs and regression, in the precision that it trains in."""
    with learner.accelerator.autocast():
        found: tuple[Tensor, Tensor | None] = learner.model(photos)
    return found


def _loss_parts(
    goal: Objective, batch: Mixed, places: slice, raw: Tensor, regression: Tensor | None
) -> dict[str, Tensor]:
    """The parts of the loss of some of a batch's photos; of a mixed batch, for each photo and for its partner."""
    parts = goal(raw, batch.labels[places], regression, batch.numbers[places])
    if batch.partner is None:
        return parts
    partner = batch.partner[places]
    other = goal(raw, batch.labels[partner], regression, batch.numbers[partner])
    return {name: batch.share * part + (1 - batch.share) * other[name] for name, part in parts.items()}


def _seed(device: torch.device, seed: int) -> None:
    """torch.manual_seed for the generators in use alone: it asks every kind of device, a hundred times the cost."""
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _update(learner: Learner) -> None:
    """Move the weights along their gradients, and the moving average after them."""
    if learner.params.optimizer.clip_grad:
        learner.accelerator.clip_grad_norm_(learner.model.parameters(), learner.params.optimizer.clip_grad)
    with optimizer.stepping(learner.params.optimizer):
        learner.optimizer.step()
    learner.updates += 1
    if learner.ema is not None:
        learner.ema.update(learner.bare, step=learner.updates)


def _gradients_that_fit(learner: Learner, goal: Objective, batch: Mixed, seed: int) -> dict[str, Tensor]:
    """`_gradients` in as many pieces as memory demands, now and in later steps.

    A second try under fp16 needs no care of the loss scale: only the optimizer's step changes it, and the try before
    did not come that far; its gradients are dropped.
    """
    while True:
        try:
            return _gradients(learner, goal, batch, learner.parts, seed)
        except (RuntimeError, MemoryError) as error:
            compiling.explain(error)
            if not out_of_memory(error):
                raise
        # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
        _make_room(learner)
        if learner.parts >= len(batch.photos) // _least(learner):
            raise UserError(_too_large(learner))
        if not learner.params.train.auto_batch:
            raise UserError(_what_fits(learner, goal, batch, seed))
        learner.parts *= 2


def _what_fits(learner: Learner, goal: Objective, batch: Mixed, seed: int) -> str:
    """Try halves until one fits; the line that names it. No weight is changed.

    With several processes half is named untried: gradients are summed over all of them, and the others do not try.
    """
    size, processes = len(batch.photos), learner.accelerator.num_processes
    if processes > 1:
        return (
            f"train: out of memory with train.batch_size: {learner.params.train.batch_size} in {processes} processes; "
            f"set {size // 2 * processes}, and half of it again where that does not fit"
        )
    while size > _least(learner):
        size = max(_least(learner), size // 2)
        piece = Mixed(batch.photos[:size], batch.labels[:size], batch.numbers[:size], 1.0, None)
        try:
            _gradients(learner, goal, piece, 1, seed)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            fits = False
        else:
            fits = True
        _make_room(learner)
        if fits and size < loader.LEAST:
            return "train: out of memory; one photo fits: set train.auto_batch: true, which adds up the gradients of pieces"
        if fits:
            return (
                f"train: out of memory with train.batch_size: {learner.params.train.batch_size}; {size} fits: set it, or set "
                "train.auto_batch: true, which keeps the batch size and adds up the gradients of pieces"
            )
    return _too_large(learner)


def _too_large(learner: Learner) -> str:
    photos = "one photo" if _least(learner) == 1 else f"{loader.LEAST} photos"
    return f"train: out of memory with a batch of {photos}; take a smaller model or smaller photos"


def _least(learner: Learner) -> int:
    """Photos of the smallest piece: batch norm has no variance of one value, which one photo with a 1x1 feature map gives."""
    norms = any(isinstance(module, _BatchNorm) for module in learner.model.modules())
    return loader.LEAST if norms else 1


def _make_room(learner: Learner) -> None:
    if learner.captured is not None:
        learner.captured.give_up("memory ran out")
    learner.optimizer.zero_grad()
    release()
