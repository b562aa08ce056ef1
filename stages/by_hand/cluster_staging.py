"""A folder for each experiment that `cluster run` trains: a clone of the project beside DVC's own temporary files.

There the stages before training run, checkpoints land, and DVC writes the experiment; the workspace is not touched. The clone
takes the project's DVC cache and git's objects as they are, so that nothing is copied.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stages.base import dvc_cache, files, git, lock, paths, programs
from stages.base.errors import UserError
from stages.by_hand import cluster_dvc
from stages.by_hand.cluster_dvc import Say
from stages.by_hand.cluster_experiments import Experiment

PLACE = Path("tmp/cluster")  # in .dvc
PACKED = ".dvc/tmp/repro.dat"  # by which DVC's queue passes on the command that it stands for
PIXELS = (paths.PIXELS, paths.EVAL_PIXELS)
OTHERS = (".json", ".times.npz")
BEFORE = ("lr-find",)  # with all that it rests on: what comes before training


@dataclass(frozen=True)
class Staged:
    """An experiment and the folder that it is trained in; of the workspace: no experiment, and the folder itself."""

    name: str  # "": the workspace
    folder: Path  # absolute
    experiment: Experiment | None = None


def place() -> Path:
    """Where the clones lie."""
    found = dvc_cache.settings(Path.cwd())
    if found is None:
        raise UserError("cluster run: there is no folder .dvc here or above; run `dvc init`")
    return found / PLACE


@contextmanager
def alone(name: str) -> Iterator[None]:
    """See that no second `cluster run` trains the same at the same time in this repository. Raises UserError."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.held(place() / f"{name or 'workspace'}.lock"))
        except lock.Held as busy:
            raise UserError(
                f"{name or 'the workspace'}: another `maskcli cluster run` is at it{_whose(busy.holder)}; wait for it, or stop it"
            ) from None
        yield


def made(experiment: Experiment) -> Staged:
    """A clone with the experiment's files, checked out anew where it stands from before: its checkpoints are kept."""
    top = programs.git_top(Path.cwd())
    clone = place() / experiment.name
    if not (clone / ".git").is_dir():
        with files.replacing_folder(clone) as temporary:
            programs.run(["git", "clone", "-q", "--shared", "--no-checkout", str(top), str(temporary)], top)
            _sign_alike(temporary)
    _check_out(experiment, clone)
    project = (clone / git.prefix()).resolve()
    with files.replacing(project / paths.PARAMS) as temporary:
        temporary.write_bytes(experiment.content)
    cache = dvc_cache.folder()
    if cache is None:
        raise UserError(
            "cluster run: DVC's cache is no folder of this machine, so no second folder can share it; set cache.dir"
        )
    dvc_cache.use(project, cache, like=Path.cwd())
    programs.run(
        [*programs.DVC, "checkout", "-q", "--allow-missing", "--force"], project, f"{experiment.name}: dvc checkout"
    )
    _link_pixels(project)
    return Staged(experiment.name, project, experiment)


def remove(experiment: Experiment) -> None:
    """Remove an experiment's clone, once all of it is in the project."""
    shutil.rmtree(place() / experiment.name, ignore_errors=True)


def prepare(staged: Staged, say: Say) -> None:
    """Run what comes before training, where it has changed. Raises UserError."""
    cluster_dvc.run(["repro", *BEFORE], staged.folder, say)


def _check_out(experiment: Experiment, clone: Path) -> None:
    """Have the clone's files as the experiment's, with the commit that it starts from as HEAD."""
    for words in (
        ("checkout", "-q", "--force", "--detach", experiment.tree),
        ("clean", "-q", "-d", "--force"),  # not what git ignores: checkpoints, the pixel cache
        ("reset", "-q", "--soft", experiment.base),
        ("rm", "-q", "--force", "--ignore-unmatch", "--", f":(top){PACKED}", f":(top,glob)**/{PACKED}"),
    ):
        programs.run(["git", "-C", str(clone), *words], clone, experiment.name)


def _sign_alike(clone: Path) -> None:
    """Whoever commits here commits there; DVC wants a name in git's config, once all is trained."""
    for name, value in zip(("user.name", "user.email"), git.signature(), strict=True):
        programs.run(["git", "-C", str(clone), "config", name, value], clone)


def _link_pixels(project: Path) -> None:
    """Take the workspace's pixel caches, which DVC does not keep; where they do not fit, prepare makes others."""
    for path in PIXELS:
        for name in (path, *(path.with_suffix(end) for end in OTHERS)):
            if name.is_file() and not (project / name).exists():
                files.link(name, project / name)


def _whose(holder: lock.Holder) -> str:
    return f" ({replace(holder, command='').in_words})" if holder.process else ""
