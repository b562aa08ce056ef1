"""The CUDA GPU that this process computes on, where there is one that works.

What CUDA_VISIBLE_DEVICES says (numbers, UUIDs, MIG names) is for the driver alone to read.
"""

import os
import warnings
from functools import cache

from stages.base.errors import UserError

LONGEST = 150  # characters of what torch says of a broken driver


@cache
def usable() -> bool:
    """Whether this process computes on a CUDA GPU: one sum is done there, once, since a driver that answers may be broken.

    Where there should be a GPU and none computes, a warning says why, and the process computes on the CPU. A GPU whose memory
    others have taken is one that computes. Raises UserError instead where one of several processes that train together
    (torchrun) would so go on elsewhere than the others, and where there are more of them than GPUs.
    """
    import torch

    if not torch.backends.cuda.is_built() or kept_off():
        return False
    seen, why = _seen()
    why = why or (_broken() if seen else "")
    together = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if seen and together > torch.cuda.device_count() and not torch.distributed.is_initialized():
        raise UserError(
            f"--nproc_per_node {together}: is more than the GPUs that are here ({torch.cuda.device_count()}); start one process "
            "for each, or set ACCELERATE_USE_CPU=true"
        )
    if seen and why and together > 1:
        raise UserError(f"process {os.environ.get('RANK', '0')}: {why}; leave it out by CUDA_VISIBLE_DEVICES")
    if why and os.environ.get("RANK", "0") == "0":
        warnings.warn(f"{why}: computing on the CPU", stacklevel=2)
    return seen and not why


def device() -> str:
    """Where this process computes, as torch names it: of several that train together each has a card of its own, also before
    accelerate has made it torch's choice for `cuda`.
    """
    return _own() if usable() else "cpu"


def kept_off() -> bool:
    """Whether accelerate was told to leave GPUs alone."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("y", "yes", "t", "true", "on", "1")


def _seen() -> tuple[bool, str]:
    """Whether torch sees a GPU; where it sees none and one was expected, why not."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return True, ""
    broken = next((one.message for one in said if "CUDA" in str(one.message)), None)
    if broken is not None:
        return False, f"the GPU cannot be used ({_short(broken)})"
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return False, "" if named is None else f"CUDA_VISIBLE_DEVICES={named} names no GPU that is here"


def _own() -> str:
    """The GPU of this process, as accelerate deals them out."""
    import torch

    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def _broken() -> str:
    """Why the GPU of this process does not compute; empty where it does."""
    import torch

    try:
        torch.zeros(1, device=_own()).item()
    except Exception as error:  # torch raises many kinds
        if "out of memory" not in str(error).lower():
            return f"the GPU cannot be used ({_short(error)})"
    return ""


def _short(told: object) -> str:
    """The first line of what torch says, which goes on for paragraphs."""
    first = next(iter(str(told).strip().splitlines()), "") or type(told).__name__
    return first[:LONGEST].rstrip(" .")
