"""One small demo data set, prepared once; tests work in copies of it."""

import gc
import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

# Models this small gain nothing from threads, and several test processes would fight over the cores. Before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
# What a person has set up for git, DVC and terminals is theirs and shapes no test: hooks, remotes, colours, widths. Nor does a
# Python that keeps no bytecode, which compiles all of this project and rewrites all tests anew in each of hundreds of processes.
THEIRS = (
    "GIT_",
    "DVC_",
    "FORCE_COLOR",
    "PY_COLORS",
    "CLICOLOR_FORCE",
    "GITHUB_ACTIONS",
    "COLUMNS",
    "LINES",
    "PYTHONWARN",
    "PYTHONDONTWRITEBYTECODE",
)
NEEDED = ("GIT_EXEC_PATH", "DVC_SITE_CACHE_DIR", "DVC_NO_ANALYTICS")
for name in [name for name in os.environ if name.startswith(THEIRS) and name not in NEEDED]:
    del os.environ[name]
sys.dont_write_bytecode = False
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
os.environ |= {"DVC_GLOBAL_CONFIG_DIR": "/nonexistent", "DVC_SYSTEM_CONFIG_DIR": "/nonexistent"}

from cli import main
from stages import kfold, prepare
from stages.base import garbage, paths
from stages.base.talk import SILENT
from stages.data import corrections, demo_faces
from stages.params.data_and_axes import CONTEST_AXES
from stages.params.load import parse
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record

garbage.collect_seldom()  # as the commands do
settings.register_profile("a busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("a busy machine")

ROOT = Path(__file__).resolve().parent.parent
WIDE = "1000"  # columns: no sentence that a test looks for is wrapped
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "NO_COLOR": "1",
    "COLUMNS": WIDE,
}
HANGS = 1800.0  # seconds after which a process is taken to hang; no test comes near it on the busiest machine
# A quick configuration: 24 people, two folds, 32x32 px.
SMALL: dict[str, Any] = {
    "folds": [0, 1],
    "image": {"height": 32, "width": 32, "margin": 2},
    "train": {"epochs": 2, "batch_size": 32},
    "lr": 0.003,
    "lr_find": {"steps": 12},
    "ensemble": {"replicates": 100},
    "subsets": {"60plus": {"age": "60+"}},
}


def contest_axes(*bins: int) -> dict[str, Any]:
    """The contest's axes with other bins of age."""
    return CONTEST_AXES | {"age": CONTEST_AXES["age"] | {"bins": list(bins)}}


def small(**changes: Any) -> Params:
    """SMALL with groups updated and other keys replaced."""
    value = {key: dict(group) if isinstance(group, dict) else group for key, group in SMALL.items()}
    for key, change in changes.items():
        value[key] = value.get(key, {}) | change if isinstance(change, dict) else change
    return parse(value)


# Files that take longest, whose tests start first, so that no process is left with one of them at the end.
FIRST = ("test_pipeline.py", "test_check.py", "test_fit.py", "test_bad_input.py", "test_kill.py", "test_refit.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def pytest_collection_finish() -> None:
    """What the imports and the tests themselves are made of lives to the end: no look for garbage goes through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins in an empty folder: the params, data and results beside the code are those of whoever works there.

    What it prints in its own process is as wide as what it runs in others.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", WIDE)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with data/ and the outputs of prepare and kfold; never written to."""
    folder = tmp_path_factory.mktemp("prepared")
    demo_faces.write(folder / "data", people=24, eval_people=6)
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


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: what a full disk or a quota does, without one.

    Python before 3.12.8 would also cut off the bytecode of what is imported first there, for all who import it later.
    """
    import resource  # Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


def maskcli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, list[str]]:
    """Exit code, stdout and the lines of stderr of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["maskcli", *words])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main.run()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err.splitlines()


SHIPPED = (
    "dvc.yaml",
    ".gitignore",
    ".gitattributes",
    ".dvcignore",
    "stages",
    "pseudo/none.csv",
    "weights/none",
    "plugins/none",
    ".dvc/.gitignore",
    ".dvc/plots",
)
DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n"


def lay_out(folder: Path, prepared: Path, **changes: Any) -> None:
    """A git and DVC project on the small data set, nothing run yet; `changes` as for `small`.

    Of the folder the tests lie in only code is taken: its params, labels and DVC's remotes and caches may be a user's.
    """
    for name in SHIPPED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc/config").write_text(DVC_CONFIG)
    (folder / paths.CORRECTIONS).write_text(f"{corrections.HEADER}\n")
    shutil.copytree(prepared / "data", folder / "data")
    params = small(**changes).model_dump(mode="json")
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    command(folder, "git", "init", "-q")
    command(folder, "git", "config", "user.email", "a@example.org")
    command(folder, "git", "config", "user.name", "a")
    command(folder, "dvc", "add", "-q", "data")


def lay_out_in_sub_folder(top: Path, prepared: Path) -> Path:
    """The project in a sub-folder of a git repository, with a folder beside it as DVC's remote."""
    folder = top / "sub"
    lay_out(folder, prepared)
    (folder / ".git").rename(top / ".git")
    command(folder, "dvc", "remote", "add", "-q", "-d", "store", str(top / "store"))
    (top / ".gitignore").write_text("/store\n")
    return folder
