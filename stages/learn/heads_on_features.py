"""Many heads on frozen features at once: every fold, sampler and learning rate of one loss, trained as one batched model.

Training only the classifier again on frozen features, with another sampler or loss, is classifier re-training (cRT, Kang
et al. 2020, arXiv:1910.09217). The features of H heads' photos [G, B, D] meet their weights [G, D, C] in one bmm, and each
head gets its own loss by torch.func.vmap over the very functions of stages/learn/losses.py.

M heads are G = folds x samplers groups, which share their photos, times L learning rates; arrays run learning rate first.
Of a photo only the predicted class and the loss are kept, so that memory does not grow with photos x classes.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.data.fold_data import FoldData
from stages.data.task_and_classes import Task
from stages.learn import losses, lr_schedule, objective, own_losses, predict, samplers
from stages.learn.model import Architecture, to_numpy
from stages.params.model_and_training import Schedule
from stages.params.schema import Params

COSINE = Schedule(name="cosine", warmup_epochs=1.0, min_share=0.01)
BatchedLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """What is tried at once: one loss (params.loss), one head (`shape`), all folds x samplers x learning rates."""

    shape: Architecture
    samplers: tuple[str, ...]
    lrs: tuple[float, ...]
    epochs: int


@dataclass(frozen=True)
class Features:
    """Pooled backbone outputs of N photos, for each of K backbones (one for all folds, or one a fold) and V views."""

    values: Tensor  # float32 [K, V, N, D]; view 0 is what evaluation sees, view 1 its mirror image

    def of_fold(self, fold: int) -> Tensor:
        """[V, N, D] of the backbone that this fold uses."""
        return self.values[fold if len(self.values) > 1 else 0]


@dataclass(frozen=True)
class Predicted:
    """Of every photo, by the heads that never saw its group, the class and the loss; arrays [samplers, learning rates, N]."""

    classes: np.ndarray  # uint16: the most probable one
    nll: np.ndarray  # float32: -log of the true class's probability


def oof(
    params: Params, features: Features, folds: Sequence[FoldData], plan: Plan, tick: Callable[[], None]
) -> Predicted:
    """Train the heads of a plan, and predict every photo by the heads that never saw its group.

    AdamW (optimizer.weight_decay on weights only), one epoch of warm-up and a cosine, the last epoch; no epoch is selected.
    Every fold draws as many photos an epoch, the fewest of any training side cut into equal batches of at most
    train.batch_size, so that all heads step together; what is left of a permutation is left out (drop_last). Features are
    standardised by their mean and deviation over the fold's training side, as batch norm without scale and shift does
    before the linear layer of He et al. 2022 (arXiv:2111.06377, A.1). Learning rates share photos, initial weights and
    dropout of the features. `tick` is called after every step.
    """
    device = features.values.device
    stack = Stack(params, plan, features.values.shape[-1], len(folds), device)
    rows = Rows(params, features, folds, plan)
    steps, size = batches(folds, params.train.batch_size)
    counts = np.repeat(np.stack([data.class_counts for data in folds]), len(plan.samplers), axis=0)
    heads_counts = torch.from_numpy(np.tile(counts, (len(plan.lrs), 1))).to(device, torch.float64)
    for epoch in range(plan.epochs):
        goal = batched_loss(params, plan.shape.task, heads_counts, epoch / plan.epochs)
        order, views = rows.draw(epoch, steps * size)
        for step in range(steps):
            which = slice(step * size, (step + 1) * size)
            inputs, labels = rows.take(order[:, which], views[:, which])
            raw = stack.forward(inputs, training=True)
            loss = goal(raw, labels.repeat(len(plan.lrs), 1)).sum()  # each head's gradient is that of its own loss
            share = lr_schedule.share(COSINE, epoch + step / steps, plan.epochs)
            stack.step(loss, share)
            tick()
    return _predict(stack, rows, folds, plan)


def batches(folds: Sequence[FoldData], batch_size: int) -> tuple[int, int]:
    """Steps an epoch and photos a batch, the same for all folds."""
    fewest = min(len(data.train) for data in folds)
    steps = -(-fewest // batch_size)
    return steps, fewest // steps


def memory(plan: Plan, width: int, folds: int, batch: int) -> int:
    """Bytes that the heads of a plan take on features [N, width]: weights, gradients and AdamW's two averages, and eight arrays
    of the size of a batch's outputs, about what the greediest loss (f1) makes; all float32.
    """
    shape = plan.shape
    weights = width * shape.outputs if shape.head == "linear" else shape.hidden * (width + shape.outputs)
    return (16 * weights + 32 * batch * shape.outputs) * folds * len(plan.samplers) * len(plan.lrs)


def batched_loss(params: Params, task: Task, counts: Tensor, progress: float = 0.0) -> BatchedLoss:
    """params.loss of M heads at once: raw outputs [M, B, outputs] and class numbers [M, B] to losses [M].

    counts: photos per class on each head's training side, float64 [M, C]. The same as objective.make gives head by head:
    joint over the C classes, or factored as the sum over the axes with the counts of their levels.
    """
    maker, options = own_losses.chosen(params)
    levels = task.parts(np.arange(task.classes))
    axes = [
        torch.from_numpy(np.eye(size)[of_class]).to(counts) for size, of_class in zip(task.sizes, levels, strict=True)
    ]

    def joint(counts: Tensor, raw: Tensor, labels: Tensor) -> Tensor:
        return losses.made(maker, counts.clamp(min=1), progress, options)(raw, labels)

    def factored(counts: Tensor, raw: Tensor, labels: Tensor) -> Tensor:
        pieces = [
            losses.made(maker, (counts @ axis).clamp(min=1), progress, options)(raw[:, place], target)
            for axis, place, target in zip(axes, task.factors, objective.parts(labels, task.sizes), strict=True)
        ]
        return torch.stack(pieces).sum()

    one = joint if params.targets == "joint" else factored
    mapped = torch.func.vmap(one)

    def of_all(raw: Tensor, labels: Tensor) -> Tensor:
        with own_losses.explained(params, "not for many heads at once (torch.func.vmap)"):
            return mapped(counts, raw, labels)

    return of_all


class Rows:
    """The photos of the G groups: which are drawn, and their standardised features."""

    def __init__(self, params: Params, features: Features, folds: Sequence[FoldData], plan: Plan) -> None:
        self.params, self.features, self.folds, self.plan = params, features, folds, plan
        self.labels = torch.from_numpy(folds[0].train_labels.astype(np.int64)).to(features.values.device)
        self.flat = features.values.flatten(0, 2)
        moments = [_moments(features.of_fold(fold), data.train) for fold, data in enumerate(folds)]
        self.mean, self.std = (torch.stack(parts) for parts in zip(*moments, strict=True))  # each [F, D]

    def draw(self, epoch: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and views [G, photos] of one epoch, from (seed, fold, epoch, sampler) alone.

        The three samplers of the same chances each draw by themselves: they differ by the luck of the draw.
        """
        order, views = [], []
        for fold, data in enumerate(self.folds):
            for name in self.plan.samplers:
                rng = np.random.default_rng([self.params.seed, fold, epoch, samplers.SAMPLERS.index(name)])
                order.append(data.train[samplers.draw(name, data.train_labels[data.train], rng)[:photos]])
                views.append(rng.random(photos) < self.params.augment.hflip)
        return np.stack(order), np.stack(views)

    def take(self, order: np.ndarray, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """Standardised features [G, B, D] and labels [G, B]."""
        backbones, kinds, photos, _ = self.features.values.shape
        group = np.arange(len(order))[:, None] // len(self.plan.samplers)
        place = ((group if backbones > 1 else 0) * kinds + views) * photos + order
        found = self.flat[torch.from_numpy(place).to(self.flat.device)]
        fold = torch.from_numpy(group[:, 0]).to(self.flat.device)
        which = torch.from_numpy(order).to(self.labels.device)
        return (found - self.mean[fold, None]) / self.std[fold, None], self.labels[which]

    def evaluation(self, fold: int, which: np.ndarray) -> Tensor:
        """Standardised features [n, D] of photos as evaluation sees them, for the heads of a fold."""
        return (self.features.of_fold(fold)[0, torch.from_numpy(which)] - self.mean[fold]) / self.std[fold]


def _moments(features: Tensor, train: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [D] over the training side of a fold; a constant feature stays finite."""
    own = features[0, torch.from_numpy(train)]
    return own.mean(0), own.std(0, correction=0).clamp(min=1e-6)


class Stack:
    """The weights of M heads and their optimizer, built as stages/learn/model.py builds one head.

    linear: dropout, Linear. mlp: dropout, Linear(hidden), ReLU, dropout, Linear. The last layer is the cosine classifier
    where shape.cosine. All heads of a fold begin with the same weights.
    """

    def __init__(self, params: Params, plan: Plan, width: int, folds: int, device: torch.device) -> None:
        shape = self.shape = plan.shape
        widths = [width, shape.outputs] if shape.head == "linear" else [width, shape.hidden, shape.outputs]
        groups = len(plan.samplers)
        self.generator = torch.Generator(device).manual_seed(
            int(np.random.SeedSequence([params.seed, 7]).generate_state(1)[0])
        )
        self.layers: list[
            list[tuple[Tensor, Tensor | None]]
        ] = []  # [L][layers] of weight [G, in, out], bias [G, 1, out]
        initial = [_initial(widths, shape.cosine, params.seed, fold) for fold in range(folds)]
        settings = []
        for lr in plan.lrs:
            own: list[tuple[Tensor, Tensor | None]] = []
            for number in range(len(widths) - 1):
                weights, biases = zip(*(fold[number] for fold in initial), strict=True)
                weight = _parameter(weights, groups, device)
                bias = None if biases[0] is None else _parameter(biases, groups, device)
                own.append((weight, bias))
                settings.append({"params": [weight], "peak": lr, "weight_decay": params.optimizer.weight_decay})
                if bias is not None:
                    settings.append({"params": [bias], "peak": lr, "weight_decay": 0.0})
            self.layers.append(own)
        self.optimizer = torch.optim.AdamW(settings, fused=True)

    def forward(self, features: Tensor, training: bool, group: slice = slice(None)) -> Tensor:
        """Raw outputs [L * G, B, C] of features [G, B, D], for the groups of the slice `group`."""
        rate = self.shape.dropout if training else 0.0
        inputs = self._dropped(features, rate)
        found = []
        for own in self.layers:
            hidden = inputs
            for weight, bias in own[:-1]:
                assert bias is not None
                hidden = self._dropped(torch.baddbmm(bias[group], hidden, weight[group]).relu(), rate)
            weight, bias = own[-1]
            if bias is None:
                found.append(torch.bmm(F.normalize(hidden, dim=2), F.normalize(weight[group], dim=1)))
            else:
                found.append(torch.baddbmm(bias[group], hidden, weight[group]))
        return torch.cat(found)

    def step(self, loss: Tensor, share: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def _dropped(self, values: Tensor, rate: float) -> Tensor:
        if not rate:
            return values
        kept = torch.rand(values.shape, generator=self.generator, device=values.device) >= rate
        return values * kept / (1 - rate)


def _parameter(of_folds: Sequence[Tensor], groups: int, device: torch.device) -> Tensor:
    """One array [folds * groups, ...], the same for all groups of a fold."""
    return torch.stack(list(of_folds)).repeat_interleave(groups, 0).to(device).requires_grad_()


def _initial(widths: list[int], cosine: bool, seed: int, fold: int) -> list[tuple[Tensor, Tensor | None]]:
    """First weights [in, out] and biases [1, out] of one head, from the bounds that torch.nn.Linear and Cosine take."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, fold, 8]).generate_state(1)[0]))

    def uniform(bound: float, *shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator) * 2 - 1) * bound

    layers: list[tuple[Tensor, Tensor | None]] = []
    for number, (inner, outer) in enumerate(itertools.pairwise(widths)):
        if cosine and number == len(widths) - 2:
            layers.append((uniform(math.sqrt(6 / (inner + outer)), inner, outer), None))
        else:
            layers.append((uniform(inner**-0.5, inner, outer), uniform(inner**-0.5, 1, outer)))
    return layers


@torch.inference_mode()
def _predict(stack: Stack, rows: Rows, folds: Sequence[FoldData], plan: Plan) -> Predicted:
    shape, samplers_, lrs = plan.shape, len(plan.samplers), len(plan.lrs)
    labels = folds[0].labels
    classes = np.zeros((samplers_, lrs, len(labels)), np.uint16)
    nll = np.zeros((samplers_, lrs, len(labels)), np.float32)
    photos = max(1, predict.AT_ONCE // (samplers_ * lrs * shape.task.classes))
    for fold, data in enumerate(folds):
        for start in range(0, len(data.val), photos):
            which = data.val[start : start + photos]
            features = rows.evaluation(fold, which).expand(samplers_, -1, -1)
            raw = to_numpy(stack.forward(features, False, slice(fold * samplers_, (fold + 1) * samplers_)))
            logs = predict.log_probabilities(raw.reshape(-1, shape.outputs), shape)
            logs = logs.reshape(lrs, samplers_, len(which), -1).swapaxes(0, 1)
            classes[:, :, which] = logs.argmax(-1)
            nll[:, :, which] = -logs[:, :, np.arange(len(which)), labels[which]]
    return Predicted(classes, nll)
