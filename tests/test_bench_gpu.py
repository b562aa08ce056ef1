"""The scripts in bench/ that need what a machine may lack say so, and run elsewhere on tiny sizes."""

import json
import sys

import pytest
import torch

from tests.conftest import ROOT, command

pytestmark = pytest.mark.slow


def printed(*words: str) -> dict:
    return json.loads(command(ROOT, sys.executable, *words).stdout.splitlines()[-1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which would be measured")
def test_without_a_gpu_nothing_is_measured() -> None:
    found = printed("bench/gpu.py")
    assert found["goals"] == {}
    assert found["notes"][0].startswith("no CUDA GPU here")


def test_the_gpu_script_runs_whole_on_a_cpu_and_claims_no_goal() -> None:
    sizes = ("--size", "32", "--photos", "520", "--batch", "32", "--rounds", "1")
    found = printed("bench/gpu.py", "--device", "cpu", "--model", "test_resnet", "--no-compile", *sizes)
    assert found["goals"] == {}
    rows = found["tables"][0]["rows"]
    assert [row[0].split(",")[0] for row in rows] == ["training", "training", "prediction"]
    assert all(value > 0 for row in rows for value in row[2:])
