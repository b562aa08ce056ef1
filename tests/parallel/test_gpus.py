"""Trainings dealt out to the GPUs of a machine that has none: the list is faked, the processes are real."""

import json
import os
from pathlib import Path

import pytest
import torch

from stages.base import paths
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import folds
from stages.learn.training_terms import Terms
from stages.parallel import gpus, side_by_side
from stages.parallel.gpus import Gpus
from stages.parallel.side_by_side import Plan
from stages.parallel.training_process import Work
from stages.params.schema import Params
from tests.conftest import small

GIB = 2**30


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        (None, 3, ("0", "1", "2")),
        ("2, 5", 2, ("2", "5")),
        ("GPU-8932f937,MIG-1/2/0", 2, ("GPU-8932f937", "MIG-1/2/0")),
        ("0,9,1", 1, ("0",)),  # the driver leaves out what comes behind one that is not there
        ("", 0, ()),
        (None, 0, ()),
    ],
)
def test_gpus_are_named_as_cuda_visible_devices_names_them(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int, names: tuple[str, ...]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert gpus.listed() == names


@pytest.fixture
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus.cores, "available", lambda: 16)


@pytest.mark.parametrize(("free", "room"), [(70, 6), (26, 3), (25, 2), (0, 1)])  # each process takes some for itself
def test_a_gpu_takes_as_many_as_fit_its_memory(sixteen_cores: None, free: int, room: int) -> None:
    one = Gpus(("0",))
    assert one.slots() == 1
    one.measured(one.take(), peak=10 * GIB, free=free * GIB)
    assert one.slots() == room


def test_no_more_run_than_cores_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus.cores, "available", lambda: 4)
    one = Gpus(("0",))
    one.measured(one.take(), peak=GIB, free=70 * GIB)
    assert one.slots() == 2


def test_each_gpu_gets_one_before_any_gets_two_and_one_that_others_use_gets_no_second(sixteen_cores: None) -> None:
    two = Gpus(("0", "1"))
    assert {two.take(), two.take()} == {"0", "1"}
    two.measured("0", peak=10 * GIB, free=5 * GIB)
    two.measured("1", peak=10 * GIB, free=60 * GIB)
    assert two.slots() == 5 + 1
    assert [two.take() for _ in range(3)] == ["1"] * 3
    two.leave("0")
    assert two.take() == "0"


def test_a_second_measurement_counts_those_that_run(sixteen_cores: None) -> None:
    one = Gpus(("0",))
    one.take()
    one.measured("0", peak=10 * GIB, free=26 * GIB)
    one.take()
    one.measured("0", peak=10 * GIB, free=13 * GIB)
    assert one.slots() == 3


def test_what_is_free_is_left_to_those_that_have_yet_to_peak(sixteen_cores: None) -> None:
    one = Gpus(("0",))
    one.measured(one.take(), peak=10 * GIB, free=70 * GIB)
    assert one.slots() == 6
    for _ in range(5):
        one.take()
    one.measured("0", peak=10 * GIB, free=52 * GIB)  # four of them hold 2 GiB each so far
    assert one.slots() == 6


def look(params: Params, talk: Talk, number: int, terms: Terms) -> None:
    """In a training's place: which GPU its process sees."""
    Path(f"saw{number}.json").write_text(json.dumps(os.environ.get("CUDA_VISIBLE_DEVICES")))


def test_each_process_sees_one_gpu_and_this_one_sees_them_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    work = Work(look, {number: f"look {number}" for number in range(3)}, "looks", "look")
    plan = Plan([0, 1, 2], 2, dict.fromkeys(range(3), 1), work=work, gpus=("3", "5"))
    side_by_side.run(small(), SILENT, plan)
    saw = [json.loads(Path(f"saw{number}.json").read_text()) for number in range(3)]
    assert {saw[0], saw[1]} == {"3", "5"}
    assert saw[2] in ("3", "5")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_folds_begin_one_on_each_gpu(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 1, "1": 1}, "device": "cuda"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert folds.number_of_jobs(small()) == 4
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 1, "1": 1}, "device": "cpu"})
    assert folds.gpus_here(small()) == ()
