"""Which algorithms a GPU takes: cuDNN's choice, and the same bytes again for whoever asks for them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stages.base import gpu
from stages.learn import cudnn
from tests.conftest import small
from tests.learn.test_checkpoint import RICH, keeper, same, trained

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


def test_nothing_is_tried_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "usable", lambda: True)
    torch.backends.cudnn.benchmark = True
    cudnn.choose(small())
    assert flags() == (False, False, False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_a_deterministic_training_leaves_nothing_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "usable", lambda: True)
    cudnn.choose(small(train={"deterministic": True}))
    assert flags() == (False, True, True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    cudnn.choose(small())  # the next training of this process
    assert flags() == (False, False, False)


def test_a_cpu_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "usable", lambda: False)
    before = flags()
    cudnn.choose(small(train={"deterministic": True}))
    assert flags() == before
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_deterministic_training_on_a_gpu_gives_the_same_bytes_again_also_where_it_was_cut_off(
    project: Path, name: str
) -> None:
    train = {"deterministic": True, "epochs": 3, "batch_size": 16, "ema_decay": 0.9}
    params = small(**RICH | {"model": {"name": name, "dropout": 0.2}, "train": train})
    whole = trained(params)
    assert same(trained(params), whole)
    kept = keeper(params)
    with pytest.raises(KeyboardInterrupt):
        trained(params, kept, stop_after=8)
    assert same(trained(params, kept), whole)
