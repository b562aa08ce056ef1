"""What `maskcli cluster run` does not begin with, and what a node does not train, by the names of docs/bad_input.md.

The working folder is a project in git and DVC, committed, nothing run.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from stages.base import files, git, programs
from stages.by_hand import cluster_staging
from stages.parallel.checkout import Checkout
from stages.records.run_record import Record

Patch = pytest.MonkeyPatch
Begun = AbstractContextManager[object]


def as_it_is() -> Begun:
    return nullcontext()


def changed() -> Begun:
    Path("mine.txt").write_text("mine")
    return nullcontext()


def no_git() -> Begun:
    Path(".git").rename("../git")
    return nullcontext()


def no_dvc() -> Begun:
    Path(".dvc").rename("../dvc")
    subprocess.run(["git", "commit", "-qam", "no DVC"], check=True)
    return nullcontext()


def another_called_so() -> Begun:
    head = git.resolve("HEAD")
    tree = git.ask("mktree", given=f"100644 blob {_other_params()}\tparams.yaml\n").decode().strip()
    made = git.ask("commit-tree", tree, "-p", head, "-m", "an experiment").decode().strip()
    git.ask("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/mine", made)
    return nullcontext()


def _other_params() -> str:
    return git.ask("hash-object", "-w", "--stdin", given="loss: ldam\n").decode().strip()


@contextmanager
def at_work() -> Iterator[None]:
    with cluster_staging.alone("loss=focal"):
        files.write_json(cluster_staging.place() / "loss=focal.holder.json", {"process": 4711})
        yield


CASES: dict[str, tuple[tuple[str, ...], Callable[[], Begun]]] = {
    "no Ray cluster at the address": (("--address", "127.0.0.1:1"), as_it_is),
    "an address of no port": (("--address", "here"), as_it_is),
    "cluster run of what is not committed": (("-S", "loss=focal"), changed),
    "cluster run outside a git repository": (("-S", "loss=focal"), no_git),
    "cluster run where there is no DVC": (("-S", "loss=focal"), no_dvc),
    "a key in -S that params.yaml does not have": (("-S", "los=focal"), as_it_is),
    "a value in -S that cannot be": (("-S", "loss=ce,facal"), as_it_is),
    "a value twice in -S": (("-S", "loss=focal,focal"), as_it_is),
    "-S for another file": (("-S", "other.yaml:loss=focal"), as_it_is),
    "-n without -S": (("-n", "mine"), as_it_is),
    "-n that git does not take": (("-S", "loss=focal", "-n", "my experiment"), as_it_is),
    "-n that another experiment has": (("-S", "loss=focal", "-n", "mine"), another_called_so),
    "an experiment that another cluster run is at": (("-S", "loss=focal"), at_work),
    "an experiment named twice": (("a", "a"), as_it_is),
    "an experiment that DVC's queue does not have": (("mine",), as_it_is),
    "an experiment that has run": (("mine",), another_called_so),
    "DVC's queue, empty": (("--queued",), as_it_is),
    "DVC's queue and -S at once": (("--queued", "-S", "loss=focal"), as_it_is),
    "--claim for the workspace": (("--claim", "origin"), as_it_is),
    "--dirty for DVC's queue": (("--queued", "--dirty"), as_it_is),
    "--shared without a cluster": (("--shared", "disk"), as_it_is),
    "--gpus-per-fold without a cluster": (("--gpus-per-fold", "1"), as_it_is),
    "--git-remote that is not there": (("--address", "127.0.0.1:1", "--git-remote", "team"), as_it_is),
}

SENT = Checkout(
    "key", "0123abc" + "0" * 33, "", b"", ".", {}, (), (), {}, False, Record(run="head", setting={"torch": "2.15.0"})
)


def no_revision(patch: Patch) -> Checkout:
    return Checkout(**vars(SENT) | {"url": "../nowhere"})


def no_photos(patch: Patch) -> Checkout:
    """The node has the revision, in which DVC knows of no remote."""
    patch.setattr(Checkout, "_fetch", lambda self, folder: _in_git_and_dvc(folder))
    return Checkout(**vars(SENT) | {"photos": ("data.dvc",)})


def other_photos(patch: Patch) -> Checkout:
    patch.setattr(Checkout, "_fetch", lambda self, folder: _in_git_and_dvc(folder))
    patch.setattr(programs, "run", lambda words, folder, failed="": "")  # prepare has made what lies there
    return Checkout(
        **vars(SENT) | {"prepared": {"out/prepare/photos.csv": "0"}, "files": {"out/prepare/photos.csv": b"x"}}
    )


def other_versions(patch: Patch) -> Checkout:
    patch.setattr(Checkout, "_fetch", lambda self, folder: _in_git_and_dvc(folder))
    here = Record(run="here", setting={"torch": "2.13.0"}).model_dump_json()
    patch.setattr(programs, "run", lambda words, folder, failed="": here)
    return SENT


def _in_git_and_dvc(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".dvc").mkdir()
    (folder / "dvc.yaml").touch()
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (folder / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  hash: md5\n  path: data\n")
    (folder / "out/prepare").mkdir(parents=True)


# On a node, what it is asked to make.
NODES: dict[str, Callable[[Patch], Checkout]] = {
    "a node that cannot have the revision": no_revision,
    "a node that cannot have the photos": no_photos,
    "a node with other photos": other_photos,
    "a node with another version of a library": other_versions,
}
