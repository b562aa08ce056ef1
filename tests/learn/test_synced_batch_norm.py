"""Batch norm over the photos of all processes: where it is taken, and that nothing else changes with it."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stages.base.errors import UserError
from stages.data.task_and_classes import CONTEST
from stages.learn import model, processes, synced_batch_norm
from stages.learn.model import Classifier
from stages.params.schema import Params
from tests.conftest import small
from tests.learn.together import together

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("batch", "number", "device", "synced"),
    [(32, 2, GPU, False), (30, 2, GPU, True), (64, 8, GPU, True), (8, 1, GPU, False), (8, 2, CPU, False)],
)
def test_auto_syncs_where_each_of_several_gpus_has_few_photos(
    batch: int, number: int, device: torch.device, synced: bool
) -> None:
    assert synced_batch_norm.wanted(small(train={"batch_size": batch}), device, number) == synced


def test_the_switch_is_obeyed_and_a_cpu_refuses_what_torch_cannot_do_there() -> None:
    def wanted(value: bool, device: torch.device, number: int) -> bool:
        return synced_batch_norm.wanted(small(train={"batch_size": 512, "sync_batchnorm": value}), device, number)

    assert wanted(True, GPU, 2)
    assert not wanted(False, GPU, 256)
    assert not wanted(True, CPU, 1)
    with pytest.raises(UserError, match=r"train\.sync_batchnorm: true works on GPUs only"):
        wanted(True, CPU, 2)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"], ids=["torch's", "timm's with activation"])
def test_weights_keep_their_names_and_a_model_in_eval_mode_computes_as_before(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = small(model={"name": name}, train={"sync_batchnorm": True})
    plain = net_of(params)
    monkeypatch.setattr(processes, "place", lambda: (0, 2))
    synced = synced_batch_norm.installed(copy.deepcopy(plain), params, GPU)
    kinds = {type(module) for module in synced.modules()}
    assert any(issubclass(kind, nn.SyncBatchNorm) for kind in kinds)
    assert nn.BatchNorm2d not in kinds
    assert list(synced.state_dict()) == list(plain.state_dict())
    photos = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(synced.eval()(photos)[0], plain.eval()(photos)[0])
    plain.load_state_dict(synced.state_dict())  # what is saved is read without it


def net_of(params: Params) -> Classifier:
    torch.manual_seed(0)
    return model.build(model.architecture(params, CONTEST))


def training_outputs(params: Params) -> dict[str, Any]:
    """Of a whole batch by plain batch norm, and of this process's part of it by synced: outputs and running means."""
    torch.backends.cudnn.allow_tf32 = False  # 10 bits, whose rounding is larger than what is looked for
    index, number = processes.place()
    whole = net_of(params).cuda().train()
    own = synced_batch_norm.installed(copy.deepcopy(whole), params, GPU)
    photos = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0)).cuda()
    expected, found = whole(photos)[0], own(photos[index::number])[0]
    means = [[value for key, value in net.state_dict().items() if "running_mean" in key] for net in (whole, own)]
    return {
        "outputs": float((found - expected[index::number]).abs().max() / expected.abs().max()),
        "means": max(float((one - other).abs().max()) for one, other in zip(*means, strict=True)),
    }


@pytest.mark.gpu
def test_two_processes_on_a_gpu_norm_over_the_photos_of_both(project: Path) -> None:
    """On one card, which gloo allows and NCCL does not."""
    params = small(model={"name": "test_efficientnet"}, train={"sync_batchnorm": True})
    for found in together(2, training_outputs, params, cpu=False):
        assert isinstance(found, dict), found
        assert found["outputs"] < 1e-3
        assert found["means"] < 1e-4
    assert np.isfinite(found["outputs"])
