"""What a training step has to move through a GPU's memory, counted, and how fast its memory is, measured.

The rule. Of every layer that computes (convolution, linear, norm, activation, pooling: the modules without children, and
norms; not Identity, nor dropout of 0), the output is counted five times, 2 bytes (bf16) an element:
  forward: written, and read by the layer after it;
  backward: its gradient written, and read; and the output itself read once more, for the gradients of what follows.
Of every weight 42 bytes a step: AdamW reads weight, gradient and two moments and writes weight and moments (7 x 4), the
gradient is written (4), autocast makes the bf16 copy (4 + 2), which forward and backward read (2 x 2).
Of every photo its normalised float32 pixels are read, and written as bf16, once.

Not counted: additions of residuals and multiplications by gates that no module stands for, statistics of norms, and all
that stays in the GPU's cache. So it is what layers one by one move at least; fused layers may move less.
"""

import time

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

ELEMENT = 2  # bytes, bf16
TIMES = 5
A_WEIGHT = 42  # bytes a step
A_PIXEL = 4 + ELEMENT
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def counted(net: nn.Module) -> list[nn.Module]:
    """The modules whose outputs are counted."""
    found = []
    for module in net.modules():
        alone = isinstance(module, NORMS) or not any(module.children())
        idle = isinstance(module, nn.Identity) or (isinstance(module, nn.Dropout) and not module.p)
        if alone and not idle:
            found.append(module)
    return found


def bytes_a_step(net: nn.Module, photos: Tensor, batch: int) -> int:
    """Bytes of one step of so many photos like `photos` [n, 3, H, W], of which the count is taken."""
    elements = 0

    def add(module: nn.Module, given: tuple[object, ...], output: object) -> None:
        nonlocal elements
        elements += output.numel() if isinstance(output, Tensor) else 0

    hooks = [module.register_forward_hook(add) for module in counted(net)]
    try:
        with torch.no_grad():
            net(photos)
    finally:
        for hook in hooks:
            hook.remove()
    a_photo = (elements * ELEMENT * TIMES + photos.numel() * A_PIXEL) // len(photos)
    return a_photo * batch + A_WEIGHT * sum(value.numel() for value in net.parameters())


def bandwidth(device: torch.device, size: int, times: int = 20) -> float:
    """Bytes/s that a copy of `size` bytes within the device's memory reads and writes."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    _wait(device)
    began = time.perf_counter()
    for _ in range(times):
        target.copy_(source)
    _wait(device)
    return 2 * size * times / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
