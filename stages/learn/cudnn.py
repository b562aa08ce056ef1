"""By which of cuDNN's algorithms a GPU computes convolutions in training.

They round differently, and some add up in no fixed order. By itself cuDNN chooses one for each shape by a rule. It can also
try them and take the fastest: then what is timed has a say in the last digits, as nowhere else here, and a run is not the
same bytes twice. train.deterministic is for whoever needs that.
"""

import os

import torch

from stages.base import gpu
from stages.params.schema import Params

# Steps of a training from which trying pays: every shape of every layer, for the two sizes that batches have (loader.split),
# takes seconds. Reasoned, not measured: at 30 steps a second this is three minutes.
WORTH_TRYING = 5000


def choose(params: Params, steps: int = 0) -> None:
    """Set, for all that this process computes from now on, what suits a training of so many steps. Nothing on a CPU."""
    if not gpu.usable():
        return
    exact = params.train.deterministic
    torch.backends.cudnn.benchmark = not exact and steps >= WORTH_TRYING
    torch.backends.cudnn.deterministic = exact
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(exact, warn_only=True)  # what has no deterministic form is named in a warning
