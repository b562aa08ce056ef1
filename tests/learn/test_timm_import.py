import subprocess
import sys


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_timm_imports_and_a_model_runs_whatever_torchvision_is_installed() -> None:
    code = """
import torch
from stages.learn.timm_import import load_timm
print(load_timm().create_model("test_resnet", num_classes=3)(torch.zeros(2, 3, 32, 32)).shape[1])
"""
    assert python(code) == "3"


def test_operators_are_declared_only_where_they_are_unknown() -> None:
    code = """
import torch
from stages.learn import timm_import
before = timm_import.compiled_torchvision_loads()
timm_import.load_timm()
print(before, bool(timm_import._declared), hasattr(torch.ops.torchvision, "nms"))
timm_import.declare_operators()  # a second time does no harm
"""
    loads, declared, known = python(code).split()
    assert known == "True"
    assert (loads == "True") != (declared == "True")
