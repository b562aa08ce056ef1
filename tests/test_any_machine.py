"""What a machine, a container or a shell may be like without the answers being any different."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.base import paths
from stages.base.files import write_json
from tests.conftest import ENVIRONMENT, small
from tests.new_project import made

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MADE = (paths.PHOTOS, paths.EVAL, paths.PIXELS, paths.EVAL_PIXELS)


@dataclass(frozen=True)
class Setting:
    """Where and how maskcli runs: the folder's name, the environment, what is done before, and how the process starts."""

    folder: str = "project"
    environment: dict[str, str | None] = field(default_factory=dict)  # None: not set
    before: Callable[[Path], None] = lambda folder: None
    start: dict[str, Any] = field(default_factory=dict)


def read_only(folder: Path) -> None:
    for path in (folder / "data").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)


def far_ahead(folder: Path) -> None:
    for path in (folder / "data").rglob("*"):
        os.utime(path, (2_130_000_000, 2_130_000_000))  # 2037


def one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


SETTINGS = {
    "spaces and brackets": Setting("my project [1] (new) $x 'y'"),
    "Korean": Setting("마스크 프로젝트"),
    "Korean, C locale, ASCII output": Setting("마스크", ASCII),
    "no HOME, USER, LOGNAME": Setting(environment=dict.fromkeys(("HOME", "USER", "LOGNAME"))),
    "python -OO": Setting(environment={"PYTHONOPTIMIZE": "2"}),
    "umask 077": Setting(start={"umask": 0o077}),
    "read-only data/": Setting(before=read_only),
    "files of 2037": Setting(before=far_ahead),
    "OMP_NUM_THREADS=64": Setting(environment={"OMP_NUM_THREADS": "64"}),
    "one core": Setting(start={"preexec_fn": one_core}),
}


def maskcli(setting: Setting, folder: Path, *words: str) -> str:
    """What a command says under a setting, on stdout and stderr."""
    chosen = ENVIRONMENT | setting.environment
    environment = {name: value for name, value in chosen.items() if value is not None}
    done = subprocess.run(["maskcli", *words], cwd=folder, env=environment, capture_output=True, **setting.start)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said
    return said


def moved(project: Path, setting: Setting) -> Path:
    folder = project.rename(project.with_name(setting.folder))
    setting.before(folder)
    return folder


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "sched_setaffinity"), reason="settings of Linux")
@pytest.mark.parametrize("name", SETTINGS)
def test_prepare_writes_the_same_bytes(project: Path, name: str) -> None:
    expected = [path.read_bytes() for path in MADE]
    folder = moved(project, SETTINGS[name])
    for path in MADE:
        (folder / path).unlink()
    maskcli(SETTINGS[name], folder, "prepare")
    assert [(folder / path).read_bytes() for path in MADE] == expected
    if name == "umask 077":
        assert {path.stat().st_mode & 0o077 for path in map(folder.joinpath, MADE)} == {0}


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "sched_setaffinity"), reason="settings of Linux")
def test_a_fold_trains_under_many_of_them_at_once(project: Path) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    Path("params.yaml").write_text(yaml.safe_dump(small(train={"epochs": 1}).model_dump(mode="json"), sort_keys=False))
    many = {**ASCII, "PYTHONOPTIMIZE": "2", "OMP_NUM_THREADS": "64", "HOME": None, "USER": None, "LOGNAME": None}
    setting = Setting("마스크 [1]", many, start={"umask": 0o077, "preexec_fn": one_core})
    folder = moved(project, setting)
    assert "fold 0" in maskcli(setting, folder, "train", "--fold", "0")
    assert (folder / paths.oof_logits(0)).is_file()


def test_a_class_that_the_code_page_lacks_is_told_by_its_number() -> None:
    """Behind a pipe on Windows stdout has the system's code page; a terminal there takes every letter."""
    for old, new in zip(
        sorted(made.folder(Path("photos"), {"cat": 12, "dog": 12}).iterdir()), ("마스크", "é"), strict=True
    ):
        old.rename(old.with_name(new))
    setting = Setting(environment={"PYTHONIOENCODING": "cp1252"})
    assert "\\ub9c8\\uc2a4\\ud06c" in maskcli(setting, Path(), "init", "photos", "--into", "p", "--dry-run")


def test_a_reader_that_stops_after_a_line_is_no_error() -> None:
    running = subprocess.Popen(["maskcli", "--help"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    assert running.communicate()[1] == b""
