"""The optimizer by timm's factory, with layer-wise learning-rate decay."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from stages.base.errors import UserError, nearest
from stages.learn import compiling
from stages.learn.model import Classifier
from stages.learn.timm_import import load_timm
from stages.params.model_and_training import Optimizer

FUSED = ("adam", "adamw", "sgd")  # PyTorch's own fused kernels, also on CPU
LOOKAHEAD = "lookahead_"  # the prefix that timm's factory takes (Zhang et al. 2019)


def make(model: Classifier, params: Optimizer, lr: float) -> torch.optim.Optimizer:
    """The optimizer over backbone and head. `lr` is the peak: corrected weight decay (adamc, sgdc, ...) counts from it.

    Raises UserError for a name that timm does not know, or that cannot train here.
    """
    check_name(params.name)
    return _create(_groups(model, params), params.name, lr)


def check_name(name: str) -> None:
    """Raise UserError, with the nearest name, if timm's factory has no optimizer of this name; and where it has one that does
    not train here: it needs second derivatives, or a library or GPU that is not there.
    """
    load_timm()
    from timm.optim import get_optimizer_info, list_optimizers

    known = list_optimizers()
    own = name.removeprefix(LOOKAHEAD)
    if own not in known:
        all_names = [f"{name.removesuffix(own)}{other}" for other in known]
        hint = nearest(name, all_names, otherwise="see timm.optim.list_optimizers()")
        raise UserError(f"params.yaml: optimizer.name: timm has no optimizer `{name}`{hint}")
    if get_optimizer_info(own).second_order:
        raise UserError(
            f"params.yaml: optimizer.name: `{name}` needs second derivatives, which training does not take; try adamw"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        _create([torch.zeros(2, 2, device=device, requires_grad=True)], name, 1e-3)
    except (AssertionError, ImportError, RuntimeError) as error:
        why = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"params.yaml: optimizer.name: `{name}` does not run here ({why}); try adamw") from None


def _create(parameters: Any, name: str, lr: float) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2

    options: dict[str, Any] = {"fused": True} if name.removeprefix(LOOKAHEAD) in FUSED else {}
    return create_optimizer_v2(parameters, opt=name, lr=lr, weight_decay=0.0, **options)


def stepping(params: Optimizer) -> AbstractContextManager[None]:
    """Around a step: kron has torch compile its parts for every shape, which takes minutes and a compiler; it goes without."""
    return compiling.eager_code() if params.name.removeprefix(LOOKAHEAD).startswith("kron") else nullcontext()


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate to `lr` times the group's own share."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def _groups(model: Classifier, params: Optimizer) -> list[dict[str, Any]]:
    """Parameter groups: no weight decay on biases and norms; lr_scale falls by layer_decay from layer to layer."""
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    head = nn.ModuleList([model.body, model.head] + ([model.regression] if model.regression is not None else []))
    if params.layer_decay < 1:
        backbone = param_groups_layer_decay(model.backbone, params.weight_decay, layer_decay=params.layer_decay)
        backbone = [group | {"lr_scale": group["lr_scale"] * params.layer_decay} for group in backbone]
    else:
        backbone = param_groups_weight_decay(model.backbone, params.weight_decay)
    groups = [*backbone, *param_groups_weight_decay(head, params.weight_decay)]
    return [{key: value for key, value in group.items() if key != "param_names"} for group in groups if group["params"]]
