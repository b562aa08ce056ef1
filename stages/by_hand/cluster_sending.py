"""What `cluster run` sends to other machines, so that they have the project as an experiment's folder has it (checkout.py)."""

import tempfile
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from stages.base import git, paths, programs
from stages.base.errors import UserError
from stages.base.files import read_npy
from stages.by_hand import cluster_experiments
from stages.by_hand.cluster_staging import Staged
from stages.parallel import checkout
from stages.parallel.checkout import SENT, Checkout
from stages.params.load import load

SMALL = (paths.PARAMS, paths.LR_CHOSEN)  # what git may not have as the folder has it


@dataclass
class Sender:
    """remote: the git remote from which other machines can fetch; "": none, so all of git's history is sent to them."""

    remote: str = ""
    bundles: dict[str, bytes] = field(default_factory=dict)  # by revision: experiments of one commit share theirs

    def __post_init__(self) -> None:
        """Raise UserError where there is no such remote."""
        self.url = self._url()

    def checkout(self, staged: Staged, dirty: bool) -> Checkout:
        """Of an experiment's folder, in which lr-find has run. Raises UserError."""
        revision, prefix = self._revision(staged, dirty), git.prefix()
        if revision not in self.bundles:
            self.bundles[revision] = self._bundle(revision)
        with chdir(staged.folder):
            content = {path.as_posix(): path.read_bytes() for path in SMALL}
            photos, others = tracked()
            prepared, record = checkout.prepared(), checkout.record()
            decodes = read_npy(paths.PIXELS, "prepare").ndim == 1
        parts = revision, prefix, sorted(content.items()), others, photos, sorted(prepared.items()), record.run
        return Checkout(
            checkout.key(*parts),
            revision,
            self.url,
            self.bundles[revision],
            prefix or ".",
            content,
            others,
            photos,
            prepared,
            decodes,
            record,
        )

    def _revision(self, staged: Staged, dirty: bool) -> str:
        """The commit that holds the folder's files, but for params.yaml and what stages write."""
        one = staged.experiment
        if one is None:
            return cluster_experiments.snapshot(everything=True) if dirty else git.resolve("HEAD")
        named = [f":(exclude){name}" for name in (*cluster_experiments.WRITTEN, paths.PARAMS.name)]
        return one.base if git.run("diff", "--quiet", one.base, one.tree, "--", ".", *named) is not None else one.tree

    def _url(self) -> str:
        """Of the remote, as another machine can use it: of a folder its whole path."""
        if not self.remote:
            return ""
        url = git.run("config", f"remote.{self.remote}.url")
        if url is None:
            raise UserError(f"--git-remote {self.remote}: there is no such git remote; see `git remote -v`")
        text = url.decode(errors="surrogateescape").strip()
        place = programs.git_top(Path.cwd()) / text
        return str(place.resolve()) if place.exists() else text

    def _bundle(self, revision: str) -> bytes:
        """What the remote lacks of a commit and its history, as far as is known here; all of it where there is no remote."""
        known = [
            f"^{line}" for line in _lines("for-each-ref", "--format=%(objectname)", f"refs/remotes/{self.remote}/")
        ]
        known = known if self.remote else []
        if known and not _lines("rev-list", "-1", revision, *known):
            return b""
        if not known and _lines("rev-parse", "--is-shallow-repository") == ["true"]:
            raise UserError(
                "cluster run: this clone is shallow, so its history cannot be sent to other machines; run `git fetch "
                "--unshallow`, or have them fetch it: --git-remote origin"
            )
        with (
            tempfile.TemporaryDirectory() as folder
        ):  # a clone of its own: the ref that a bundle needs is none of the project's
            bare, top = Path(folder) / "bare", programs.git_top(Path.cwd())
            programs.run(["git", "clone", "-q", "--shared", "--bare", str(top), str(bare)], top)
            # Of a shallow clone git shares nothing, and copies only what branches have, which a workspace's commit is not in.
            objects = Path(git.ask("rev-parse", "--git-path", "objects").decode(errors="surrogateescape").strip())
            shared = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects.resolve())}
            programs.run(["git", "update-ref", SENT, revision], bare, more=shared)
            programs.run(["git", "bundle", "create", "-q", "sent.bundle", SENT, *known], bare, more=shared)
            return (bare / "sent.bundle").read_bytes()


def tracked() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The .dvc files of the working folder: those of the photos, which only prepare reads, and others, as starting weights."""
    root = PurePosixPath(load().data.root or ".")
    names = git.ask("ls-files", "-z", "--", "*.dvc").decode(errors="surrogateescape")  # -z: as they are, not in quotes
    listed = [name for name in names.split("\0") if name]
    listed += [name for name in (f"{root}.dvc",) if name not in listed and Path(name).is_file()]
    photos = [name for name in listed if _holds(name.removesuffix(".dvc"), root)]
    return tuple(photos), tuple(name for name in listed if name not in photos)


def _holds(name: str, root: PurePosixPath) -> bool:
    """Whether a file or folder is the folder of the photos, or holds it, or lies in it."""
    place = PurePosixPath(name)
    return place.is_relative_to(root) or root.is_relative_to(place)


def _lines(*words: str) -> list[str]:
    return git.ask(*words).decode(errors="surrogateescape").splitlines()
