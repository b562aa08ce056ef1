"""A checkout for tests of the engine: the project's folder copied, where cluster run would have git and DVC make it."""

import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock

from stages.base.errors import UserError

SMALL = 1_000_000  # bytes: less than a checkpoint, more than all else


@dataclass(frozen=True)
class Copied:
    """A copy of `source`, but for what trainings leave.

    refused: what a node says whose folder has a file called `refuses`. On one with a file called `full`, no larger file can
    be written from then on, as on a full disk.
    """

    source: Path
    refused: str = ""
    run: str = "*"  # any
    pulls: bool = False  # and does not come to an end

    def made(self, root: Path, say: Callable[[str], None]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        if self.refused and (root / "refuses").exists():
            raise UserError(self.refused)
        if self.pulls:
            say("pulls")
            subprocess.run(["sleep", "600"], cwd=root, check=False)
        if (root / "full").exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))
        with filelock.FileLock(root / "project.lock"):
            if not (root / "project").exists():
                say(f"makes {root}")
                left_out = shutil.ignore_patterns("checkpoints", "train", "cluster")
                shutil.copytree(self.source, root / "project", ignore=left_out)
        return root / "project"
