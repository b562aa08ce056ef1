"""A checkout for tests of the engine: the project's folder copied, where cluster run would have git and DVC make it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock

from stages.base.errors import UserError


@dataclass(frozen=True)
class Copied:
    """A copy of `source`, but for what trainings leave; refused: the error of a node that cannot make it, unless empty."""

    source: Path
    refused: str = ""

    def made(self, root: Path, say: Callable[[str], None]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        if self.refused and (root / "refuses").exists():
            raise UserError(self.refused)
        with filelock.FileLock(root / "project.lock"):
            if not (root / "project").exists():
                say(f"makes {root}")
                left_out = shutil.ignore_patterns("checkpoints", "train", "cluster")
                shutil.copytree(self.source, root / "project", ignore=left_out)
        return root / "project"
