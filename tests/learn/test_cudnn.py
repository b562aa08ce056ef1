"""Which algorithms a GPU takes: tried ones for long trainings, the same bytes again for whoever asks for them."""

import os
from collections.abc import Iterator

import pytest
import torch

from stages.base import gpu
from stages.learn import cudnn
from tests.conftest import small

Flags = tuple[bool, bool, bool]


def flags() -> Flags:
    """benchmark, deterministic, and all of torch deterministic."""
    chosen = torch.backends.cudnn
    return chosen.benchmark, chosen.deterministic, torch.are_deterministic_algorithms_enabled()


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = flags()
    yield
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[:2]
    torch.use_deterministic_algorithms(before[2])
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_a_long_training_on_a_gpu_tries_algorithms_and_a_short_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "usable", lambda: True)
    for steps, tries in ((cudnn.WORTH_TRYING, True), (cudnn.WORTH_TRYING - 1, False)):
        cudnn.choose(small(), steps)
        assert flags() == (tries, False, False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_deterministic_training_tries_nothing_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "usable", lambda: True)
    cudnn.choose(small(train={"deterministic": True}), 10**6)
    assert flags() == (False, True, True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    cudnn.choose(small())  # the next training of this process
    assert flags() == (False, False, False)


def test_a_cpu_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "usable", lambda: False)
    before = flags()
    cudnn.choose(small(train={"deterministic": True}), 10**6)
    assert flags() == before
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
