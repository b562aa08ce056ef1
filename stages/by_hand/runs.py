"""runs: the results of commits and experiments side by side: who ran what, the score, and whether it is better than the first."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from stages.base import git, paths, revisions
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.by_hand import compare
from stages.judge.paired_difference import Difference
from stages.records import past_runs, run_record

FAR_BACK = 5000  # commits looked at
CODE = "stages/"
DESCRIBED = "%ct%x00%aN%x00%s"  # of a commit, in git's words: when, by whom (.mailmap counts), first line


@dataclass(frozen=True)
class Place:
    """Where results lie: a commit, an experiment or the workspace, by the name that people call it."""

    name: str
    revision: str  # a full SHA, or `workspace`
    subject: str  # first line of the commit's message; the name of an experiment whose name stands twice; or empty
    when: datetime
    who: str  # the author of the commit or experiment, by name


@dataclass(frozen=True)
class Row:
    """One run. Places with the same OOF predictions are one run, named after the oldest of them.

    who: the author of that commit or experiment; same_who: of each of `same`. seconds: time of the training epochs, all
    folds and repeats together. difference, low and high: macro F1 against the base, with its 95 % interval. verdict: `base`,
    that of Difference, `the same predictions`, or `not comparable`.
    """

    name: str
    revision: str
    subject: str
    who: str
    when: str  # ISO 8601, in the time zone of this machine
    macro_f1: float
    macro_f1_low: float
    macro_f1_high: float
    seconds: float | None
    changed: list[str]  # against the base
    same: list[str]  # other names of the same predictions
    same_who: list[str]
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    verdict: str = "not comparable"
    repeats: int = 1  # whose joined predictions macro_f1 is of; `difference` is that of one, on average


@dataclass(frozen=True)
class Made:
    """What a run was made of: its params, and MD5 of every dependency of its stages by path."""

    record: run_record.Record
    dependencies: dict[str, str]


@dataclass(frozen=True)
class Found:
    """The table: rows best first, and what is not in it."""

    base: str
    rows: list[Row]
    older: int  # commits and experiments beyond the limit, not looked into
    without_results: int  # commits and experiments
    notes: list[str]
    units: str = "groups"  # people, groups or photos, that runs are compared over


def run(talk: Talk, limit: int = 20, base: str | None = None, everywhere: bool = False) -> Found:
    """The newest `limit` runs of HEAD's history, DVC experiments and the workspace, best macro F1 first.

    base: the run that the others are compared with, as `maskcli compare` does, all rows sharing one error
    rate; None: the oldest one shown. everywhere: also commits of other branches, of remotes too, and of tags.
    Raises UserError if git cannot be asked, or if there are no results.
    """
    named = [_place_of(base)] if base else []
    found, older, without = grouped([*named, *places(everywhere)], limit)
    if not found:
        raise UserError(
            "runs: no commit and no experiment here holds results; after `dvc repro`: `git add -A && git commit`"
        )
    if named and found[0][0] != named[0]:
        raise UserError(f"runs: --base {base}: holds no results; name a run that does, or leave --base out")
    # The base goes by the name it was given, and all others by that of the oldest place.
    first = min(found, key=lambda group: group[-1].when) if not named else found[0]
    found.remove(first)
    first = [*first[1:], named[0]] if named else first
    notes: list[str] = []
    base_run = _predictions(first[-1], notes)
    rows, more = judged(first, base_run, found, talk)
    rows.sort(key=lambda row: -row.macro_f1)
    units = base_run.task.units if base_run else "groups"
    return Found(first[-1].name, rows, older, without, list(dict.fromkeys([*notes, *more])), units)


def as_json(found: Found) -> str:
    return json.dumps(asdict(found), allow_nan=False)


def places(everywhere: bool) -> list[Place]:
    """The workspace, then experiments and commits, newest first; each commit once."""
    experiments = [ref for ref in git.refs() if ref.base]
    names = Counter(ref.name for ref in experiments)
    found = []
    for ref in experiments:  # one whose name stands twice goes by its hash, so that compare knows which is meant
        title = (ref.name, "") if names[ref.name] == 1 else (ref.commit[: git.SHORT], ref.name)
        when, who, _ = _described(ref.commit)
        found.append(Place(title[0], ref.commit, title[1], when, who))
    tips = ["HEAD", "--branches", "--tags", "--remotes"] if everywhere else ["HEAD"]
    lines = git.history(f"--max-count={FAR_BACK}", f"--format=%H%x00{DESCRIBED}", *tips)
    for line in lines.decode(errors="replace").splitlines():
        commit, seconds, who, subject = line.split("\0", 3)
        found.append(Place(commit[: git.SHORT], commit, subject, _moment(seconds), who))
    found.sort(key=lambda place: place.when, reverse=True)
    if paths.OOF_ARRAYS.is_file():
        found.insert(0, _place_of(revisions.WORKSPACE))
    return found


def _place_of(name: str) -> Place:
    if name == revisions.WORKSPACE:
        if not paths.OOF_ARRAYS.is_file():
            raise UserError(f"{paths.OOF_ARRAYS}: not in the workspace; run `dvc repro` first")
        return Place(name, name, "", _moment(paths.OOF_ARRAYS.stat().st_mtime), git.user())
    commit = git.resolve(name)
    when, who, subject = _described(commit)
    return Place(name, commit, subject, when, who)


def _described(commit: str) -> tuple[datetime, str, str]:
    """When a commit was made, its author, and the first line of its message."""
    line = git.ask("log", "-1", f"--format={DESCRIBED}", commit).decode(errors="replace")
    seconds, who, subject = line.split("\0", 2)
    return _moment(seconds), who, subject.strip()


def _moment(seconds: str | float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def grouped(found: Sequence[Place], limit: int) -> tuple[list[list[Place]], int, int]:
    """The places by their OOF predictions, in the order given, at most `limit` groups.

    Also how many places may hold others, which are not looked into, and how many hold none.
    """
    once: dict[str, Place] = {}
    for place in found:
        once.setdefault(place.revision, place)
    hashes: dict[str, str] = {"": ""}  # by git's object of dvc.lock: most commits have that of the commit before
    groups: dict[str, list[Place]] = {}
    older = without = 0
    for place, lock in zip(once.values(), _lock_objects(list(once)), strict=True):
        if lock not in hashes and not older:
            hashes[lock] = _oof_hash(place.revision)
        key = hashes.get(lock)
        if key == "":
            without += 1
        elif key and (key in groups or len(groups) < limit):
            groups.setdefault(key, []).append(place)
        else:
            older += 1
    return list(groups.values()), older, without


def _lock_objects(commits: list[str]) -> list[str]:
    """git's object of dvc.lock in each commit, empty where there is none: one process, however many commits.

    `workspace` stands for its own.
    """
    where = git.prefix() + str(paths.DVC_LOCK)
    asked = "".join(f"{commit}:{where}\n" for commit in commits if commit != revisions.WORKSPACE)
    answer = git.ask("cat-file", "--batch-check", given=asked).decode(errors="replace").splitlines()
    objects = ("" if line.endswith(" missing") else line.split()[0] for line in answer)
    return [revisions.WORKSPACE if commit == revisions.WORKSPACE else next(objects) for commit in commits]


def _oof_hash(revision: str) -> str:
    """MD5 of a revision's oof.npz; empty where it holds no results that can be shown."""
    if revision == revisions.WORKSPACE:
        return hashlib.md5(paths.OOF_ARRAYS.read_bytes(), usedforsecurity=False).hexdigest()
    try:
        _scores(revision)
        return revisions.outputs(revisions.lock_file(revision) or {}).get(paths.OOF_ARRAYS.as_posix(), "")
    except UserError:
        return ""


def judged(
    first: list[Place], base: compare.Run | None, others: list[list[Place]], talk: Talk
) -> tuple[list[Row], list[str]]:
    """The first run and the others, which are compared with its predictions where both can be read and hold the same photos;
    and what is to be said of them."""
    notes: list[str] = []
    base_made, rows = _made(first[-1], notes), []
    asked = compare.Asked(only=("macro_f1",), comparisons=max(1, len(others)))
    for group in talk.track(others, len(others), "runs"):
        made = _made(group[-1], notes)
        row = replace(_row(group), changed=changes(base_made, made) if base_made and made else ["cannot be read"])
        found = _against(base, group[-1], asked, notes) if base else None
        rows.append(_with(row, found) if found else row)
    return [replace(_row(first), verdict="base"), *rows], list(dict.fromkeys(notes))


def _predictions(place: Place, notes: list[str]) -> compare.Run | None:
    try:
        found = replace(compare.load(place.revision), name=place.name)
    except UserError as error:
        notes.append(str(error).replace(place.revision, place.name))
        return None
    if found.select != "last":
        notes.append(
            f"{found.name}: epochs were chosen on the scored photos (train.select: {found.select}), so its macro F1 reads too "
            "high; against runs with another rule the last epochs are compared"
        )
    return found


def _against(base: compare.Run, place: Place, asked: compare.Asked, notes: list[str]) -> Difference | None:
    """Macro F1 of a run against the base, as `maskcli compare` has it; None, with a note, where it has none."""
    other = _predictions(place, notes)
    if other is None:
        return None
    try:
        one, two, truth, left_out = compare.paired(base, other)
    except UserError as error:
        notes.append(str(error))
        return None
    notes += [*[truth] * bool(truth), *left_out]
    return compare.against(one, two, replace(asked, rule=compare.settle_rule("auto", [one, two]))).rows[0]


def _with(row: Row, found: Difference) -> Row:
    same = found.difference == found.low == found.high == 0
    return replace(
        row,
        difference=found.difference,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        verdict="the same predictions" if same else found.verdict,
    )


def _row(group: list[Place]) -> Row:
    place, others = group[-1], group[-2::-1]
    scores = _scores(place.revision)
    return Row(
        name=place.name,
        revision=place.revision,
        subject=place.subject,
        who=place.who,
        when=place.when.astimezone().isoformat(timespec="seconds"),
        macro_f1=scores["macro_f1"],
        macro_f1_low=scores["macro_f1_low"],
        macro_f1_high=scores["macro_f1_high"],
        seconds=_seconds(place.revision),
        repeats=int(scores.get("repeats", 1)),
        changed=[],
        same=[other.name for other in others],
        # A workspace with the results of a commit or experiment has them from there.
        same_who=[place.who if other.revision == revisions.WORKSPACE else other.who for other in others],
    )


def _scores(revision: str) -> dict[str, float]:
    """Macro F1, its interval, and of how many repeats it is. Raises UserError where metrics.json is not there or lacks them."""
    try:
        value = json.loads(revisions.read(revision, paths.OOF_METRICS))
        found = {key: float(value[key]) for key in ("macro_f1", "macro_f1_low", "macro_f1_high")}
        return found | {"repeats": float(value.get("repeats", 1))}
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{revision}: {paths.OOF_METRICS}: lacks macro_f1 or its interval; run `dvc repro`") from None


def _seconds(revision: str) -> float | None:
    try:
        history = pd.read_csv(io.BytesIO(revisions.read(revision, paths.OOF_HISTORY)), usecols=["seconds"])
        return float(history["seconds"].sum())
    except (UserError, ValueError):  # of before there were histories, or damaged: the score stands without it
        return None


def changes(before: Made, after: Made) -> list[str]:
    """What was run otherwise `after` than `before`: params, data, code, and what else computed."""
    found = run_record.differing(before.record, after.record)
    parts = [
        run_record.CONTENTS.get(key) or f"{key} {run_record.value_in_words(b)} (was {run_record.value_in_words(a)})"
        for key, (a, b) in found.items()
    ]
    old, new = before.dependencies, after.dependencies
    differ = sorted(path for path in old.keys() & new.keys() if old[path] != new[path])
    if any(path.startswith("data/") for path in differ):
        parts.append("other data")
    if code := [path.removeprefix(CODE) for path in differ if path.startswith(CODE)]:
        parts.append(f"other code ({', '.join(code)})")
    if paths.REQUIREMENTS.as_posix() in differ:
        parts.append(f"another {paths.REQUIREMENTS}")
    but = (*(["pixel_cache"] if found else []), *(["code"] if code else []))
    if setting := run_record.other_settings(before.record, after.record, but):
        parts.append(f"computed with another {', '.join(setting)}")
    return parts


def _made(place: Place, notes: list[str]) -> Made | None:
    try:
        lock: dict[str, Any] = revisions.lock_file(place.revision) or {}
        dependencies = {
            one["path"]: one["md5"] for stage in lock.values() for one in stage.get("deps", []) if "md5" in one
        }
        return Made(past_runs.of_revision(place.revision), dependencies)
    except UserError as error:
        notes.append(str(error).replace(place.revision, place.name))
        return None
