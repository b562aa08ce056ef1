"""Other programs run in a folder: DVC, git, and maskcli itself, as a person would type them."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.base.errors import UserError

# Lines that git adds to every remote that it cannot read.
PADDING = ("Could not read from remote repository.", "you have the correct access rights", "and the repository exists.")
SHOWN = 300  # letters of what a program says of its failure
PYTHON = (sys.executable, "-P")  # -P: modules of the folder where it runs are not taken for those installed
DVC = (*PYTHON, "-m", "dvc")


def maskcli() -> str:
    """The program beside this Python; else on PATH, where `pip install --user` or `--target` has put it."""
    return shutil.which("maskcli", path=environment()["PATH"]) or "maskcli"


def run(words: list[str], folder: Path, failed: str = "", more: Mapping[str, str] | None = None) -> str:
    """What a program prints; stderr is taken too, and told only where it fails.

    failed: what could not be done, as the error's line begins. more: variables of its environment. Raises UserError.
    """
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment() | dict(more or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError:
        raise UserError(f"{failed or _called(words)}: {words[0]} is not found on PATH; install it") from None
    if done.returncode:
        raise UserError(f"{failed or _called(words)}: {reason(done.stderr or done.stdout, done.returncode)}")
    return done.stdout


def dvc(words: Sequence[str], folder: Path, mend: str, progress: bool = False) -> str:
    """What a command of DVC prints; a terminal shows its progress where that is wanted. Raises UserError with DVC's message where
    it refuses, and how to mend that."""
    done = subprocess.run(
        [*DVC, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=None if progress and sys.stderr.isatty() else subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        lines = [line for line in (done.stderr or "").splitlines() if line.startswith("ERROR: ")]
        told = lines[0].removeprefix("ERROR: ") if lines else "failed"
        raise UserError(f"dvc {words[0]}: {told}; {mend}")
    return done.stdout


def succeeds(words: list[str], folder: Path) -> bool:
    """Whether a program does what it is asked, without a word where it does not."""
    try:
        run(words, folder)
    except UserError:
        return False
    return True


def git_top(folder: Path) -> Path:
    """The top of the git repository that a folder lies in. Raises UserError."""
    return Path(run(["git", "rev-parse", "--show-toplevel"], folder).strip())


def environment() -> dict[str, str]:
    """This process's, for programs in another folder: this Python's first, since dvc.yaml names `maskcli`, and no repository of
    a git hook that this may run in."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    scripts = sysconfig.get_path("scripts")
    return kept | {
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C.UTF-8",
        # As `run` reads it: without it Windows' Python writes to a pipe in its code page, and names may be no UTF-8 on Linux.
        "PYTHONIOENCODING": "utf-8:surrogateescape",
        "NO_COLOR": "1",
    }


def reason(said: str, code: int) -> str:
    """Why a program failed, in one line, from what it said: its own line of error, where it has one, else its last."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.strip().endswith(PADDING)]
    for mark in ("maskcli: ", "ERROR: ", "fatal: ", "error: "):
        own = [place for place, line in enumerate(lines) if line.startswith(mark)]
        if own:
            lines = [lines[own[0]].removeprefix(mark), *([] if mark == "maskcli: " else lines[own[0] + 1 :])]
            break
    else:
        lines = lines[-1:]
    return " ".join(lines)[:SHOWN] or f"ended with code {code}"


def _called(words: list[str]) -> str:
    return " ".join([Path(words[0]).name, *words[1:3]])
