"""Batch norms merged into the convolutions before them: for prediction, the same outputs with less work."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.base.talk import SILENT, Talk
from stages.learn.model import Classifier
from stages.learn.timm_import import load_timm

# Largest difference from the unmerged model's outputs, as a share of the largest of these. Sums in another order differ by
# about 1e-6 where a wrong merge differs by about 1.
ROUNDING = 1e-4


@torch.inference_mode(False)  # tensors of inference mode have no version, which `pairs` looks at
@torch.no_grad()
def merged(net: Classifier, talk: Talk = SILENT) -> Classifier:
    """A copy of a model in eval mode with its batch norms merged into convolutions (Jacob et al. 2018, section 3.2).

    Two random photos through the model show which batch norm takes which convolution's output, and then whether outputs
    stay the same. Where they do not, or where there is nothing to merge, the model itself comes back. The model must be in
    float32, and better on the CPU: a GPU may round products to fewer bits.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        return net
    size = (2, 3, net.architecture.height, net.architecture.width)
    photos = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(next(net.parameters()).device)
    found, wanted = pairs(net, photos)
    if not found:
        return net
    made = copy.deepcopy(net)
    for convolution, norm in found:
        before, after = made.get_submodule(convolution), made.get_submodule(norm)
        made.set_submodule(convolution, fuse_conv_bn_eval(before, after))  # type: ignore[arg-type,type-var]
        made.set_submodule(norm, _rest(after))
    difference = float((made(photos)[0] - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
    if not difference <= ROUNDING:  # nor is NaN
        talk.say(
            f"{net.architecture.name}: predicts without merging its batch norms, which would change outputs by {difference:.0e}"
        )
        return net
    return made


def pairs(net: Classifier, photos: Tensor) -> tuple[list[tuple[str, str]], Tensor]:
    """Names of (convolution, batch norm) where the norm's input is the convolution's very output, unchanged, and both are
    called once; and the model's raw outputs for `photos`.

    Whether something else takes the convolution's output too does not show here.
    """
    given: dict[int, tuple[str, Tensor, int]] = {}  # holds the tensors, so that no two have the same id
    calls: list[str] = []
    found: list[tuple[str, str]] = []

    def note(name: str, module: nn.Module, taken: Any, output: Any) -> None:
        calls.append(name)
        if isinstance(module, nn.Conv2d):
            given[id(output)] = (name, output, output._version)
        elif id(taken[0]) in given:
            convolution, output, version = given[id(taken[0])]
            if output._version == version:  # else changed in place between the two
                found.append((convolution, name))

    hooks = [
        module.register_forward_hook(lambda module, taken, output, name=name: note(name, module, taken, output))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) or _mergeable(module)
    ]
    try:
        outputs: Tensor = net(photos)[0]
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in found if all(calls.count(name) == 1 for name in pair)], outputs


def _mergeable(module: nn.Module) -> bool:
    """Whether it is a batch norm whose work is known; a subclass may do more."""
    known = type(module) in (nn.BatchNorm2d, load_timm().layers.BatchNormAct2d)
    return known and module.running_mean is not None


def _rest(norm: nn.Module) -> nn.Module:
    """What a norm layer does after normalising: timm's has dropout and an activation."""
    return nn.Identity() if type(norm) is nn.BatchNorm2d else nn.Sequential(norm.drop, norm.act)  # type: ignore[arg-type]
