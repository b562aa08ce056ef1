import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ENVIRONMENT, ROOT

# What a torchvision does at its import: its compiled library declares the operators, or they are looked for in vain.
WORKS = """
import torch
torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision import part
"""
LACKS_OPERATORS = """
from torchvision import part
import torch

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets

@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold):
    return dets
"""
BROKEN = "from torchvision import part\nraise OSError('libcudart.so.99: cannot open\\n shared object file')"
TIMM = "import torchvision\nfrom torchvision import part\n"  # as timm.data does
SHOW = """
import sys
from stages.learn import timm_import
try:
    print(timm_import.load_timm().__file__)
except Exception as error:
    print(type(error).__name__, error)
print(len(timm_import._declared))
print("torchvision" in sys.modules, "torchvision.part" in sys.modules)
"""


def python(code: str, *places: Path) -> list[str]:
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(map(str, [*places, ROOT]))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """A folder with a timm that imports torchvision, as far as there is one."""
    (tmp_path / "timm.py").write_text(TIMM)
    return tmp_path


def torchvision(folder: Path, at_import: str, library: str = "_C.so") -> None:
    (folder / "torchvision").mkdir()
    (folder / "torchvision/__init__.py").write_text(at_import)
    (folder / "torchvision/part.py").write_text("")
    (folder / "torchvision" / library).write_bytes(b"not looked at")


@pytest.mark.parametrize("library", ["_C.so", "_C_stable.so", "another_name.so"])
def test_a_torchvision_that_works_is_left_as_it_is_whatever_its_library_is_called(made_up: Path, library: str) -> None:
    torchvision(made_up, WORKS, library)
    assert python(SHOW, made_up) == [str(made_up / "timm.py"), "0", "True True"]


def test_operators_are_declared_for_a_torchvision_whose_library_did_not_load(made_up: Path) -> None:
    torchvision(made_up, LACKS_OPERATORS)
    with pytest.raises(AssertionError, match="operator torchvision::nms does not exist"):
        python("import timm", made_up)
    assert python(SHOW, made_up) == [str(made_up / "timm.py"), "1", "True True"]


def test_a_torchvision_that_fails_otherwise_is_one_line_and_leaves_no_half_of_it_behind(made_up: Path) -> None:
    torchvision(made_up, BROKEN)
    said, declared, known = python(SHOW, made_up)
    assert said.startswith("UserError torchvision, which timm needs, cannot be imported beside torch 2.")
    assert "libcudart.so.99: cannot open shared object file; install the torchvision that belongs" in said
    assert (declared, known) == ("1", "False False")


def test_without_torchvision_nothing_is_done(made_up: Path) -> None:
    (made_up / "timm.py").write_text("")
    hidden = (
        "import sys; sys.modules['torchvision'] = None\n"  # as Python has it, an import then fails as one of nothing
    )
    assert python(hidden + SHOW, made_up)[:2] == [str(made_up / "timm.py"), "0"]


def test_the_timm_and_torchvision_installed_here_load_and_a_model_runs() -> None:
    code = """
import torch
from stages.learn.timm_import import load_timm
print(load_timm().create_model("test_resnet", num_classes=3)(torch.zeros(2, 3, 32, 32)).shape[1])
"""
    assert python(code) == ["3"]
