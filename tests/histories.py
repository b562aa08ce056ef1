"""Git and DVC histories with results in them, made by hand in milliseconds: nothing is trained."""

import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stages.base import paths
from stages.base.files import write_json

PEOPLE = 30
IGNORED = "/out/*/oof.npz\n/remote\n"


def git(folder: Path, *words: str, day: int = 1) -> str:
    """Run git with fixed names and times, so that the same content has the same hash."""
    day_of = {f"GIT_{who}_DATE": f"2026-03-{day:02d}T12:00:00 +0000" for who in ("AUTHOR", "COMMITTER")}
    named = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *named, *words], cwd=folder, capture_output=True, text=True, env=os.environ | day_of)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def lay(folder: Path) -> Path:
    """A git repository with DVC in it, and no commit yet."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    lay_dvc(folder)
    (folder / ".gitignore").write_text(IGNORED)
    return folder


def lay_dvc(folder: Path) -> None:
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (folder / ".dvc/tmp").mkdir()
    (folder / ".dvc/tmp/btime").touch()  # DVC makes it whenever it starts
    (folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")


def oof(seed: int, lift: float = 0.0, first: int = 0, people: int = PEOPLE, select: str = "last") -> bytes:
    """An oof.npz of `people` from `first` with seven photos each; `lift` is added to the true class's logit."""
    label = np.random.default_rng(0).integers(0, 18, people * 7)
    logits = np.random.default_rng(seed).normal(size=(1, people * 7, 18)).astype(np.float32)
    logits[0, np.arange(people * 7), label] += lift
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    buffer = io.BytesIO()
    np.savez(
        buffer,
        photo=np.array([f"{person}/{number}.jpg" for person in range(first, first + people) for number in range(7)]),
        person=np.repeat([str(number) for number in range(first, first + people)], 7),
        label=label,
        fold=np.repeat(np.arange(people) % 5, 7),
        selected=logits,
        last=logits,
        select=np.array(select),
        seed=np.array(0),
    )
    return buffer.getvalue()


def write_results(folder: Path, content: bytes, score: float = 0.5, cache: Path | None = None, **params: Any) -> None:
    """What `dvc repro` would leave: oof.npz in the workspace and the cache, metrics.json, dvc.lock, params.yaml."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for place in (cached(cache or folder / ".dvc/cache", md5), folder / paths.OOF_ARRAYS):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    write_json(
        folder / paths.OOF_METRICS,
        {"macro_f1": score, "macro_f1_low": score - 0.1, "macro_f1_high": score + 0.1, "people": PEOPLE},
    )
    (folder / paths.PARAMS).write_text(yaml.safe_dump(params))
    stage = {
        "cmd": "maskcli oof-ensemble",
        "params": {"params.yaml": params},
        "outs": [{"path": str(paths.OOF_ARRAYS), "hash": "md5", "md5": md5, "size": len(content)}],
    }
    (folder / paths.DVC_LOCK).write_text(yaml.safe_dump({"schema": "2.0", "stages": {"oof-ensemble": stage}}))


def cached(cache: Path, md5: str) -> Path:
    return cache / "files/md5" / md5[:2] / md5[2:]


def commit(folder: Path, message: str, day: int = 1) -> str:
    git(folder, "add", "-A", day=day)
    git(folder, "commit", "-q", "--allow-empty", "-m", message, day=day)
    return git(folder, "rev-parse", "HEAD")


def experiment(folder: Path, name: str, day: int = 1) -> str:
    """The workspace's changes as a DVC experiment on HEAD: a commit under refs/exps. The workspace is then clean."""
    base = git(folder, "rev-parse", "HEAD")
    made = commit(folder, name, day)
    git(folder, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", made)
    git(folder, "reset", "-q", "--hard", base)
    return made


def two_commits(folder: Path, oof: Callable[[int], bytes] = oof) -> Path:
    """Two commits with results (ce, then focal), each with an experiment of the name `smooth`; `oof` makes their oof.npz."""
    lay(folder)
    for day, loss in ((1, "ce"), (3, "focal")):
        write_results(folder, oof(day), 0.4 + day / 100, loss=loss)
        commit(folder, loss, day)
        write_results(folder, oof(day + 1), 0.4 + day / 100 + 0.01, loss="label_smoothing")
        experiment(folder, "smooth", day + 1)
    return folder


def _shallow() -> None:
    git(Path(), "clone", "-q", "--depth", "1", "--no-local", ".", "shallow")
    os.chdir("shallow")


def _queued() -> None:
    git(Path(), "update-ref", "--create-reflog", "-m", "dvc-exp:1:2:later", "refs/exps/celery/stash", "HEAD")


def _remote() -> None:
    git(Path(), "remote", "add", "origin", "nowhere")
    git(Path(), "update-ref", "refs/remotes/origin/theirs", "HEAD")


def _empty() -> None:
    Path("new").mkdir()
    git(Path("new"), "init", "-q")
    os.chdir("new")


def _no_cache() -> None:
    shutil.rmtree(".dvc/cache")


def _damaged() -> None:
    for place in Path(".dvc/cache").rglob("*"):
        if place.is_file():
            place.write_bytes(b"")


# What a person names, and what is done to `two_commits` before, by the name that docs/bad_input.md gives it.
CASES: dict[str, tuple[str, Callable[[], object]]] = {
    "a name that nothing has": ("nothing", lambda: None),
    "an experiment of a colleague, not pulled": ("nothing", _remote),
    "a branch of the remote, not checked out": ("theirs", _remote),
    "an experiment under two commits": ("smooth", lambda: None),
    "a branch and a tag of one name": (
        "v1",
        lambda: (git(Path(), "branch", "v1", "HEAD~1"), git(Path(), "tag", "v1")),
    ),
    "an experiment that waits in the queue": ("later", _queued),
    "a commit beyond a shallow clone": ("HEAD~1", _shallow),
    "a repository without a commit": ("HEAD", _empty),
    "a commit without results": (
        "HEAD",
        lambda: (git(Path(), "rm", "-q", "dvc.lock"), commit(Path(), "no results", day=5)),
    ),
    "a dvc.lock without that stage": (
        "HEAD",
        lambda: (Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n"), commit(Path(), "half a run", day=5)),
    ),
    "a dvc.lock that a merge left open": (
        "HEAD",
        lambda: (Path("dvc.lock").write_text("<<<<<<< HEAD\n"), commit(Path(), "merge", day=5)),
    ),
    "no folder .dvc": ("HEAD", lambda: shutil.rmtree(".dvc")),
    "results that were never pushed": ("HEAD", _no_cache),
    "a damaged file in the DVC cache": ("HEAD", _damaged),
}
