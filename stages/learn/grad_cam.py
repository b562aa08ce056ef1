"""Grad-CAM: where in a photo a model finds what speaks for a class (Selvaraju et al. 2017, section 3).

Of the last feature map A, [K, h, w] for a photo, before it is averaged over places, and the class's score y before the softmax:

    weight of a channel:  a_k = mean over places of dy / dA_k   (eq. 1)
    map:                  ReLU(sum over k of a_k A_k)           (eq. 2)

A ViT's tokens are read as such a map where its last block takes them in, after that block's first norm: behind the block only
the class token, which has no place, may reach the answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.base.errors import UserError
from stages.learn import model, predict, tta_views
from stages.learn.model import Architecture, Classifier, to_numpy
from stages.params.schema import Params

PART = 4  # of the photos that are predicted at a time: what follows the map is kept for its gradient


def explain(
    net: Classifier, pixels: np.ndarray, classes: np.ndarray, params: Params, axis: int | None = None
) -> np.ndarray:
    """Maps float32 [n, H, W] in 0..1, the largest value of each 1 (all 0 where nothing speaks for the class).

    net: in eval mode; is moved to the device of params. pixels: uint8 [n, H + 2m, W + 2m, 3] as the cache has them.
    classes: int [n], the class of each photo that is asked about; with `axis` only its level of that axis.
    Raises UserError for a model without a feature map of places.
    """
    device = predict.accelerator(params).device
    net = model.channels_last(net, device)
    mean, std = (tensor.to(device) for tensor in model.normalisation(net))
    middle, batch = tta_views.make("identity"), max(1, predict.batch_size(params, device) // PART)
    height, width = (size - 2 * params.image.margin for size in pixels.shape[1:3])
    found = np.empty((len(pixels), height, width), np.float32)
    for start in range(0, len(pixels), batch):
        some = slice(start, start + batch)
        photos = torch.from_numpy(np.ascontiguousarray(pixels[some])).to(device)
        seen = predict.normalise(middle(photos, params.image.margin), mean, std)
        heat = F.interpolate(_maps(net, seen, classes[some], axis)[:, None], (height, width), mode="bilinear")[:, 0]
        found[some] = to_numpy(heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-30))
    return found


def places(net: Classifier) -> tuple[int, int]:
    """How many places the map has, down and across. Raises UserError for a model without one."""
    shape = net.architecture
    photo = torch.zeros(1, 3, shape.height, shape.width, device=next(net.parameters()).device)
    down, across = _maps(net, photo, np.zeros(1, int), None).shape[1:]
    return down, across


@torch.inference_mode(False)
@torch.enable_grad()
def _maps(net: Classifier, seen: Tensor, classes: np.ndarray, axis: int | None) -> Tensor:
    """Eq. 1 and 2 for normalised photos [n, 3, H, W]: maps [n, h, w], not scaled."""
    with _frozen(net):
        features, pooled = _cut(net, seen)
        score = _score(net.head(net.body(pooled.float())), net.architecture, classes, axis)
        (slope,) = torch.autograd.grad(score.sum(), features, allow_unused=True)
    if slope is None:
        raise _without_places(net)
    own, features = (_by_place(net, tensor.detach(), seen) for tensor in (slope, features))
    if slope.any() and not own.any():  # only tokens without a place reach the answer
        raise _without_places(net)
    return (own.mean((2, 3), keepdim=True) * features).sum(1).relu()


def _cut(net: Classifier, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The feature map, as a tensor that a gradient can be asked of, and the pooled features that follow from it."""
    backbone: Any = net.backbone
    norm = _last_norm(backbone)
    if norm is None:
        found = backbone.forward_features(seen)
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise _without_places(net)
        if not hasattr(backbone, "forward_head"):  # a model of one's own
            raise UserError(
                f"{net.architecture.name}: has no forward_head, which goes on from the feature map, so that there is nothing to "
                "draw; give it one, as timm's models have"
            )
        features = found.detach().requires_grad_()
        return features, backbone.forward_head(features.clone())  # a clone: some begin with a step in place
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handle = norm.register_forward_hook(keep)
    try:
        pooled = backbone(seen)
    finally:
        handle.remove()
    return kept[-1], pooled


def _last_norm(backbone: Any) -> nn.Module | None:
    """The first norm of a ViT's last block; None of models that are none."""
    if not isinstance(getattr(backbone, "num_prefix_tokens", None), int):
        return None
    return getattr(backbone.blocks[-1], "norm1", None) if getattr(backbone, "blocks", None) else None


def _by_place(net: Classifier, features: Tensor, seen: Tensor) -> Tensor:
    """Features [n, K, h, w], from any layout."""
    backbone: Any = net.backbone
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else features
    for without_place in (backbone.num_prefix_tokens, 0):  # CaiT's class token joins only after the last block
        tokens = features[:, without_place:]
        if grid := _grid(tokens.shape[1], *seen.shape[2:]):
            return tokens.transpose(1, 2).unflatten(2, grid)
    raise _without_places(net)


def _grid(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """Rows and columns of so many patches, nearly square, that cover a photo; None where they cannot."""
    down = max(1, round((tokens * height / width) ** 0.5))
    across = tokens // down
    if across * down != tokens or not 0.75 < (height * across) / (width * down) < 1.34:
        return None
    return down, across


def _score(raw: Tensor, shape: Architecture, classes: np.ndarray, axis: int | None) -> Tensor:
    """What speaks for each photo's class, [n], before the softmax, from raw outputs [n, outputs].

    Of one logit a class that logit, and for a level the logarithm of the summed exponentials of its classes; of one softmax an
    axis the logits of the class's levels, summed, or that of one level.
    """
    levels = shape.task.parts(classes)
    if shape.factors:
        chosen = [
            raw[:, where].gather(1, torch.as_tensor(level, device=raw.device)[:, None])[:, 0]
            for number, (where, level) in enumerate(zip(shape.factors, levels, strict=True))
            if axis in (None, number)
        ]
        return torch.stack(chosen).sum(0)
    if axis is None:
        return raw.gather(1, torch.as_tensor(classes, device=raw.device)[:, None])[:, 0]
    of_level = shape.task.parts(np.arange(shape.task.classes))[axis][None] == levels[axis][:, None]
    others = torch.as_tensor(~of_level, device=raw.device)
    return raw.masked_fill(others, -torch.inf).logsumexp(1)


@contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """Within it no parameter asks for a gradient, so that nothing is kept of the layers before the map."""
    asking = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def _without_places(net: Classifier) -> UserError:
    return UserError(
        f"{net.architecture.name}: has no feature map of places in the photo, so that there is nothing to draw; models with "
        "convolutions to the end, and ViTs, have one"
    )
