"""Claims: who trains which experiment, so that people who share a git remote do not train one twice.

A claim is a ref on the remote, refs/maskcli/claims/<start>/<experiment>, of a commit without files whose message says who holds
it. It is made by a push that expects no such ref there, so of several pushes at one time the remote takes one. A claim stays
until it is released: that the experiment is trained does not end it, or the next one would train it again.

<start> is a digest of what the experiment starts from, params, data and code, and not a commit: who has committed results or
words meanwhile would train the same from another commit. Data and code that are not committed count as what the experiment
has of them.
"""

import hashlib
import json
import re
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.base import git, paths
from stages.base.errors import UserError, nearest

WHERE = "refs/maskcli/claims"
CLAIM = re.compile(rf"{WHERE}/([0-9a-f]+)/([^/]+)")
# Files of a commit that change no training: what stages write, settings of git and DVC, words about the project.
NO_INPUT = re.compile(r"(?:.*/)?\.|(?:out|docs|tests|bench)/|dvc\.lock$|.*\.(?:md|ipynb)$")
LONGEST = 60  # letters of an experiment's name that is made from its changes
# What git says of a push that another one has overtaken: the ref was there, or was being made at that moment.
OVERTAKEN = ("stale info", "failed to update ref", "cannot lock ref", "already exists", "fetch first")
# Lines that git adds to every remote that it cannot read.
PADDING = (
    "Could not read from remote repository.",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
)
TRIES, PAUSE = 5, 0.2  # of an overtaken push, until the other is done; seconds


@dataclass(frozen=True)
class Holder:
    """Who holds a claim, on which host, since when (UTC, by that host's clock), and in which clone.

    clone: a digest by which a clone knows its own claims again.
    """

    who: str
    host: str
    when: datetime
    clone: str


@dataclass(frozen=True)
class Claim:
    """A claim on a remote: the experiment's name, the digest of what it starts from (`start`), and who holds it."""

    name: str
    start: str
    holder: Holder


def claim(remote: str, name: str, base: str, tree: str = "") -> Holder | None:
    """Claim an experiment on the commit `base`. None: this clone holds it now, or did before; else the holder.

    tree: a commit of the files that it is trained with, where those are not the base's. Raises UserError where there is no such
    git remote or commit, the remote cannot be reached or refuses, or nothing can be named so.
    """
    _check(remote)
    ref, own = _ref(name, start(base, tree)), clone()
    made = _written(name, own)
    for again in range(TRIES):
        why = _pushed(remote, made, ref, expected="")
        if not why:
            return None
        there = {ref: held} if (held := _there(remote).get(ref)) else {}
        if made in there.values():  # the remote took it, and the connection was cut before it said so
            return None
        for holder in _holders(remote, there).values():
            return None if holder.clone == own else holder
        if not there and not any(sign in why for sign in OVERTAKEN):
            break
        time.sleep(PAUSE * again)
    raise _refused(remote, f"the claim of {name}", why)


def release(remote: str, held: Claim) -> None:
    """Remove a claim, whoever holds it, unless somebody else holds it by now. Raises UserError as `claim` does."""
    _check(remote)
    ref = _ref(held.name, held.start)
    there = {ref: made} if (made := _there(remote).get(ref)) else {}
    if _holders(remote, there) != {ref: held.holder}:
        return
    why = _pushed(remote, "", ref, expected=there[ref])
    if why and _there(remote).get(ref) == there[ref]:
        raise _refused(remote, f"the release of {held.name}", why)


def listed(remote: str) -> list[Claim]:
    """All claims on a remote, oldest first. Raises UserError where it cannot be asked."""
    _check(remote)
    for _ in range(TRIES):
        there = {ref: made for ref, made in _there(remote).items() if CLAIM.fullmatch(ref)}
        holders = _holders(remote, there)
        if len(holders) == len(there):  # else one was released meanwhile
            break
    found = []
    for ref, holder in holders.items():
        where, name = ref.removeprefix(f"{WHERE}/").split("/")
        found.append(Claim(name, where, holder))
    return sorted(found, key=lambda one: (one.holder.when, one.name))


def experiment_name(changes: Mapping[str, Any]) -> str:
    """What an experiment is called that was given no name, the same wherever the same params change (dotted key to value):
    `loss=focal`, `loss=focal+train.epochs=3`. A long one, or one with letters that git refuses, ends in a digest instead.
    """
    parts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in sorted(changes.items())}
    whole = "+".join(f"{key}={value}" for key, value in parts.items()) or "unchanged"
    fit = re.sub(r"[^\w.=+-]+|\.{2,}", "-", whole, flags=re.ASCII).strip(".-")
    if fit == whole and len(fit) <= LONGEST and not fit.endswith(".lock"):
        return fit
    digest = hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()
    return f"{fit[: LONGEST - len(digest) - 1]}-{digest}"


def start(base: str, tree: str = "") -> str:
    """A digest of what trainings start from in a commit: the project's files that shape them; those of `tree`, where one is
    given, but for params.yaml, whose changes an experiment is named by. Raises UserError."""
    found = _listed(base)
    if tree:
        found = _listed(tree) | {name: line for name, line in found.items() if name == paths.PARAMS.name}
    kept = [found[name] for name in sorted(found) if not NO_INPUT.match(name)]
    whole = "\0".join([git.prefix(), *kept, ""])
    return hashlib.blake2b(whole.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def _listed(commit: str) -> dict[str, str]:
    """What git has of each file of the project in a commit, by its name."""
    lines = git.ask("ls-tree", "-r", "-z", commit).decode(errors="surrogateescape").split("\0")
    return {line.partition("\t")[2]: line for line in lines if line}


def _ref(name: str, where: str) -> str:
    """The ref that claims an experiment. Raises UserError where git could not call it so."""
    ref = f"{WHERE}/{where}/{name}"
    if not CLAIM.fullmatch(ref) or git.run("check-ref-format", ref) is None:
        raise UserError(f"{name!r}: no name of an experiment; take letters, digits, `.`, `-`, `_`, `=` and `+`")
    return ref


def _check(remote: str) -> None:
    known = git.ask("remote").decode(errors="replace").split()
    if remote not in known:
        mend = f"there is {', '.join(known)}" if known else "`git remote add origin URL` names one"
        raise UserError(f"{remote}: no such git remote{nearest(remote, known, otherwise=mend)}")


def clone() -> str:
    """A digest of this clone: of a number drawn once and kept in .git/config, and of where it lies, so that a copy is another."""
    key = "maskcli.clone"
    if git.run("config", "--local", key) is None:
        git.ask("config", "--local", key, secrets.token_hex(8))
    whole = [git.ask("config", "--local", key).decode().strip(), socket.gethostname(), str(Path.cwd().resolve())]
    return hashlib.blake2b("\n".join(whole).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def _written(name: str, clone: str) -> str:
    """A commit, in no branch, that says who claims; its hash, which no other claim has."""
    who, host = git.user() or git.signature()[0], socket.gethostname()
    when = datetime.now(UTC).isoformat(timespec="seconds")
    said = json.dumps({"who": who, "host": host, "when": when, "clone": clone, "drawn": secrets.token_hex(8)})
    tree = git.ask("mktree").decode().strip()
    return git.ask(*git.signed(), "commit-tree", tree, "-m", f"maskcli: claim of {name}", "-m", said).decode().strip()


def _pushed(remote: str, made: str, ref: str, expected: str) -> str:
    """Push a commit to a ref (an empty one removes it) that is as `expected` there, empty: not there. Why not, or empty.

    No pre-push hook is run: that of `dvc install` would push all data first.
    """
    lease = f"--force-with-lease={ref}:{expected}"
    done = git.tried("push", "--porcelain", "--no-verify", lease, "--", remote, f"{made}:{ref}")
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode(errors="replace").splitlines()
    told = [line.removeprefix("remote:").strip() for line in lines if line.startswith("remote:")]
    if refusal := re.search(r"^!\t.*\[(.*)\t?$", done.stdout.decode(errors="replace"), re.MULTILINE):
        told.append(refusal[1].replace("]", "").strip())
    return _one_line([one for one in told if one] or lines) or "git does not say why"


def _there(remote: str) -> dict[str, str]:
    """The refs of all claims on a remote, and the hash of each."""
    done = git.tried("ls-remote", "--refs", "--", remote, f"{WHERE}/*")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        raise UserError(f"{remote}: cannot be asked ({_one_line(lines)}); see `git remote -v` and `git fetch {remote}`")
    pairs = (line.split("\t") for line in done.stdout.decode(errors="surrogateescape").splitlines())
    return {ref: made for made, ref in pairs}


def _holders(remote: str, there: Mapping[str, str]) -> dict[str, Holder]:
    """Who holds claims, by ref, but for those that were released before they could be read."""
    missing = "".join(f"{ref}\n" for ref, made in there.items() if not _is_here(made))
    if missing:
        git.tried("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin", "--", remote, given=missing)
    return {ref: _holder(remote, ref, made) for ref, made in there.items() if _is_here(made)}


def _is_here(made: str) -> bool:
    return git.run("cat-file", "-e", made) is not None


def _holder(remote: str, ref: str, made: str) -> Holder:
    message = (git.run("log", "-1", "--format=%b", made) or b"").decode(errors="replace")
    try:
        said = json.loads(message)
        when = datetime.fromisoformat(said["when"]).astimezone(UTC)
        return Holder(_plain(said["who"]), _plain(said["host"]), when, str(said["clone"]))
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{remote}: {ref} is no claim of maskcli's; remove it: `git push {remote} :{ref}`") from None


def _plain(text: Any) -> str:
    """What somebody else wrote, fit for a line on a terminal."""
    return "".join(letter for letter in str(text) if letter.isprintable())


def _refused(remote: str, what: str, why: str) -> UserError:
    return UserError(f"{remote}: refuses {what} ({why}); you need to be let push {WHERE}/* there: ask who runs it")


def _one_line(lines: list[str]) -> str:
    """What git printed, as one."""
    bare = (_plain(line.strip().removeprefix("fatal: ").removeprefix("error: ")) for line in lines)
    return "; ".join(line.rstrip(".") for line in bare if line and line not in PADDING)
