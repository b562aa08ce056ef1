import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from stages.base.errors import UserError
from stages.data.task_and_classes import CONTEST
from stages.learn import model
from tests.conftest import small
from tests.learn.tasks import TWO


def built(**changes: object) -> model.Classifier:
    torch.manual_seed(0)
    return model.build(model.architecture(small(**changes), CONTEST))


@pytest.mark.parametrize("targets", ["joint", "factored"])
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050"])
def test_outputs_have_the_stated_shapes(targets: str, head: str, name: str) -> None:
    net = built(model={"head": head, "name": name}, targets=targets, regression={"weight": 0.1}).eval()
    raw, age = net(torch.zeros(2, 3, 32, 32))
    assert raw.shape == (2, 18 if targets == "joint" else 8)
    assert age.shape == (2,)


def test_the_cosine_classifier_gives_cosines_and_scaled_logits() -> None:
    net = built(loss="ldam").eval()
    raw, age = net(torch.randn(4, 3, 32, 32))
    assert raw.abs().max() <= 1 + 1e-6
    assert net.architecture.scale == 30
    assert age is None


def test_saved_weights_rebuild_the_same_model(tmp_path: Path) -> None:
    net = built(model={"head": "mlp"}).eval()
    model.save(tmp_path / "m.safetensors", net.architecture, net.state_dict())
    photos = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.load(tmp_path / "m.safetensors")(photos)[0], net(photos)[0])


def test_weights_say_what_photos_they_were_trained_on_and_what_their_classes_are_called(tmp_path: Path) -> None:
    net = built(image={"face": 0.7})
    path = tmp_path / "m.safetensors"
    model.save(path, net.architecture, net.state_dict())
    found = model.load(path).architecture
    assert model.image_of(found) == {"height": 32, "width": 32, "margin": 2, "face": 0.7}
    assert found == net.architecture
    assert found.task == replace(CONTEST, subsets={})
    # Also to a reader that has no maskcli.
    with safetensors.safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["architecture"])
    assert described["task"]["classes"] == list(CONTEST.class_names)


def older(path: Path) -> None:
    """Weights as the version before tasks wrote them."""
    net = built()
    described = {
        key: value for key, value in model.to_json(net.architecture).items() if key not in ("task", "regression")
    }
    metadata = {"architecture": json.dumps(described | {"age_output": False, "trained": None})}
    safetensors.torch.save_file(net.state_dict(), path, metadata=metadata)


def test_weights_of_before_there_were_tasks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    older(path)
    assert "backbone arrays loaded" in model.load_backbone(built(), path)
    with pytest.raises(UserError) as raised:
        model.load(path)
    assert str(raised.value) == (
        f"{path}: is of another version, and does not say which classes it tells; train the folds again (`dvc repro`), or take "
        "other weights"
    )


def test_training_that_starts_from_weights_of_another_task_says_so(tmp_path: Path) -> None:
    path, two = tmp_path / "m.safetensors", model.build(model.architecture(small(), TWO))
    model.save(path, two.architecture, two.state_dict())
    net = built()
    assert model.load_backbone(net, path).endswith(
        "; trained for another task (label, 2 classes; here mask x gender x age, 18 classes), whose classifier is dropped"
    )
    for name, array in net.backbone.state_dict().items():
        assert torch.equal(array, two.backbone.state_dict()[name])
    more = replace(TWO, axes=(replace(TWO.axes[0], levels=("cat", "dog", "owl")),))
    line = model.load_backbone(model.build(model.architecture(small(), more)), path)
    assert "(label with 2 levels: cat, dog; here label with 3 levels: ..., dog, owl)" in line
    line = model.load_backbone(model.build(model.architecture(small(), TWO)), path)
    assert "backbone arrays loaded" in line
    assert "task" not in line


@pytest.mark.parametrize("kind", ["safetensors", "pth", "nested"])
def test_local_weights_load_and_the_classifier_is_dropped(tmp_path: Path, kind: str) -> None:
    source = built().backbone.state_dict() | {"fc.weight": torch.zeros(1000, 8)}
    if kind == "safetensors":
        path = tmp_path / "w.safetensors"
        safetensors.torch.save_file(source, path)
    else:
        path = tmp_path / "w.pth"
        torch.save(
            {"state_dict": {f"module.{key}": value for key, value in source.items()}} if kind == "nested" else source,
            path,
        )
    torch.manual_seed(1)
    net = model.build(model.architecture(small(), CONTEST))
    line = model.load_backbone(net, path)
    assert line.endswith("dropped fc.weight")
    for key, value in net.backbone.state_dict().items():
        assert torch.equal(value, source[key])


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code ran')",))


def test_weights_that_are_unsafe_damaged_or_foreign_are_refused(tmp_path: Path) -> None:
    net = built()
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"a": Bomb()}))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    for name in ("bomb.pth", "cut.safetensors"):
        with pytest.raises(UserError, match="is not a weights file that can be loaded safely"):
            model.load_backbone(net, tmp_path / name)
    safetensors.torch.save_file({"other": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="only 0 of"):
        model.load_backbone(net, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"none\.pth not found"):
        model.load_backbone(net, tmp_path / "none.pth")
    with pytest.raises(UserError, match="is damaged"):
        model.load(tmp_path / "cut.safetensors")


def test_an_unknown_model_is_named_with_its_like() -> None:
    with pytest.raises(UserError, match=r"timm has no model `resnet18d_x`; did you mean `resnet18"):
        built(model={"name": "resnet18d_x"})


def test_normalisation_is_the_backbones() -> None:
    mean, std = model.normalisation(built(model={"name": "mobilenetv3_small_050"}))
    assert np.allclose(mean.flatten() / 255, [0.485, 0.456, 0.406])
    assert np.allclose(std.flatten() / 255, [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    "options",
    [
        {"act_layer": "nonsense"},
        {"features_only": True},
        {"global_pool": ""},
        {"drop_path_rate": 2},
        {"drop_path_rate": "a"},
        {"layers": [0, 0]},
        {"stem_width": -3},
        {"foo": 1},
        {"num_classes": 5},
        {"pretrained_cfg": "xx"},
    ],
    ids=str,
)
def test_options_that_the_model_refuses_are_told_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^params.yaml: model.options: test_resnet .*; mend or remove them$"):
        built(model={"options": options})
