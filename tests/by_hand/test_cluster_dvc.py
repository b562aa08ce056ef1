"""DVC's commands as `cluster run` types them: what is told of them, and that nothing of them outlives what asked."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stages.base import programs
from stages.base.errors import UserError
from stages.by_hand import cluster_dvc


@pytest.fixture
def dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of Python that is run in DVC's place."""
    path = tmp_path / "dvc.py"
    monkeypatch.setattr(programs, "DVC", (sys.executable, str(path)))
    return path


def test_stages_and_warnings_are_told_and_a_failure_in_its_own_words(dvc: Path, tmp_path: Path) -> None:
    said: list[str] = []
    lines = [
        "Running stage 'train@0':",
        "> maskcli train",
        "fold 0 epoch 1/2",
        "warning: a class is rare",
        "Updating lock file",
    ]
    dvc.write_text(f"import sys\nprint(*{lines!r}, sep='\\n')\nassert sys.argv[1:] == ['--wait-for-lock', 'repro']\n")
    cluster_dvc.run(["repro"], tmp_path, said.append)
    assert said == ["stage train@0", "warning: a class is rare"]
    failing = [*lines, "maskcli: fold 0: loss is NaN; lower lr", "ERROR: failed to reproduce 'train@0'"]
    dvc.write_text(f"print(*{failing!r}, sep='\\n')\nraise SystemExit(1)\n")
    with pytest.raises(UserError, match=r"^`dvc repro`: fold 0: loss is NaN; lower lr$"):
        cluster_dvc.run(["repro"], tmp_path, said.append)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_who_asks_to_stop_ends_dvc_and_the_stage_that_it_runs(dvc: Path, tmp_path: Path) -> None:
    began = tmp_path / "began"
    stage = f"import os, time; open({str(began)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    dvc.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {stage!r}])\n")

    def ask() -> None:
        while not (began.exists() and began.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(KeyboardInterrupt, match="`dvc repro` was stopped"):
        cluster_dvc.run(["repro"], tmp_path, lambda line: None)
    number = int(began.read_text())
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def test_it_ends_also_on_a_system_without_groups_of_processes(
    dvc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "killpg")
    monkeypatch.delattr(signal, "SIGKILL")
    said: list[str] = []
    dvc.write_text("print(\"Running stage 'prepare':\")\n")
    cluster_dvc.run(["repro"], tmp_path, said.append)
    assert said == ["stage prepare"]
