"""train.compile: torch.compile of the model's forward and backward pass in training."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from stages.base.errors import UserError
from stages.params.schema import Params


def install(net: nn.Module) -> None:
    """Let the model be compiled where it stands, so that the names of its weights stay; copies of it are not compiled.

    It happens at the first batch of each size (an epoch has at most two, see loader.split), for that size alone: the code
    that a batch runs through then does not depend on the batches before it, nor on whether training was cut off.
    """
    net.compile(dynamic=False)


def eager(params: Params) -> AbstractContextManager[None]:
    """Within it models run as they are: validation is not worth compiling for, and says the same with or without."""
    return eager_code() if params.train.compile else nullcontext()


@contextmanager
def eager_code() -> Iterator[None]:
    """Within it nothing is compiled."""
    with torch.compiler.set_stance("force_eager"):
        yield


def explain(error: BaseException) -> None:
    """Raise UserError if an error comes from torch.compile."""
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"params.yaml: train.compile: torch.compile fails ({why[:200]}); install what it needs (on a CPU a C++ compiler, "
            "on a GPU Triton) or set it to false"
        ) from error
