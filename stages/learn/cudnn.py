"""By which of cuDNN's algorithms a GPU computes convolutions in training.

They round differently, and some add up in no fixed order. cuDNN chooses one for each shape by a rule. It could also try them
and take the fastest (cudnn.benchmark), but then what is timed would have a say in the result, and each process would pay for
it: on an H200 with torch 2.11 trying all shapes of efficientnet_b0 took more than 50 s.
"""

import os

import torch

from stages.base import gpu
from stages.params.schema import Params


def choose(params: Params) -> None:
    """Set, for all that this process computes from now on, what a training asks for. Nothing on a CPU."""
    if not gpu.usable():
        return
    exact = params.train.deterministic
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = exact
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(exact, warn_only=True)  # what has no deterministic form is named in a warning
