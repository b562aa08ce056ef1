"""The training objectives. Each is made by one function and named by one line of LOSSES.

A loss takes logits z [N, C] and class numbers y [N] to a scalar. `counts` n_c [C] are photos per class on the fold's
training side; a class without any counts as one photo, so that its weight, prior and margin stay finite.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]
Maker = Callable[..., LossFunction]  # counts float64 [C] and options -> the loss
REGISTERED = "_maskcli_loss"


def register_loss(function: Maker) -> Maker:
    """Make a function of counts and options a loss that params.yaml may name, for files of plugins.losses (docs/plugins.md).

    It takes counts [C], options that all have a default, and where it wants that `progress`; it returns a LossFunction.
    """
    setattr(function, REGISTERED, True)
    return function


def is_registered(value: object) -> bool:
    return inspect.isfunction(value) and hasattr(value, REGISTERED)


def make(loss: str | Maker, class_counts: Sequence[int] | Any, progress: float = 0.0, **options: Any) -> LossFunction:
    """A loss with its options (see stages/params/schema.py) for training photos per class `class_counts` [C], none as one.

    `progress` is the share of epochs gone by, 0..1, for losses that take it, as ldam's deferred re-weighting does.
    Raises KeyError for an unknown name, ValueError for counts that are negative or all zero.
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    if (counts < 0).any() or counts.sum() == 0:
        raise ValueError("class_counts must be 0 or more, and not all 0")
    counts = counts.clamp(min=1)
    return made(LOSSES[loss] if isinstance(loss, str) else loss, counts, progress, options)


def made(maker: Maker, counts: Tensor, progress: float, options: dict[str, Any]) -> LossFunction:
    """What a maker gives for counts [C] of 1 or more."""
    passed = {"progress": progress} if "progress" in inspect.signature(maker).parameters else {}
    return maker(counts, **options, **passed)


def ce(counts: Tensor) -> LossFunction:
    """Cross entropy, -log softmax(z)_y."""
    return F.cross_entropy


def weighted_ce(counts: Tensor) -> LossFunction:
    """Cross entropy with weights 1/n_c of mean 1 over classes, divided by the summed weights of the batch (PyTorch's)."""
    return _weighted(_mean_one(1 / counts))


def label_smoothing(counts: Tensor, eps: float = 0.1) -> LossFunction:
    """(1-eps) CE + eps * mean over classes of -log p (Szegedy et al. 2016, arXiv:1512.00567; PyTorch's definition)."""
    return lambda logits, targets: F.cross_entropy(logits, targets, label_smoothing=eps)


def focal(counts: Tensor, gamma: float = 2.0, alpha: str = "none") -> LossFunction:
    """Mean of a_y (1-p_y)^gamma CE (Lin et al. 2017, arXiv:1708.02002); a_c = 1, or 1/n_c with mean 1 if balanced."""
    weights = _beside(_mean_one(1 / counts) if alpha == "balanced" else torch.ones_like(counts))

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        log_p = -F.cross_entropy(logits, targets, reduction="none")
        # -expm1(log p) = 1 - p without cancellation; the floor keeps the power's gradient finite where p = 1.
        miss = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        power = miss**gamma if gamma else torch.ones_like(miss)
        return (weights(logits)[targets] * power * -log_p).mean()

    return loss


def f1(counts: Tensor, eps: float = 1e-7, ce_mix: float = 0.0) -> LossFunction:
    """1 - mean over classes of soft F1 = 2tp / (2tp + fp + fn + eps), from sums of probabilities over the batch.

    `ce_mix` * CE + (1 - ce_mix) * that. All C classes count, also those without a photo in the batch.
    Source: the differentiable F1 of Lipton et al. 2014 (arXiv:1402.1892) as the contestants used it.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        p = logits.softmax(dim=1)
        truth = F.one_hot(targets, logits.shape[1]).to(p)
        tp, fp, fn = (p * truth).sum(0), (p * (1 - truth)).sum(0), ((1 - p) * truth).sum(0)
        soft_f1 = 2 * tp / (2 * tp + fp + fn + eps)
        return ce_mix * F.cross_entropy(logits, targets) + (1 - ce_mix) * (1 - soft_f1.mean())

    return loss


def ldam(
    counts: Tensor, max_margin: float = 0.5, scale: float = 30.0, drw: float = 0.8, progress: float = 0.0
) -> LossFunction:
    """CE of scale * (z - m_y at y), margins m_c ~ n_c^(-1/4), the largest max_margin (Cao et al. 2019, arXiv:1906.07413).

    z are cosines (the model's cosine classifier). From the share `drw` of the epochs on, class-balanced weights with
    beta 0.9999 join (deferred re-weighting); drw = 1 means never.
    """
    margins = counts**-0.25
    margins_of = _beside(margins * (max_margin / margins.max()))
    weights = _beside(_effective_number(counts, 0.9999)) if drw < 1 and progress >= drw else None

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        moved = logits - F.one_hot(targets, logits.shape[1]).to(logits) * margins_of(logits)
        return F.cross_entropy(scale * moved, targets, weight=None if weights is None else weights(logits))

    return loss


def class_balanced(counts: Tensor, beta: float = 0.9999) -> LossFunction:
    """Cross entropy with weights (1-beta)/(1-beta^n_c) summing to C (Cui et al. 2019, arXiv:1901.05555)."""
    return _weighted(_effective_number(counts, beta))


def balanced_softmax(counts: Tensor) -> LossFunction:
    """CE of z + log n_c (Ren et al. 2020, arXiv:2007.10740)."""
    return _shifted(counts.log())


def logit_adjust(counts: Tensor, tau: float = 1.0) -> LossFunction:
    """CE of z + tau * log(n_c / sum n) (Menon et al. 2021, arXiv:2007.07314)."""
    return _shifted(tau * (counts / counts.sum()).log())


def bce(counts: Tensor, smoothing: float = 0.0) -> LossFunction:
    """One-vs-all binary cross entropy, mean over photos and classes, as timm's BinaryCrossEntropy.

    Targets are 1 - smoothing + smoothing/C for the true class and smoothing/C for the others.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        classes = logits.shape[1]
        truth = F.one_hot(targets, classes).to(logits) * (1 - smoothing) + smoothing / classes
        return F.binary_cross_entropy_with_logits(logits, truth)

    return loss


LOSSES: dict[str, Maker] = {
    "ce": ce,
    "weighted_ce": weighted_ce,
    "label_smoothing": label_smoothing,
    "focal": focal,
    "f1": f1,
    "ldam": ldam,
    "class_balanced": class_balanced,
    "balanced_softmax": balanced_softmax,
    "logit_adjust": logit_adjust,
    "bce": bce,
}


# Losses that correct for imbalance themselves; with a sampler that does so too, rare classes count twice.
CORRECTING = ("weighted_ce", "class_balanced", "balanced_softmax", "logit_adjust")


def _mean_one(weights: Tensor) -> Tensor:
    return weights / weights.mean()


def _effective_number(counts: Tensor, beta: float) -> Tensor:
    weights = (1 - beta) / (1 - beta**counts)
    return weights * (len(counts) / weights.sum())


def _weighted(weights: Tensor) -> LossFunction:
    own = _beside(weights)
    return lambda logits, targets: F.cross_entropy(logits, targets, weight=own(logits))


def _shifted(shift: Tensor) -> LossFunction:
    own = _beside(shift)
    return lambda logits, targets: F.cross_entropy(logits + own(logits), targets)


def _beside(values: Tensor) -> Callable[[Tensor], Tensor]:
    """`values` on a tensor's device and in its precision; brought there once, since a GPU would be waited for at every step."""

    @cache
    def brought(device: torch.device, precision: torch.dtype) -> Tensor:
        return values.to(device, precision)

    return lambda tensor: brought(tensor.device, tensor.dtype)
