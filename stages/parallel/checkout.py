"""The project as the head has it, made on a machine that has not: the git revision, the files that git has not, the photos
from the DVC remote, and what prepare and kfold make of them. What is made is compared with the head's before anything trains.

DVC is only read here (`dvc pull`): who writes dvc.lock is the head.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from stages.base import dvc_cache, files, lock, paths, programs
from stages.base.errors import UserError
from stages.params.keys import flat
from stages.params.load import load
from stages.records import lr_json, run_record
from stages.records.run_record import Record

SENT = "refs/maskcli/sent"  # what a bundle calls its revision
OF_OWN = "reflink,hardlink,copy"  # no links into a cache that other machines do not see
CACHE, PREPARED = "dvc-cache", "prepared"  # folders beside the checkouts that these share
OTHERS = (
    "other photos, labels or libraries are here; have both read the same data (`dvc push` on the head, or a shared disk) with "
    "the same versions"
)
# What prepare writes that must be the head's, byte for byte.
COMPARED = (
    paths.TASK,
    paths.PHOTOS,
    paths.EVAL,
    paths.PIXELS.with_suffix(".json"),
    paths.EVAL_PIXELS.with_suffix(".json"),
)
RECORD = "from stages.parallel import checkout; print(checkout.record().model_dump_json())"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Checkout:
    """What a machine needs to have the project's folder as the head has it. Travels by pickle.

    key: names the folder: the same key, the same content. url: of the git repository; "": none, and the bundle holds all.
    bundle: a git bundle of what the url lacks; b"": nothing. within: the project's folder in the repository. files: content by
    path from the project's folder, put over what git has. pulled: what `dvc pull` is asked for, and photos, the same of what
    prepare reads. prepared: digests of what prepare has written on the head, by path. decodes: photos are read while training
    too, since there is no cache of their pixels. record: of the training that the head asks for.
    """

    key: str
    revision: str
    url: str
    bundle: bytes
    within: str
    files: Mapping[str, bytes]
    pulled: tuple[str, ...]
    photos: tuple[str, ...]
    prepared: Mapping[str, str]
    decodes: bool
    record: Record

    @property
    def run(self) -> str:
        return self.record.run

    def made(self, root: Path, say: Say, cache: Path | None = None) -> Path:
        """The project's folder below `root` on this machine, made there unless it is; whole or not at all, also where several
        processes ask for it at once.

        cache: DVC's, which has the photos already, where the head makes a checkout on a disk that all machines see. Raises
        UserError, in one line: the revision or the photos cannot be had, or what is here would train another run.
        """
        folder = root / self.key
        files.make_folder(root)
        with lock.held(root / f"{self.key}.lock", patience=None):
            if not folder.is_dir():
                say(f"makes the checkout {folder}")
                with files.replacing_folder(folder) as temporary:
                    self._make(temporary, root, say, cache)
        return folder / self.within

    def _make(self, folder: Path, root: Path, say: Say, cache: Path | None) -> None:
        self._fetch(folder)
        project = folder / self.within
        if not (project / paths.DVC_YAML).is_file():
            raise UserError(
                f"revision {self.revision[:7]}: has no {Path(self.within) / paths.DVC_YAML}; commit it on the head"
            )
        for name, content in self.files.items():
            with files.replacing(project / name) as temporary:
                temporary.write_bytes(content)
        dvc_cache.use(project, cache or root / CACHE, links=OF_OWN if cache else dvc_cache.LINKS)
        _pull(self.pulled, project, say, cache is not None)
        self._prepare(project, root, say, cache is not None)
        programs.run([programs.maskcli(), "kfold"], project)
        found = programs.run([*programs.PYTHON, "-c", RECORD], project)
        if other := _differing(Record.model_validate_json(found), self.record):
            raise UserError(f"would train another run than the head asks for: {other}; have both install the same")

    def _fetch(self, folder: Path) -> None:
        """Have git put the revision into the folder."""
        failed = f"revision {self.revision[:7]} cannot be had here"
        git = ["git", "-C", str(folder)]
        programs.run([*git, "init", "-q"], folder)
        if self.url:
            programs.run([*git, "fetch", "-q", self.url, "+refs/heads/*:refs/remotes/head/*"], folder, failed)
        if self.bundle:
            sent = folder / ".git/sent.bundle"
            sent.write_bytes(self.bundle)
            programs.run([*git, "fetch", "-q", str(sent), f"{SENT}:{SENT}"], folder, failed)
            sent.unlink()
        programs.run([*git, "checkout", "-q", "--detach", self.revision], folder, failed)

    def _prepare(self, project: Path, root: Path, say: Say, cached: bool) -> None:
        """Have out/prepare as the head has it: from another checkout on this machine that has it, or made here."""
        store, own = root / PREPARED / key(*sorted(self.prepared.items())), project / paths.PHOTOS.parent
        files.make_folder(store.parent)
        with lock.held(Path(f"{store}.lock"), patience=None):
            there = store.is_dir()
            if self.decodes or not there:
                _pull(self.photos, project, say, cached)
            if there:
                _link(store, own)
                return
            say("prepares the photos")
            programs.run([programs.maskcli(), "prepare"], project)
            for name, digest in self.prepared.items():
                if run_record.digest(project / name) != digest:
                    raise UserError(f"{name}: is not what prepare made on the head: {OTHERS}")
            with files.replacing_folder(store) as temporary:
                _link(own, temporary)


def record() -> Record:
    """Of the training that this folder, as it is on this machine, would be trained as."""
    from stages.learn import run_key  # with torch, which those that only carry a checkout do without

    params = load()
    found = lr_json.read(params)
    return run_key.record(params, found.lr, threads=found.threads)


def prepared() -> dict[str, str]:
    """Digests of what prepare has written into this folder, by path."""
    return {path.as_posix(): run_record.digest(path) for path in COMPARED}


def key(*parts: object) -> str:
    """Names a checkout by all that it is made of."""
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _differing(here: Record, head: Record) -> str:
    """What of two runs differs, in words; empty where they are the same run."""
    if here.run == head.run:
        return ""
    found = run_record.differing(here, head)
    mine, theirs = flat(here.setting), flat(head.setting)
    found |= {
        name: (mine.get(name, ...), theirs.get(name, ...)) for name in theirs if mine.get(name, ...) != theirs[name]
    }
    return run_record.in_words(found, "head")


def _pull(names: Iterable[str], project: Path, say: Say, there: bool) -> None:
    """Have the files of some .dvc files here. there: DVC's cache may have them already."""
    if names:
        if there and programs.succeeds([*programs.DVC, "checkout", "-q", *names], project):
            return
        say(f"dvc pull {' '.join(names)}")
        failed = f"{', '.join(names)}: `dvc pull` does not get it here (`dvc push` on the head sends it)"
        programs.run([*programs.DVC, "pull", *names], project, failed)


def _link(source: Path, target: Path) -> None:
    """Have the files of one folder in another too, taking no room where the disk allows that."""
    files.make_folder(target)
    for path in source.iterdir():
        files.link(path, target / path.name)
