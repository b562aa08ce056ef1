"""Files of a git revision, a DVC experiment or the workspace: from git, the DVC cache, or a remote of the workspace.

The DVC cache and the remotes are the workspace's, whatever the revision's own .dvc/config says: a remote added today also
holds the results of yesterday's commits.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import IO, Any

import yaml

from stages.base import git, paths
from stages.base.errors import UserError

WORKSPACE = "workspace"


def read(revision: str, path: Path) -> bytes:
    """Content of an output as it was in `revision`: a commit, branch, tag, experiment name, or `workspace`.

    Raises UserError if there is no such revision, it has no such file, or neither cache nor remote holds it.
    """
    with opened(revision, path) as file:
        return file.read()


def opened(revision: str, path: Path) -> IO[bytes]:
    """The same, to be read piece by piece."""
    if revision == WORKSPACE:
        if not path.exists():
            raise UserError(f"{path}: not in the workspace; run `dvc repro` first")
        return path.open("rb")
    commit = git.resolve(revision)
    content = git.read(commit, path)
    if content is not None:
        return io.BytesIO(content)
    lock = lock_file(commit)
    if lock is None:
        raise UserError(
            f"{revision}: holds no results{_here()}; after `dvc repro` commit them: `git add -A && git commit -m results`"
        )
    md5 = outputs(lock).get(path.as_posix())
    if md5 is None:
        raise UserError(
            f"{revision}: its dvc.lock names no {path}: that stage was not run, or by another version; "
            "`git checkout` it and run `dvc repro`"
        )
    return _stored(revision, path, md5)


def lock_file(commit: str) -> dict[str, Any] | None:
    """The stages of a dvc.lock, in which DVC notes what was run and what it made: of a commit, or of `workspace`.

    None if there is none. Raises UserError if it cannot be read.
    """
    if commit == WORKSPACE:
        content = paths.DVC_LOCK.read_bytes() if paths.DVC_LOCK.is_file() else None
    else:
        content = git.read(commit, paths.DVC_LOCK)
    if content is None:
        return None
    try:  # libyaml, where there, is ten times as fast
        stages = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
        return {str(name): dict(stage) for name, stage in stages.items()}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError, AttributeError):
        raise UserError(
            f"{commit[: git.SHORT]}: dvc.lock cannot be read; `git checkout` it and run `dvc repro`"
        ) from None


def outputs(lock: dict[str, Any]) -> dict[str, str]:
    """MD5 of every file that the stages of a dvc.lock made, by its path."""
    return {out["path"]: out["md5"] for stage in lock.values() for out in stage.get("outs", []) if "md5" in out}


def _stored(revision: str, path: Path, md5: str) -> IO[bytes]:
    """The content with this hash, from the workspace's DVC cache, or fetched into it from its remotes."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        repo = Repo()
    except NotDvcRepoError:
        raise UserError(
            f"{revision}: {path}: there is no folder .dvc here or above, so no DVC cache; run `dvc init` (in a sub-folder of "
            "the repository `dvc init --subdir`)"
        ) from None
    except DvcException as error:
        raise UserError(f"{revision}: {path}: DVC does not start: {error}; mend .dvc/config") from None
    with repo:
        place = Path(repo.cache.local.oid_to_path(md5))
        tried = [] if place.exists() else _fetch(repo, md5, place)
        if not place.exists():
            raise UserError(
                f"{revision}: {path} is neither in the DVC cache nor in a remote ({', '.join(tried) or 'there is none'}); "
                "run `dvc push --all-commits` (`dvc exp push` for an experiment) where it was made, then `dvc pull` here, or run "
                "this revision again: `git checkout` it and `dvc repro`"
            )
        file = place.open("rb")
    if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5:
        file.close()
        raise UserError(
            f"{revision}: {path}: {os.path.relpath(place)} is damaged; delete it and run `dvc fetch --all-commits`"
        )
    file.seek(0)
    return file


def _fetch(repo: Any, md5: str, place: Path) -> list[str]:
    """Fetch a file into its place in the cache from the first remote that has it, the default one first.

    Returns the remotes that do not, each with its reason where it has one.
    """
    from dvc_data.hashfile.hash_info import HashInfo

    default, tried = repo.config["core"].get("remote"), []
    for name in sorted(repo.config["remote"], key=lambda name: name != default):
        try:
            repo.cloud.pull([HashInfo("md5", md5)], remote=name)
        except Exception as error:  # each kind of remote has errors of its own
            tried.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
            continue
        if place.exists():
            break
        tried.append(name)
    return tried


def _here() -> str:
    """Where results were looked for, where that is not the whole repository."""
    prefix = git.prefix()
    return f" in {prefix}" if prefix else ""
