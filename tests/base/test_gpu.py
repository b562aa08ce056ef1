"""A GPU that is there computes, or one line says why not and the CPU does."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from stages.base import gpu
from stages.base.errors import UserError
from stages.learn import optimizer, predict
from tests.conftest import small

NO_DRIVER = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update it.\nMore"
)
ASKED = ("CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A build of torch that knows GPUs, asked for the first time."""
    for name in ASKED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    gpu.usable.cache_clear()
    yield
    gpu.usable.cache_clear()


def machine(
    monkeypatch: pytest.MonkeyPatch, gpus: int = 1, said: str = "", breaks: Exception | None = None
) -> list[str]:
    """As torch sees so many GPUs; what it warns of when asked for them, and what a first sum raises. The devices of sums."""
    real, asked = torch.zeros, []

    def available() -> bool:
        if said:
            warnings.warn(said, stacklevel=1)
        return gpus > 0

    def zeros(*words: Any, device: Any = None, **named: Any) -> torch.Tensor:
        if not str(device).startswith("cuda"):
            return real(*words, device=device, **named)
        asked.append(str(device))
        if breaks is not None:
            raise breaks
        return real(*words, **named)

    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch, "zeros", zeros)
    return asked


def told() -> tuple[bool, list[str]]:
    """Whether there is a GPU, by two questions, and the warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        answers = {gpu.usable(), gpu.usable()}
    assert len(answers) == 1
    return answers.pop(), [str(one.message) for one in found]


def test_a_gpu_that_computes_is_tried_once_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = machine(monkeypatch)
    assert told() == (True, [])
    assert tried == ["cuda:0"]


@pytest.mark.parametrize(
    ("breaks", "line"),
    [
        (
            RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment. Changing\nmore"),
            "the GPU cannot be used (CUDA unknown error - this may be due to an incorrectly set up environment. Changing): "
            "computing on the CPU",
        ),
        (
            torch.AcceleratorError(
                "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors"
            ),
            "the GPU cannot be used (CUDA error: no kernel image is available for execution on the device): computing on "
            "the CPU",
        ),
        (AssertionError(""), "the GPU cannot be used (AssertionError): computing on the CPU"),
    ],
    ids=["driver", "card too old for the build", "no words"],
)
def test_a_driver_that_answers_but_is_broken_leaves_one_line(
    monkeypatch: pytest.MonkeyPatch, breaks: Exception, line: str
) -> None:
    machine(monkeypatch, breaks=breaks)
    assert told() == (False, [line])


def test_a_driver_that_does_not_answer_leaves_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=0, said=NO_DRIVER)
    line = "the GPU cannot be used (CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). "
    assert told() == (False, [line + "Please update it): computing on the CPU"])


def test_a_machine_without_a_gpu_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=0)
    assert told() == (False, [])
    gpu.usable.cache_clear()
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert told() == (False, [])


@pytest.mark.parametrize("named", ["", "7", "-1"])
def test_cards_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    machine(monkeypatch, gpus=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert told() == (False, [f"CUDA_VISIBLE_DEVICES={named} names no GPU that is here: computing on the CPU"])


def test_a_part_of_a_card_is_the_drivers_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MIG-5c6a0f1e-3b21-5e6c-9c5c-0f1e5c6a0f1e"
    tried = machine(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
    assert told() == (True, [])
    assert tried == ["cuda:0"]
    assert gpu.os.environ["CUDA_VISIBLE_DEVICES"] == name


def test_a_card_that_others_have_filled_still_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training then says what does not fit: nobody is sent to a CPU for days because a card is busy for a moment."""
    machine(monkeypatch, breaks=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"))
    assert told() == (True, [])


def test_who_wants_the_cpu_gets_it_and_no_card_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = machine(monkeypatch)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert told() == (False, [])
    assert tried == []


def test_processes_that_train_together_each_try_their_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = machine(monkeypatch, gpus=2)
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert told() == (True, [])
    assert tried == ["cuda:1"]


def test_what_is_tried_before_training_is_tried_on_the_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process that computes on the first card takes some 500 MB of it, for good."""
    tried = machine(monkeypatch, gpus=2)
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    optimizer.check_name("adamw")
    assert tried == ["cuda:1", "cuda:1"]


def test_a_card_that_others_have_filled_is_no_fault_of_the_optimizers(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, breaks=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"))
    optimizer.check_name("adamw")


def test_one_of_several_processes_does_not_go_on_elsewhere_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    machine(monkeypatch, gpus=2, breaks=RuntimeError("CUDA error: uncorrectable ECC error encountered"))
    with pytest.raises(UserError, match=r"process 0: the GPU cannot be used .CUDA error: uncorrectable ECC error"):
        gpu.usable()
    machine(monkeypatch, gpus=1)
    with pytest.raises(
        UserError, match=r"--nproc_per_node 2: is more than the GPUs that are here \(1\); start one process"
    ):
        gpu.usable()
    machine(monkeypatch, gpus=0, said=NO_DRIVER)  # for all of them: they go on together on the CPU, and one says so
    assert len(told()[1]) == 1
    gpu.usable.cache_clear()
    monkeypatch.setenv("RANK", "1")
    assert told() == (False, [])


def test_training_takes_the_cpu_where_the_gpu_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, breaks=RuntimeError("CUDA unknown error"))
    AcceleratorState._reset_state(True)
    try:
        with pytest.warns(UserWarning, match="the GPU cannot be used .CUDA unknown error.: computing on the CPU"):
            assert predict.accelerator(small()).device.type == "cpu"
    finally:
        AcceleratorState._reset_state(True)
