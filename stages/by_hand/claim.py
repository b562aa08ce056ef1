"""claim: who trains which experiment, among people who share a git remote."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stages.base import claims, git, paths
from stages.base.claims import Claim, Holder
from stages.base.errors import UserError, nearest
from stages.by_hand import cluster_experiments

if TYPE_CHECKING:
    from dvc.repo import Repo

FIRST = 5  # names that a line shows


@dataclass(frozen=True)
class Queued:
    """An experiment of DVC's queue: what it is claimed as, its name in the queue, and who else holds it; None: it is ours."""

    name: str
    queued_as: str
    holder: Holder | None = None


@dataclass(frozen=True)
class Divided:
    """DVC's queue after the claims: what is ours stays in it, the rest has left it.

    held: others train them. left: nobody has claimed them here, for `--most` was reached.
    """

    ours: list[Queued]
    held: list[Queued]
    left: list[Queued]


def run(remote: str, names: Sequence[str]) -> list[Claim]:
    """Claim experiments that start from HEAD; those that this folder holds by now.

    Raises UserError, in one line, where somebody else holds one of them; the others are claimed all the same.
    """
    base = git.resolve("HEAD")
    held = {name: holder for name in dict.fromkeys(names) if (holder := claims.claim(remote, name, base))}
    if held:
        told = "; ".join(f"{name}: claimed on {remote} by {in_words(holder)}" for name, holder in held.items())
        raise UserError(
            f"{told}; train another, or if nobody trains it any more: `maskcli claim --release {' '.join(held)}`"
        )
    start = claims.start(base)
    return [one for one in claims.listed(remote) if one.name in names and one.start == start]


def of_queue(remote: str, most: int | None) -> Divided:
    """Claim what waits in DVC's queue, in its order, at most so many, and take everything else out of the queue.

    An experiment is claimed by what it changes (`loss=focal`), whatever it is called in the queue. Raises UserError.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return _divided(repo, remote, most)
    except DvcException as error:
        raise UserError(f"claim: DVC's queue cannot be read: {error}") from None


def _divided(repo: "Repo", remote: str, most: int | None) -> Divided:
    queue = repo.experiments.celery_queue
    entries = list(queue.iter_queued())
    if entries and queue.worker_status():
        raise UserError(
            "claim: a worker of `dvc queue start` takes from the queue already; `dvc queue stop`, then claim, then start it"
        )
    found = Divided([], [], [])
    for entry in entries:
        one = Queued(_name_of(entry), entry.name or entry.stash_rev[: git.SHORT])
        if most is not None and len(found.ours) >= most:
            found.left.append(one)
        elif holder := claims.claim(remote, one.name, entry.baseline_rev, entry.stash_rev):
            found.held.append(Queued(one.name, one.queued_as, holder))
        else:
            found.ours.append(one)
        if one not in found.ours:
            queue.remove([entry.stash_rev])
    return found


def _name_of(entry: Any) -> str:
    content = git.read(entry.stash_rev, paths.PARAMS) or b""
    return cluster_experiments.claimed_as(
        entry.baseline_rev, cluster_experiments.parsed(content, entry.stash_rev[: git.SHORT])
    )


def listed(remote: str) -> list[Claim]:
    """All claims on a remote, oldest first. Raises UserError."""
    return claims.listed(remote)


def release(remote: str, names: Sequence[str]) -> list[Claim]:
    """Remove claims by name, whoever holds them; returns them.

    Of one name those of this clone, where it has some: what it has claimed from the queue may start from what is not committed.
    Of these, or else of all, those that start from HEAD; where there are none, those that start from elsewhere. Raises UserError.
    """
    there, start = claims.listed(remote), claims.start(git.resolve("HEAD"))
    known = [one.name for one in there]
    if missing := [name for name in names if name not in known]:
        raise UserError(
            f"{missing[0]}: nobody claims it on {remote}{nearest(missing[0], known, otherwise=_all(known))}"
        )
    chosen, clone = [], claims.clone()
    for name in dict.fromkeys(names):
        named = [one for one in there if one.name == name]
        named = [one for one in named if one.holder.clone == clone] or named
        chosen += [one for one in named if one.start == start] or named
    for one in chosen:
        claims.release(remote, one)
    return chosen


def in_words(holder: Holder) -> str:
    """`bob on gpu1 since 27 Nov 09:45, 3 h ago`."""
    return f"{holder.who} on {holder.host} since {holder.when.astimezone():%d %b %H:%M}, {age(holder)} ago"


def age(holder: Holder) -> str:
    """How long a claim is held, by this machine's clock, in the unit that people would take."""
    minutes = max(0, round((datetime.now(UTC) - holder.when).total_seconds() / 60))
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.0f} days"


def as_json(found: Sequence[Claim] | Divided) -> Any:
    """For JSON; times as ISO 8601."""
    if isinstance(found, Divided):
        return {key: [_plain(one) for one in value] for key, value in vars(found).items()}
    return [_plain(one) for one in found]


def _plain(one: Claim | Queued) -> dict[str, Any]:
    value = asdict(one)
    if value["holder"]:
        value["holder"] |= {"when": one.holder.when.isoformat()}  # type: ignore[union-attr]
    return value


def _all(names: Sequence[str]) -> str:
    shown = f"{', '.join(names[:FIRST])}{' and more' if len(names) > FIRST else ''}"
    return f"claimed are {shown}" if names else "there are no claims"
