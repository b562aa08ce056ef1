"""The scripts of docs/scale.md that need no cluster do what the page says, a stand-in in place of Slurm's programs."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stages.learn import checkpoint
from tests.conftest import ENVIRONMENT, HANGS, ROOT, command, lay_out

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="shell scripts")]
STAND_INS = {"srun": 'exec "$@"', "scontrol": 'echo "$@" >> requeued'}


def script(name: str) -> str:
    found = re.search(rf"```bash {re.escape(name)}\n(.*?)```", (ROOT / "docs/scale.md").read_text(), re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture
def shared(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project up to the learning rate, on a disk that all jobs see, and what stands for Slurm."""
    folder = tmp_path / "project"
    lay_out(folder, prepared, train={"epochs": 150})
    command(folder, "dvc", "repro", "-q", "lr-find")
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (folder / "train.sbatch").write_text(script("train.sbatch"))
    monkeypatch.chdir(folder)
    return folder


def job(folder: Path, fold: int) -> subprocess.Popen[bytes]:
    slurm = {"SLURM_ARRAY_TASK_ID": str(fold), "SLURM_ARRAY_JOB_ID": "7"}
    environment = ENVIRONMENT | slurm | {"PATH": f"{folder.parent}{os.pathsep}{ENVIRONMENT['PATH']}"}
    return subprocess.Popen(["bash", "train.sbatch"], cwd=folder, env=environment, start_new_session=True)


def test_jobs_of_an_array_train_a_fold_each_and_one_that_slurm_warns_goes_on_where_it_was(shared: Path) -> None:
    jobs = [job(shared, fold) for fold in (0, 1)]
    while not any(header.fold == 0 and header.epoch for header in checkpoint.headers()) and jobs[0].poll() is None:
        time.sleep(0.05)
    # Slurm warns the steps of a job, not its script.
    for child in Path(f"/proc/{jobs[0].pid}/task/{jobs[0].pid}/children").read_text().split():
        os.kill(int(child), signal.SIGUSR1)
    assert [one.wait(HANGS) for one in jobs] == [130, 0]
    assert Path("requeued").read_text() == "requeue 7_0\n"
    assert not next(header for header in checkpoint.headers() if header.fold == 0).finished
    assert job(shared, 0).wait(HANGS) == 0
    trained = {path: path.read_bytes() for path in shared.glob("out/train/*/models/*")}
    assert len(trained) == 2
    done = command(shared, "dvc", "repro")
    assert (done.stdout + done.stderr).count("(finished)") == 2
    assert {path: path.read_bytes() for path in trained} == trained
    assert json.loads(command(shared, "dvc", "status", "--json").stdout) == {}
