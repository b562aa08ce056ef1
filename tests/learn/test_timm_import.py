import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ENVIRONMENT, ROOT

# What timm does at its import, in the modules that a made-up torchvision has; and what it does with names that it does not call.
TIMM = """
from torchvision.transforms import crop
from torchvision.ops.misc import Frozen
from torchvision.datasets import CIFAR10
try:
    from torchvision.models.feature_extraction import create
except ImportError:
    create = None
import torch
slow = torch.compiler.disable(lambda number: 2 * number)
"""
WORKS = "from torchvision import datasets, models, ops, transforms\n"
BROKEN = WORKS + "raise OSError('libcudart.so.99: cannot open\\n shared object file')"
MODULES = {
    "__init__.py": WORKS,
    "transforms.py": "def crop(): pass",
    "ops/__init__.py": "import torch._dynamo",
    "ops/misc.py": "from ..transforms import crop\nclass Frozen: pass",
    "datasets.py": "from torchvision import executed\ndef CIFAR10(root): return root",
    "models/__init__.py": "",
    "models/feature_extraction.py": "def create(model, nodes): return model, nodes",
    "executed.py": "",
}
LOADED = """
import sys
from stages.learn.timm_import import load_timm
try:
    print(load_timm().__file__)
except Exception as error:
    print(type(error).__name__, error)
print(sorted(name for name in sys.modules if name.startswith("torchvision")), "torch._dynamo" in sys.modules)
"""
ALL = sorted(
    "torchvision" + "".join(f".{part}" for part in Path(file).with_suffix("").parts if part != "__init__")
    for file in MODULES
)


def python(code: str, *places: Path) -> list[str]:
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(map(str, [*places, ROOT]))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """A folder with a timm, and a torchvision with which importing it takes long."""
    (tmp_path / "timm.py").write_text(TIMM)
    for name, content in MODULES.items():
        (tmp_path / "torchvision" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "torchvision" / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize("package", [WORKS, BROKEN], ids=["works", "broken"])
def test_timm_is_imported_without_what_torchvision_executes_and_nothing_of_it_stays(
    made_up: Path, package: str
) -> None:
    (made_up / "torchvision/__init__.py").write_text(package)
    assert python(LOADED, made_up) == [str(made_up / "timm.py"), "[] False"]


def test_afterwards_an_import_of_torchvision_is_of_the_whole_and_timm_calls_what_stands_there(made_up: Path) -> None:
    code = """
import timm, torchvision, torch
print(torchvision.ops.__file__, torchvision.datasets.CIFAR10("here"), timm.CIFAR10("there"), timm.create("net", 1))
print(timm.Frozen is torchvision.ops.misc.Frozen if hasattr(torchvision.ops, "misc") else "only what was executed")
print(timm.slow(3), torch.compiler.disable.__module__)
"""
    assert python(LOADED + code, made_up)[2:] == [
        f"{made_up}/torchvision/ops/__init__.py here there ('net', 1)",
        "only what was executed",
        "6 torch.compiler",
    ]


@pytest.mark.slow
def test_a_torchvision_that_is_imported_already_is_taken_as_it_is(made_up: Path) -> None:
    code = "import torchvision\n" + LOADED + "print(sys.modules['timm'].crop is torchvision.transforms.crop)"
    known = sorted({*ALL, "torchvision.transforms", "torchvision.ops.misc"})
    assert python(code, made_up) == [str(made_up / "timm.py"), f"{known} True", "True"]


@pytest.mark.slow
def test_a_timm_that_needs_more_gets_the_whole_torchvision_and_all_of_timm_is_of_that(made_up: Path) -> None:
    (made_up / "timm.py").unlink()
    (made_up / "timm").mkdir()
    (made_up / "timm/parts.py").write_text(TIMM)
    (made_up / "timm/__init__.py").write_text("from timm import parts\nimport torchvision\ntorchvision.models")
    code = LOADED + "print(sys.modules['timm.parts'].crop is sys.modules['torchvision'].transforms.crop)"
    assert python(code, made_up) == [str(made_up / "timm/__init__.py"), f"{ALL} True", "True"]


@pytest.mark.slow
def test_where_that_cannot_be_imported_either_it_is_one_line_and_no_half_of_it_is_left(made_up: Path) -> None:
    (made_up / "timm.py").write_text(f"{TIMM}\nimport torchvision\ntorchvision.models")
    (made_up / "torchvision/__init__.py").write_text(BROKEN)
    said, known = python(LOADED, made_up)
    assert said.startswith("UserError torchvision, which timm needs, cannot be imported beside torch 2.")
    assert "libcudart.so.99: cannot open shared object file; install the torchvision that belongs" in said
    assert known.startswith("[] ")


def test_without_torchvision_timm_is_imported_as_it_is(made_up: Path) -> None:
    (made_up / "timm.py").write_text("")
    hidden = (
        "import sys; sys.modules['torchvision'] = None\n"  # as Python has it, an import then fails as one of nothing
    )
    assert python(hidden + LOADED, made_up)[0] == str(made_up / "timm.py")


def test_the_timm_installed_here_makes_its_models_and_photos_without_torchs_compiler() -> None:
    code = """
import sys, torch
from stages.learn.timm_import import load_timm
timm = load_timm()
print(timm.create_model("test_resnet", num_classes=3)(torch.zeros(2, 3, 32, 32)).shape[1])
print(len(timm.data.create_transform(32, is_training=True, auto_augment="rand-m9").transforms))
print("torch._dynamo" in sys.modules, [name for name in sys.modules if name.startswith("torchvision")])
print(timm.create_model("test_vit", features_only=True, img_size=32)(torch.zeros(1, 3, 32, 32))[-1].shape[0])
naflex = timm.create_model("naflexvit_base_patch16_gap", num_classes=3, embed_dim=24, depth=1, num_heads=2).eval()
print(naflex(torch.zeros(2, 3, 32, 32)).shape[1])
"""
    assert python(code) == ["3", "5", "False []", "1", "3"]
