"""The optimizer by timm's factory, with layer-wise learning-rate decay."""

import difflib
from typing import Any

import torch
from torch import nn

from stages.errors import UserError
from stages.learn.model import Classifier
from stages.learn.timm_import import load_timm
from stages.params import Optimizer

FUSED = ("adam", "adamw", "sgd")  # PyTorch's own fused kernels, also on CPU


def make(model: Classifier, params: Optimizer, lr: float) -> torch.optim.Optimizer:
    """The optimizer over backbone and head. Raises UserError for a name that timm does not know."""
    check_name(params.name)
    from timm.optim import create_optimizer_v2

    options: dict[str, Any] = {"fused": True} if params.name in FUSED else {}
    return create_optimizer_v2(_groups(model, params), opt=params.name, lr=lr, weight_decay=0.0, **options)


def check_name(name: str) -> None:
    """Raise UserError, with the nearest name, if timm's factory has no optimizer of this name."""
    load_timm()
    from timm.optim import list_optimizers

    known = list_optimizers()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{close[0]}`?" if close else "see timm.optim.list_optimizers()"
        raise UserError(f"params.yaml: optimizer.name: timm has no optimizer `{name}`; {hint}")


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate to `lr` times the group's own share."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def _groups(model: Classifier, params: Optimizer) -> list[dict[str, Any]]:
    """Parameter groups: no weight decay on biases and norms; lr_scale falls by layer_decay from layer to layer."""
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    head = nn.ModuleList([model.body, model.head] + ([model.age] if model.age is not None else []))
    if params.layer_decay < 1:
        backbone = param_groups_layer_decay(model.backbone, params.weight_decay, layer_decay=params.layer_decay)
        backbone = [group | {"lr_scale": group["lr_scale"] * params.layer_decay} for group in backbone]
    else:
        backbone = param_groups_weight_decay(model.backbone, params.weight_decay)
    groups = [*backbone, *param_groups_weight_decay(head, params.weight_decay)]
    return [{key: value for key, value in group.items() if key != "param_names"} for group in groups if group["params"]]
