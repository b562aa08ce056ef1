"""What `maskcli claim` refuses, by the names of docs/bad_input.md, and repositories that share a remote."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stages.base import claims, git
from tests import histories

NOW, SINCE = datetime(2026, 3, 1, 12, 45, tzinfo=UTC), "2026-03-01T09:45:00+00:00"
SAID = {"who": "bob", "host": "gpu1", "when": SINCE, "clone": "bobs"}


def two_clones(folder: Path) -> Path:
    """A folder with a bare repository, origin/, and two clones of it, ann/ and bob/, each with the project in photos/."""
    histories.git(folder, "init", "-q", "--bare", "-b", "main", "origin")
    histories.git(folder, "init", "-q", "-b", "main", "ann")
    project = folder / "ann/photos"
    project.mkdir()
    (project / "params.yaml").write_text("folds: [0, 1]\n")
    (project / "README.md").write_text("words\n")
    histories.commit(project, "start")
    histories.git(project, "push", "-q", "../origin", "HEAD")
    histories.git(folder, "clone", "-q", "-o", "elsewhere", "origin", "bob")
    for who in ("ann", "bob"):
        histories.git(folder / who, "config", "user.name", who)
        histories.git(
            folder / who, "remote", "add", "origin", "../origin"
        )  # whoever copies the folder has them together
    histories.git(folder / "bob", "remote", "remove", "elsewhere")
    return folder


def at_noon(patch: pytest.MonkeyPatch) -> None:
    """It is NOW as far as the age of claims goes, in UTC."""

    class Noon(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return NOW

    patch.setattr("stages.by_hand.claim.datetime", Noon)
    patch.setenv("TZ", "UTC")
    time.tzset()


def push_claim(name: str, message: str) -> None:
    """A claim as another clone would have made it."""
    made = histories.git(Path(), "commit-tree", git.ask("mktree").decode().strip(), "-m", "claim", "-m", message)
    ref = f"{claims.WHERE}/{claims.start('HEAD')}/{name}"
    histories.git(Path(), "push", "-q", "origin", f"{made}:{ref}")


def _shared() -> None:
    os.chdir(two_clones(Path()) / "ann/photos")


def _claimed() -> None:
    _shared()
    push_claim("focal", json.dumps(SAID))


def _foreign() -> None:
    _shared()
    push_claim("focal", "mine!")


def _without_remote() -> None:
    _shared()
    histories.git(Path(), "remote", "remove", "origin")


def _unreachable() -> None:
    _shared()
    histories.git(Path(), "remote", "set-url", "origin", "../nowhere")


def _refusing() -> None:
    _shared()
    hook = Path("../../origin/hooks/pre-receive")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'only branches and tags here' >&2\nexit 1\n")
    hook.chmod(0o755)


def _no_repository() -> None:
    Path("params.yaml").write_text("folds: [0, 1]\n")


CASES: dict[str, tuple[tuple[str, ...], Callable[[], object]]] = {
    "an experiment that somebody else has claimed": (("focal",), _claimed),
    "a claim on a git remote that is not there": (("focal", "--remote", "orgin"), _shared),
    "a claim without any git remote": (("focal",), _without_remote),
    "a claim on a git remote that cannot be reached": (("focal",), _unreachable),
    "a claim that the git remote refuses": (("focal",), _refusing),
    "a claim outside a git repository": (("focal",), _no_repository),
    "a claim by a name that git does not take": (("two words",), _shared),
    "a ref among the claims that is none": (("focal",), _foreign),
    "the release of what nobody claims": (("--release", "fokal"), _claimed),
    "the release of nothing": (("--release",), _shared),
    "--most without the queue": (("focal", "--most", "2"), _shared),
    "the queue and names at once": (("focal", "--queued"), _shared),
}
