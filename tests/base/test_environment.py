import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stages.base import environment, paths
from tests.conftest import ROOT

DESCRIBE = "import json; from stages.base import environment; print(json.dumps(environment.describe()))"


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *named, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_versions_machine_and_device_are_those_at_hand() -> None:
    found = environment.describe()
    assert found["python"] == platform.python_version()
    assert (found["torch"], found["numpy"]) == (torch.__version__, np.__version__)
    for name in ("timm", "albumentations", "opencv_python_headless", "dvc", "cpu", "platform", "device"):
        assert found[name], name
    assert found["cpus"] == os.cpu_count()
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == (torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    assert all(isinstance(value, str | int | None) for value in found.values())  # flat


@pytest.mark.parametrize(
    "line",
    [
        "__version__ = '2.13.0+cu130'",
        'from torch.torch_version import x\n__version__: str = "2.13.0+cu130"\ndebug = False',
    ],
)
def test_torchs_build_is_told_without_its_import(tmp_path: Path, line: str) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise ImportError('takes seconds')")
    (tmp_path / "torch/version.py").write_text(line)
    code = "from stages.base.environment import installed; print(installed('torch'), installed('no such package'))"
    places = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], env=places, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2.13.0+cu130", "None"]


def test_device_and_threads_may_be_those_of_a_training_elsewhere() -> None:
    found = environment.describe({"device": "a card", "threads": 3, "numpy": "0"})
    assert (found["device"], found["threads"], found["cuda"]) == ("a card", 3, None)
    assert found["numpy"] == np.__version__  # of the process that writes the record


def test_the_revision_is_dirty_by_code_and_params_but_not_by_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    for name in ("params.yaml", "dvc.lock", "out/train/0/history.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "dvc.lock").write_text("b")
    (tmp_path / "out/train/0/history.csv").write_text("b")
    (tmp_path / "out/new.csv").write_text("b")
    found = environment.describe()
    assert (found["git_revision"], found["git_dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "params.yaml").write_text("b")
    assert environment.describe()["git_dirty"] is True
    git(tmp_path, "checkout", "-q", "params.yaml")
    (tmp_path / "new.py").write_text("")
    assert environment.describe()["git_dirty"] is True


def test_names_in_another_code_page_end_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "core.quotePath", "false")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "a")
    monkeypatch.chdir(tmp_path)
    (Path(os.fsdecode(b"Jos\xe9.txt"))).touch()
    assert environment.describe({})["git_dirty"] is True


def test_without_git_the_revision_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = environment.describe()
    assert (found["git_revision"], found["git_dirty"]) == (None, None)
    monkeypatch.setenv("PATH", "")  # no git program at all
    assert environment.describe()["git_revision"] is None


def test_the_record_depends_on_no_stage_and_no_stage_on_it() -> None:
    code = f"import sys; {DESCRIBE.split(';')[1]}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    record = str(paths.OOF_ENVIRONMENT)
    for name, stage in stages.items():
        above = [place for place in stage["deps"] if record.startswith(place)]
        assert not above, f"{name} would run again on every machine: {above}"
        assert record not in json.dumps(stage.get("metrics", [])), "it is no metric"
    assert {record: {"cache": False}} in stages["oof-ensemble"]["outs"]
