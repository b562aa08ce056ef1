"""One small demo data set, prepared once; tests work in copies of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

# Models this small gain nothing from threads, and several test processes would fight over the cores. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from stages import kfold, paths, prepare, run_record
from stages.data import demo
from stages.params import Params, parse
from stages.run_record import Record
from stages.talk import SILENT

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
# A quick configuration: 24 people, two folds, 32x32 px.
SMALL: dict[str, Any] = {
    "folds": [0, 1],
    "image": {"height": 32, "width": 32, "margin": 2},
    "train": {"epochs": 2, "batch_size": 32},
    "lr": 0.003,
    "lr_find": {"steps": 12},
    "ensemble": {"replicates": 100},
}


def small(**changes: Any) -> Params:
    """SMALL with groups updated and other keys replaced."""
    value = {key: dict(group) if isinstance(group, dict) else group for key, group in SMALL.items()}
    for key, change in changes.items():
        value[key] = value.get(key, {}) | change if isinstance(change, dict) else change
    return parse(value)


# Files that take longest, whose tests start first, so that no process is left with one of them at the end.
FIRST = ("test_pipeline.py", "test_kill.py", "test_check.py", "test_budget.py", "test_ensembling.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with data/ and the outputs of prepare and kfold; never written to."""
    folder = tmp_path_factory.mktemp("prepared")
    demo.write(folder / "data", people=24, eval_people=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(SMALL))
        prepare.run(small(), SILENT)
        kfold.run(small(), SILENT)
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `prepared`, as the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder


def record_folds(params: Params, lr: float = 0.003) -> Record:
    """Write what trained folds record of their run, for tests that make the folds' outputs themselves."""
    record = run_record.made(params, lr, {})
    for fold in params.folds:
        run_record.write(paths.train_run(fold), record)
    return record


def command(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder as a person would, and check its exit code."""
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def lay_out(folder: Path, prepared: Path, **changes: Any) -> None:
    """A git and DVC project on the small data set, nothing run yet; `changes` as for `small`."""
    for name in ("dvc.yaml", ".gitignore", ".dvcignore", "stages", "pseudo", "weights"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    shutil.copytree(prepared / "data", folder / "data")
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for updates in (SMALL, changes):
        for key, value in updates.items():
            params[key] = params[key] | value if isinstance(value, dict) else value
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    command(folder, "git", "init", "-q")
    command(folder, "git", "config", "user.email", "a@example.org")
    command(folder, "git", "config", "user.name", "a")
    command(folder, "dvc", "add", "-q", "data")
