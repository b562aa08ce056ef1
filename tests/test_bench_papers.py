"""bench/papers: the photos, the model and the params are the papers', and what is made of results; nothing is trained here."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from stages.base import paths
from stages.base.files import write_csv
from stages.data import task_and_classes
from stages.data.task_and_classes import Axis, Task
from stages.learn import plugins
from stages.learn.timm_import import load_timm
from stages.params.load import parse
from stages.params.model_and_training import Plugins
from stages.submission import write
from tests.conftest import ROOT

PAPERS = ROOT / "bench/papers"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"papers_{name}", PAPERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PAPERS)  # they import each other
        spec.loader.exec_module(module)
    return module


long_tail, methods, run = script("long_tail"), script("methods"), script("run")


def images(folder: Path, train: int, test: int) -> Path:
    for part, count in (("train", train), ("test", test)):
        for name in long_tail.CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                (folder / part / name / f"{number:04d}.jpg").write_text(f"{part} {name} {number}")
    return folder


def test_classes_keep_as_many_photos_as_in_the_papers() -> None:
    kept = [long_tail.of_class(number, 5000, 100) for number in range(10)]
    assert kept == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert [long_tail.of_class(number, 5000, 10) for number in (0, 9)] == [5000, 500]


def test_the_same_seed_keeps_the_same_photos_and_the_test_photos_are_all_kept(tmp_path: Path) -> None:
    source = images(tmp_path / "images", 20, 3)
    names = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        kept = long_tail.make(source, tmp_path / place, 10, seed)
        assert list(kept.values()) == [long_tail.of_class(number, 20, 10) for number in range(10)]
        names.append(sorted(str(path.relative_to(tmp_path / place)) for path in (tmp_path / place).rglob("*.jpg")))
    assert names[0] == names[1] != names[2]
    assert sum(name.startswith("test/") for name in names[0]) == 30


def test_where_the_photos_are_not_there_one_line_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(
        long_tail.NotThere, match=r"airplane: no photos; --images wants a checkout of YoongiKim/CIFAR-10"
    ):
        long_tail.make(tmp_path, tmp_path / "to", 100)


@pytest.mark.parametrize(
    ("name", "convolutions"), [("cifar_resnet8", 7), ("cifar_resnet14", 13), ("cifar_resnet32", 31)]
)
def test_the_networks_have_6n_plus_2_layers_and_no_parameters_in_shortcuts(
    name: str, convolutions: int, tmp_path: Path
) -> None:
    Path("resnet_cifar.py").write_bytes((PAPERS / "resnet_cifar.py").read_bytes())
    plugins.load(Plugins(models="resnet_cifar.py"))
    net = load_timm().create_model(name, num_classes=10).eval()
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == convolutions
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert net.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 64, 8, 8)
    if name == "cifar_resnet32":
        assert sum(value.numel() for value in net.parameters()) == pytest.approx(0.46e6, rel=0.02)
    plugins.load(plugins.NO_PLUGINS)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_is_params_alone(name: str) -> None:
    params = parse(methods.params(methods.METHODS[name], 1, "cifar_resnet32", 200))
    assert (params.seed, params.train.epochs, params.refit.epochs, params.augment.pad) == (1, 200, 200, 4)


def options(folder: Path, names: list[str], seeds: int) -> argparse.Namespace:
    return argparse.Namespace(to=folder, imbalance=100, model="m", epochs=3, methods=names, seeds=seeds)


def test_methods_are_judged_against_ce_and_where_the_published_gap_is_above_two_points(tmp_path: Path) -> None:
    found = run.pairs(options(tmp_path, ["ce", "focal", "ldam", "ldam, drw", "balanced_softmax"], 1))
    assert [(one, other) for one, other, _ in found] == [
        ("ce", "focal"),
        ("ce", "ldam"),
        ("ce", "ldam, drw"),
        ("ce", "balanced_softmax"),
        ("focal", "ldam"),
        ("focal", "ldam, drw"),
        ("ldam", "ldam, drw"),
    ]
    assert found[0][2] == pytest.approx(-0.02)
    assert found[3][2] is None


def test_several_seeds_are_judged_by_the_mean_of_their_differences(tmp_path: Path) -> None:
    asked = options(tmp_path, ["ce", "ldam", "focal"], 3)
    errors = {"ce": (30.0, 31.0, 32.0), "ldam": (26.0, 27.5, 27.5), "focal": (29.0, 33.3, 31.0)}
    found = {run.key(asked, name, seed): {"error": errors[name][seed]} for name in errors for seed in range(3)}
    rows = run.verdicts(found, asked)[4:]
    # -4, -3.5, -4.5: mean -4, standard deviation 0.5, and 4.30 of it by the root of 3.
    assert rows[0] == "| ldam against ce | -2.99 | -4.00 | -5.24 to -2.76 | better |"
    assert rows[1] == "| focal against ce | -0.02 | +0.10 | -4.63 to +4.83 | no evidence either way |"


def test_one_seed_is_judged_by_the_photos_that_both_answered(tmp_path: Path) -> None:
    asked = options(tmp_path, ["ce", "ldam"], 1)
    project = tmp_path / "imbalance_100"
    (project / "out/prepare").mkdir(parents=True)
    (project / "params.yaml").write_text(yaml.safe_dump({"data": {"layout": "folder", "root": "data"}}))
    task = Task("folder", (Axis("label", long_tail.CLASSES),), "photo")
    labels = np.arange(400) % 10
    images = np.array([f"{long_tail.CLASSES[label]}/{number}.jpg" for number, label in enumerate(labels)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        task_and_classes.write(task)
        write_csv(paths.EVAL, pd.DataFrame({"ImageID": images, "content": "0", "label": labels}))
    for name, wrong in (("ce", 120), ("ldam", 80)):
        answers = np.where(np.arange(400) < wrong, (labels + 1) % 10, labels)
        path = run.submission(asked, name, 0)
        path.parent.mkdir(exist_ok=True)
        write.write(path, task, images, answers)
        assert path.stem.replace("_", "").isalnum()
    found = {run.key(asked, name, 0): {"error": 0.0} for name in ("ce", "ldam")}
    (row,) = run.verdicts(found, asked)[4:]
    assert row.startswith("| ldam against ce | -2.99 | -10.00 | -1")
    assert row.endswith(" | better as trained |")
    run.submission(asked, "ce", 0).unlink()  # of results of an earlier version
    assert run.verdicts(found, asked)[4:] == []


def test_the_answers_of_a_training_are_kept_and_so_are_those_adjusted_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(tmp_path, ["ce"], 1)
    project = tmp_path / "imbalance_100"
    for name, count in zip(long_tail.CLASSES, range(10, 0, -1), strict=True):
        (project / "data/train" / name).mkdir(parents=True)
        for number in range(count):
            (project / "data/train" / name / f"{number}.jpg").touch()
    images = np.array(["truck/1.jpg", "airplane/2.jpg"])

    def command(_: Path, *words: str) -> str:
        if words[0] == "refit":  # its answers are airplanes, of which there are ten times as many as of trucks
            (project / "out/refit").mkdir(parents=True)
            task = Task("folder", (Axis("label", long_tail.CLASSES),), "photo")
            write.write(project / "out/refit/submission.csv", task, images, np.zeros(2, int))
            probabilities = np.full((2, 10), 0.001)
            probabilities[:, 0], probabilities[:, 9] = (0.6, 0.95), (0.39, 0.04)
            np.savez(project / "out/refit/probabilities.npz", image=images, probabilities=probabilities)
        return json.dumps({"accuracy": 0.5, "accuracy_low": 0.1, "accuracy_high": 0.9})

    monkeypatch.setattr(run, "maskcli", command)
    found = run.of_training(asked, methods.METHODS["ce"], 0, project)
    assert {name: one["error"] for name, one in found.items()} == {"ce": 50.0, "ce, adjusted afterwards": 0.0}
    kept = {name: pd.read_csv(run.submission(asked, name, 0)) for name in found}
    assert kept["ce"]["label"].tolist() == ["airplane", "airplane"]
    assert kept["ce, adjusted afterwards"]["label"].tolist() == ["truck", "airplane"]
