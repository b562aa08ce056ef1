"""Files of a git revision, a DVC experiment or the workspace, read through git, the DVC cache or the DVC remote."""

from pathlib import Path

from stages.errors import UserError

WORKSPACE = "workspace"


def read(revision: str, path: Path) -> bytes:
    """Content of an output as it was in `revision`: a commit, branch, tag, experiment name, or `workspace`.

    Raises UserError if there is no such revision, it has no such file, or neither cache nor remote holds it.
    """
    if revision == WORKSPACE:
        if not path.exists():
            raise UserError(f"{path}: not in the workspace; run `dvc repro` first")
        return path.read_bytes()
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import RevError, SCMError

    try:
        content: bytes = dvc.api.read(path.as_posix(), rev=revision, mode="rb")
        return content
    except RevError:
        raise UserError(
            f"{revision}: no such commit, branch, tag or experiment; see `git log --oneline` and `dvc exp list`"
        ) from None
    except SCMError:
        raise UserError(
            f"{revision}: this folder is no git repository, so it has no revisions; run `git init`"
        ) from None
    except (DvcException, OSError) as error:
        if not _has_results(revision):
            raise UserError(
                f"{revision}: holds no results; after `dvc repro` commit them: `git add -A && git commit -m results`"
            ) from None
        cause = error.__cause__ or error
        raise UserError(
            f"{revision}: {path} is neither in the DVC cache nor in a remote ({type(cause).__name__}); "
            "run `dvc pull` or `dvc fetch --all-commits`, or run this revision again: `git checkout` it and `dvc repro`"
        ) from None


def _has_results(revision: str) -> bool:
    """Whether the revision has the lock file in which DVC notes what a run made."""
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return bool(dvc.api.read("dvc.lock", rev=revision))
    except (DvcException, OSError):
        return False
