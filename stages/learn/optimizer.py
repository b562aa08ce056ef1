"""The optimizer by timm's factory, with layer-wise learning-rate decay."""

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from stages.base import gpu
from stages.base.errors import UserError, nearest
from stages.learn import compiling, device_memory
from stages.learn.model import Classifier
from stages.learn.timm_import import load_timm
from stages.params.model_and_training import Optimizer

FUSED = ("adam", "adamw", "sgd", "momentum")  # PyTorch's own fused kernels, also on CPU
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
    try:
        _create([torch.zeros(2, 2, device=gpu.device(), requires_grad=True)], name, 1e-3)
    except (AssertionError, ImportError, RuntimeError) as error:
        if device_memory.out_of_memory(error):  # training says what does not fit
            return
        why = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"params.yaml: optimizer.name: `{name}` does not run here ({why}); try adamw") from None


def follows_loss(name: str) -> bool:
    """Whether steps grow with the scale of the loss: SGD's and its kin's; of Adam's and others' kin they do not."""
    return any(part in name for part in ("sgd", "momentum"))


def _create(parameters: Any, name: str, lr: float) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2

    options: dict[str, Any] = {"fused": True} if name.removeprefix(LOOKAHEAD) in FUSED else {}
    return create_optimizer_v2(parameters, opt=name, lr=lr, weight_decay=0.0, **options)


def stepping(params: Optimizer) -> AbstractContextManager[None]:
    """Around a step: kron has torch compile its parts for every shape, which takes minutes and a compiler; it goes without."""
    return compiling.eager_code() if params.name.removeprefix(LOOKAHEAD).startswith("kron") else nullcontext()


def set_lr(optimizer: torch.optim.Optimizer, lr: float, backbone: float = 1.0) -> None:
    """Set every group's learning rate to `lr` times the group's own share, and `backbone` besides for those of the backbone."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0) * (backbone if group.get("backbone") else 1.0)


def _groups(model: Classifier, params: Optimizer) -> list[dict[str, Any]]:
    """timm's parameter groups, each of the backbone or of the head alone.

    Without weight decay: biases, norms, and what the backbone's no_weight_decay() names (position embeddings, class tokens);
    with optimizer.decay_all all have it.
    lr_scale falls by layer_decay from layer to layer, as `_as_one` numbers them.
    """
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    decay, head = params.weight_decay, model.head_modules()
    spared: set[str] = getattr(model.backbone, "no_weight_decay", set)()
    if params.layer_decay < 1:
        whole = _as_one(model.backbone, head)
        groups = param_groups_layer_decay(whole, decay, no_weight_decay_list=spared, layer_decay=params.layer_decay)
    else:
        groups = param_groups_weight_decay(model.backbone, decay, no_weight_decay_list=spared)
        groups += param_groups_weight_decay(head, decay)
    if params.decay_all:
        groups = [group | {"weight_decay": decay} for group in groups]
    return _apart(groups, {id(parameter) for parameter in head.parameters()})


def _as_one(backbone: nn.Module, head: nn.Module) -> Any:
    """Backbone and head as timm looks at a whole model, the head under the name of timm's own classifier.

    So the layers have timm's numbers where the backbone's group_matcher gives them, with the head at the top, beside what timm
    counts to its classifier's layer. For the few models without one timm takes twelve arrays a layer.
    """
    config = getattr(backbone, "pretrained_cfg", None) or {}
    names = config.get("classifier") or "head"
    classifier = names if isinstance(names, str) else names[0]
    named = [*backbone.named_parameters()]
    named += [(f"{classifier}.{name}", parameter) for name, parameter in head.named_parameters()]
    matcher = {"group_matcher": backbone.group_matcher} if hasattr(backbone, "group_matcher") else {}
    return SimpleNamespace(named_parameters=lambda: named, pretrained_cfg={"classifier": classifier}, **matcher)


def _apart(groups: list[dict[str, Any]], head: set[int]) -> list[dict[str, Any]]:
    """The groups, cut in two where they hold parameters of backbone and head (`head`: ids); each says whose they are."""
    found = []
    for group in groups:
        for backbone in (True, False):
            own = [parameter for parameter in group["params"] if (id(parameter) not in head) == backbone]
            if own:
                found.append(group | {"params": own, "backbone": backbone})
    return found
