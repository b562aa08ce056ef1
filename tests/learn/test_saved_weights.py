"""Files as programs of other people save them, all of one backbone."""

import argparse
import enum
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from stages.base.errors import UserError
from stages.data.task_and_classes import CONTEST
from stages.learn import model, saved_weights
from tests.conftest import small

State = dict[str, Tensor]


def fresh(seed: int, **changes: Any) -> model.Classifier:
    torch.manual_seed(seed)
    return model.build(model.architecture(small(**changes), CONTEST))


@pytest.fixture(scope="module")
def saved() -> State:
    return {key: value.clone() for key, value in fresh(0).backbone.state_dict().items()}


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


class Attributes(dict[str, Any]):
    """As lightning's AttributeDict."""


class Config:
    def __init__(self) -> None:
        self.depth, self.inner = 3, {"a": [1, Path("x")]}


class Kind(enum.Enum):
    FAST = 1


def of_lightning(state: State) -> dict[str, Any]:
    return {
        "pytorch-lightning_version": "2.5.0",
        "epoch": 3,
        "state_dict": under("model.backbone.", state) | {"model.head.weight": torch.zeros(18, 8)},
        "hyper_parameters": Attributes(args=argparse.Namespace(lr=0.1), kind=Kind.FAST, best=np.float64(0.5)),
        "datamodule": Config(),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}],
    }


def with_average(state: State) -> dict[str, Any]:
    """The average is the better model, and stands behind weights that fit as well."""
    return {"model": under("module.", {key: value * 0 for key, value in state.items()}), "model_ema": {"ema": state}}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "data parallel": lambda state: {"state_dict": under("module.", state), "epoch": 3},
    "compiled": lambda state: under("_orig_mod.", state),
    "compiled within": lambda state: {key.replace(".", "._orig_mod.", 1): value for key, value in state.items()},
    "nested thrice": lambda state: {"checkpoint": {"net": {"params": under("encoder.module.", state)}}},
    "own word": lambda state: {"weights_of_friday": under("_orig_mod.module.student.trunk.", state)},
    "timm": lambda state: {"state_dict": under("module.", state), "args": argparse.Namespace(lr=1), "metric": 0.5},
    "moving average": with_average,
    "average beside it in one dict": lambda state: (
        under("net.", {key: value * 0 for key, value in state.items()}) | under("net_ema.", state)
    ),
    "averaged model": lambda state: {"n_averaged": torch.tensor(5), **under("module.", state)},
    "lightning": of_lightning,
    "parameters": lambda state: {key: nn.Parameter(value, False) for key, value in state.items()},
    "half precision": lambda state: {key: value.half().float() for key, value in state.items()},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_are_found_wherever_they_are_put(kind: str, saved: State, tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    torch.save(WRAPPED[kind](saved), path)
    net = fresh(1)
    line = model.load_backbone(net, path)
    assert f"{len(saved)} of {len(saved)} backbone arrays loaded" in line
    for key, value in net.backbone.state_dict().items():
        assert torch.allclose(value, saved[key], atol=1e-2 if kind == "half precision" else 0), key


def test_a_pickled_model_gives_its_weights(saved: State, tmp_path: Path) -> None:
    net = fresh(0)
    for name, content in (("whole", net.backbone), ("wrapped", {"epoch": 1, "model": nn.DataParallel(net)})):
        torch.save(content, tmp_path / name)
        other = fresh(1)
        assert f"{len(saved)} of {len(saved)} backbone arrays" in model.load_backbone(other, tmp_path / name)
        for key, value in other.backbone.state_dict().items():
            assert torch.equal(value, saved[key])


def test_the_line_says_what_was_taken_and_what_was_dropped(saved: State, tmp_path: Path) -> None:
    torch.save({"state_dict": under("module.", saved) | {"module.fc.bias": torch.zeros(9)}}, tmp_path / "w.pt")
    line = model.load_backbone(fresh(1), tmp_path / "w.pt")
    assert line.endswith("backbone arrays loaded from `state_dict`, prefix `module.`; dropped fc.bias")


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "w.pth"])
def test_a_file_is_read_by_its_content_not_by_its_name(name: str, saved: State, tmp_path: Path) -> None:
    for write in (safetensors.torch.save_file, torch.save):
        write(under("model.", saved), tmp_path / name)
        assert "prefix `model.`" in model.load_backbone(fresh(1), tmp_path / name)


def test_a_model_of_our_own_can_be_begun_with(saved: State, tmp_path: Path) -> None:
    net = fresh(0)
    model.save(tmp_path / "mine.safetensors", net.architecture, net.state_dict())
    line = model.load_backbone(fresh(1, targets="factored"), tmp_path / "mine.safetensors")
    assert line.endswith("loaded from prefix `backbone.`; dropped head.bias, head.weight")


def test_another_model_is_refused_with_what_does_not_fit(saved: State, tmp_path: Path) -> None:
    other = fresh(0, model={"name": "mobilenetv3_small_050"}).backbone.state_dict()
    torch.save({"model": under("module.", other)}, tmp_path / "w")
    with pytest.raises(UserError, match=r"w: only \d+ of \d+ arrays fit test_resnet: .*; set model.name to the model"):
        model.load_backbone(fresh(1), tmp_path / "w")
    wider = {key: torch.cat([value, value]) if value.dim() else value for key, value in saved.items()}
    torch.save(under("net.", wider), tmp_path / "w")
    with pytest.raises(
        UserError, match=r"arrays fit test_resnet: \d+ are of another shape \(`.*` is \[.*\], not \[.*\]"
    ):
        model.load_backbone(fresh(1), tmp_path / "w")
    torch.save({"epoch": 3}, tmp_path / "w")
    with pytest.raises(UserError, match="holds no table of weights"):
        model.load_backbone(fresh(1), tmp_path / "w")


class Runs:
    def __init__(self, function: Any, *arguments: str) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_in_a_file_is_run(saved: State, tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (
        Runs(exec, "open('ran', 'w')"),
        Runs(os.system, "touch ran"),
        Runs(eval, "open('ran', 'w')"),
        Runs(np.save, "ran", "x"),
        Runs(pickle.loads, "x"),
    ):
        path = tmp_path / "bomb.pth"
        torch.save(saved | {"call": call}, path, _use_new_zipfile_serialization=zipped)
        with suppress(UserError):  # some are refused, of others nothing but the arrays is taken
            model.load_backbone(fresh(1), path)
        assert [file.name for file in tmp_path.iterdir()] == ["bomb.pth"]
    torch.save({"call": Runs(exec, "pass")}, path)
    with pytest.raises(UserError, match="can be loaded safely"):
        saved_weights.best_fit(path, saved)
