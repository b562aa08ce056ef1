"""Each network's folder loads with timm alone: the whole model where timm has such a head, else its backbone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.bundle import timm_folder
from stages.data.task_and_classes import CONTEST
from stages.learn.timm_import import load_timm
from tests.learn.test_merged_batch_norm import trained

PHOTOS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def by_timm(folder: Path) -> torch.Tensor:
    net = load_timm().create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        found: torch.Tensor = net(PHOTOS)
    return found


WHOLE: list[Any] = [
    {},
    {"regression": {"weight": 0.1}, "model": {"dropout": 0.2, "drop_path": 0.1}},
    {"model": {"name": "test_efficientnet", "options": {"pad_type": "same"}}},
    pytest.param({"model": {"name": "test_vit", "options": {"img_size": [32, 32]}}}, marks=pytest.mark.slow),
    pytest.param({"model": {"name": "mobilenetv3_small_050"}}, marks=pytest.mark.slow),
    pytest.param({"model": {"name": "test_convnext"}}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("changes", WHOLE)
def test_timm_computes_the_same_logits_and_names_the_classes(changes: dict[str, Any], tmp_path: Path) -> None:
    net = trained(**changes)
    assert timm_folder.write(net, tmp_path, "mit") == "model"
    with torch.inference_mode():
        assert by_timm(tmp_path).numpy() == pytest.approx(net(PHOTOS)[0].numpy(), abs=1e-6)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["label_names"] == list(CONTEST.class_names)
    assert (config["num_classes"], config["pretrained_cfg"]["license"]) == (18, "mit")
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert (tmp_path / "head.safetensors").exists() is ("regression" in changes)


@pytest.mark.parametrize(
    "changes",
    [{"model": {"head": "mlp", "hidden": 8}}, {"loss": "ldam"}, {"targets": "factored"}],
)
def test_where_timm_has_no_such_head_it_loads_the_backbone(changes: dict[str, Any], tmp_path: Path) -> None:
    net = trained(**changes)
    assert timm_folder.write(net, tmp_path, None) == "backbone"
    with torch.inference_mode():
        assert by_timm(tmp_path).numpy() == pytest.approx(net.backbone(PHOTOS).numpy(), abs=1e-6)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_classes"], "label_names" in config) == (0, False)


@pytest.mark.parametrize("changes", [{}, {"targets": "factored", "loss": "ldam", "regression": {"weight": 0.1}}])
def test_a_network_is_read_as_it_was_written(changes: dict[str, Any], tmp_path: Path) -> None:
    net = trained(**changes)
    whole = timm_folder.write(net, tmp_path, None)
    folder = timm_folder.Folder("fold0", lambda name: (tmp_path / name).read_bytes())
    found = timm_folder.read(folder, net.architecture, whole)
    assert not found.training
    assert found.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in found.state_dict().items())


def test_a_classifier_that_is_no_single_layer_stays_out_of_timms_model() -> None:
    backbone = {"conv.weight": 0}
    assert timm_folder.classifier(backbone, backbone | {"fc.weight": 0, "fc.bias": 0}) == "fc"
    assert timm_folder.classifier(backbone, backbone | {"fc.weight": 0}) is None
    two = {"head.weight": 0, "head.bias": 0, "head_dist.weight": 0, "head_dist.bias": 0}
    assert timm_folder.classifier(backbone, backbone | two) is None
