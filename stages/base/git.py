"""What git knows: which commit a name means, the experiments, and files as they were in a commit."""

import getpass
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stages.base.errors import UserError

SHORT = 7  # hex digits of a commit shown to people
EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/([^/]+)")  # as DVC names them, with their base's SHA
KINDS = {"refs/heads/": "branch", "refs/tags/": "tag", "refs/remotes/": "remote branch"}
QUEUES = {
    "refs/exps/celery/stash": "is queued and has not run; `dvc queue start` runs it",
    "refs/exps/celery/failed": "failed in the queue; `dvc queue logs` says why",
}


@dataclass(frozen=True)
class Ref:
    """A name of a commit: a branch, a tag, or a DVC experiment with the commit it started from."""

    name: str
    kind: str
    commit: str
    base: str | None = None  # of an experiment

    def __str__(self) -> str:
        started = f" of {self.base[:SHORT]}" if self.base else ""
        return f"the {self.kind}{started} is {self.commit[:SHORT]}"


def resolve(name: str) -> str:
    """The full SHA of the commit that `name` means: a commit, branch, tag or experiment.

    Raises UserError if git cannot be asked, there is no such commit here, or the name stands for several.
    """
    named = [] if re.fullmatch(r"[0-9a-f]{40}", name) else [ref for ref in refs() if ref.name == name]
    if len({ref.commit for ref in named}) > 1:
        raise UserError(f"{name}: stands for {len(named)} commits: {', '.join(map(str, named))}; name one by its hash")
    if named:
        return named[0].commit
    found = run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") if not name.startswith("-") else None
    if found is None:
        raise UserError(f"{name}: {_why_not(name)}")
    return found.decode().strip()


def refs() -> list[Ref]:
    """All branches, tags and DVC experiments here. Raises UserError if git cannot be asked."""
    fields = "%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)"
    found = []
    for line in ask("for-each-ref", f"--format={fields}").decode(errors="surrogateescape").splitlines():
        ref, *objects = line.split()
        if objects[-2] != "commit":  # a tag of a tag or of a file: git itself may know what it means
            continue
        if experiment := EXPERIMENT.fullmatch(ref):
            found.append(Ref(experiment[3], "experiment", objects[-1], experiment[1] + experiment[2]))
        for start, kind in KINDS.items():
            if ref.startswith(start):
                found.append(Ref(ref.removeprefix(start), kind, objects[-1]))
    return found


def read(commit: str, path: Path) -> bytes | None:
    """A file of the working folder as it was in a commit; None if git has none there."""
    return run("cat-file", "blob", f"{commit}:./{path.as_posix()}")


def prefix() -> str:
    """The working folder, relative to the top of the repository: empty, or ending in a slash."""
    return ask("rev-parse", "--show-prefix").decode(errors="surrogateescape").strip()


def ask(*words: str, given: str = "") -> bytes:
    """What git prints, with `given` on its stdin. Raises UserError, in one line, where it refuses."""
    done = tried(*words, given=given)
    if done.returncode:
        raise UserError(_refused(done.stderr.decode(errors="replace")))
    return done.stdout


def run(*words: str) -> bytes | None:
    """What git prints; None where it refuses."""
    done = tried(*words)
    return None if done.returncode else done.stdout


def history(*words: str) -> bytes:
    """What `git log` prints, nothing where there is no commit yet. Raises UserError where the history cannot be read."""
    unborn = run("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None
    return (run("log", *words) or b"") if unborn else ask("log", *words)


def user() -> str:
    """Who works here, by git, or else by the system; empty for a user without a name, in a container."""
    try:
        found = (run("config", "user.name") or b"").decode(errors="replace").strip()
    except UserError:
        found = ""
    try:
        return found or getpass.getuser()
    except (OSError, KeyError):
        return ""


def signature() -> tuple[str, str]:
    """Name and address by which commits are made here; git itself makes none for somebody whose name it does not know, as in a
    container."""
    known = (run("var", "GIT_COMMITTER_IDENT") or b"").decode(errors="surrogateescape")
    if found := re.match(r"(.*) <(.*)> ", known):
        return found[1], found[2]
    name, address = (
        (run("config", key) or b"").decode(errors="surrogateescape").strip() for key in ("user.name", "user.email")
    )
    return name or user() or "somebody without a name", address or f"maskcli@{socket.gethostname()}"


def signed() -> tuple[str, ...]:
    """Words for git before a command that commits."""
    name, address = signature()
    return "-c", f"user.name={name}", "-c", f"user.email={address}"


def tried(*words: str, given: str = "") -> subprocess.CompletedProcess[bytes]:
    """git, with `given` on its stdin, whatever comes of it. Raises UserError where there is no git."""
    try:  # its messages are read below, so in English
        return subprocess.run(
            ["git", *words],
            input=given.encode(errors="surrogateescape"),
            capture_output=True,
            env=os.environ | {"LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise UserError("git: not found on PATH; revisions are read through it: install it") from None


def _refused(message: str) -> str:
    """git's refusal in one line, with what mends it."""
    lines = [line.strip().removeprefix("fatal: ") for line in message.splitlines() if line.strip()]
    if "dubious ownership" in message:
        where = re.search(r"repository at '(.*)'", message)
        asked = next((line for line in lines if line.startswith("git config")), "git config --global safe.directory")
        return (
            f"{where[1] if where else 'the repository'}: belongs to another user, so git does not read it; "
            f"if you trust it, run `{asked}`"
        )
    if "not a git repository" in message:
        return "this folder is no git repository, so it has no revisions; run `git init`"
    if "Failed to traverse parents" in message:
        return (
            "commits are missing in this repository's history, as in a shallow clone after `dvc exp pull`; run `git fetch "
            "--refetch` (and `git fetch --unshallow` before `dvc exp pull`, in the next clone)"
        )
    return f"git: {' '.join(lines)}; mend the repository (`git fsck` looks for what is broken)"


def _why_not(name: str) -> str:
    """Why no commit has this name, and what to do."""
    for queue, state in QUEUES.items():
        messages = run("log", "--walk-reflogs", "--format=%gs", queue) or b""
        if any(line.endswith(f":{name}") for line in messages.decode(errors="replace").splitlines()):
            return state
    if run("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        return "this repository has no commit yet; run `git add -A && git commit -m first`"
    several = _abbreviated(name)
    if len(several) > 1:
        return f"several commits begin so: {', '.join(commit[: len(name) + 3] for commit in several)}; give more digits"
    shallow = ask("rev-parse", "--is-shallow-repository").strip() == b"true"
    if shallow and re.search(r"[~^]|^[0-9a-f]{4,40}$", name):
        return "not in this shallow clone, which ends before it; run `git fetch --unshallow`"
    remote = next((ref.name for ref in refs() if ref.kind == "remote branch" and ref.name.endswith(f"/{name}")), None)
    if remote:
        return f"no such commit, branch, tag or experiment here; did you mean the remote branch `{remote}`?"
    hint = "; see `git log --oneline` and `dvc exp list`"
    if (remotes := ask("remote").decode().split()) and re.fullmatch(r"[\w.-]+", name):
        hint += f"; a colleague's experiment comes with `dvc exp pull {remotes[0]} {name}`"
    if shallow:
        hint += "; this clone is shallow: `git fetch --unshallow` brings the rest"
    return f"no such commit, branch, tag or experiment{hint}"


def _abbreviated(name: str) -> list[str]:
    """The commits whose hash begins with `name`."""
    if not re.fullmatch(r"[0-9a-f]{4,40}", name):
        return []
    objects = (run("rev-parse", f"--disambiguate={name}") or b"").decode().split()
    return [one for one in objects if (run("cat-file", "-t", one) or b"").strip() == b"commit"]
