"""A lack of memory is known by what any allocator says of it, and told in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import learner, model, predict
from stages.learn.device_memory import out_of_memory
from tests.conftest import small


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError(
            "[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        MemoryError("Unable to allocate 7.11 PiB for an array with shape (1000000000000000,)"),
    ],
    ids=lambda error: str(error)[:40],
)
def test_what_allocators_say_is_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert out_of_memory(error)


def test_a_real_allocation_that_fails_is_taken_for_a_lack_of_memory() -> None:
    for allocate in (lambda: torch.empty(10**15), lambda: np.empty(10**15)):
        with pytest.raises((RuntimeError, MemoryError)) as failed:
            allocate()
        assert out_of_memory(failed.value)


def test_other_errors_are_none() -> None:
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    assert not out_of_memory(UserError("train: out of memory"))


def test_a_model_that_finds_no_room_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card that others have filled."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    monkeypatch.setattr(model, "channels_last", full)
    params = small()
    with pytest.raises(UserError, match=r"^train: out of memory: the model does not fit the device; "):
        learner.start(params, open_fold(params, 0), 0, 0.01, predict.accelerator(params), SILENT)
