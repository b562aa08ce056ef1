"""Where a device's memory runs out: how that is known, told in one line, and what gives memory back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.base import gpu
from stages.base.errors import UserError

# What allocators say whose errors have no class of their own, in lower case: CUDA outside torch's allocator, MPS and HIP;
# cuBLAS and cuDNN; torch's CPU allocator on Linux and on Windows.
NO_MEMORY = ("out of memory", "_status_alloc_failed", "can't allocate memory", "allocator: not enough memory")


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turn a lack of memory into a UserError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(f"train: out of memory: {what}") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether torch or numpy could not get memory, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def release() -> None:
    """Give memory that torch keeps for reuse back to the GPU, so that other sizes find room."""
    if gpu.usable():
        torch.cuda.empty_cache()
