"""summary: what the last run came to, where its files are, how to get those that are not here, and what to do next."""

import configparser
from pathlib import Path
from typing import Any

from stages.base import dvc_cache, git, paths, revisions
from stages.base.errors import UserError
from stages.base.files import read_csv, read_json
from stages.data import photos
from stages.params import typed_changes
from stages.params.keys import nested
from stages.params.schema import Params
from stages.records import past_runs, run_record
from stages.records.run_record import Record

# Of the files that DVC keeps, those a person looks at; and those beside them that tell of which run they are.
FILES = {"submission": paths.SUBMISSION, "OOF": paths.OOF, "LR curve": paths.LR_PNG}
MARKED = {"submission": paths.PROBABILITIES, "OOF": paths.OOF_ARRAYS}
SCORES = (
    *("macro_f1", "macro_f1_low", "macro_f1_high", "macro_f1_last", "macro_f1_other_folds", "macro_f1_best_epochs"),
    "photos",
)
RANKED = {"change": str, "verdict": str}


def run(params: Params) -> dict[str, Any]:
    """What oof-ensemble's metrics.json holds, and `files` (name: path) that are here, `missing` ones, `get` (the command that
    brings these) and `next` (commands in the order in which to type them, and `why` the first).

    In a fresh clone metrics are here, since git keeps them, and DVC's outputs are not. After `git checkout` these may be another
    run's, whose files are not here either: `other` names them.
    """
    scores = read_json(paths.OOF_METRICS, "oof-ensemble", *SCORES)
    files = {name: path for name, path in FILES.items() if path != paths.SUBMISSION or _has_answers()}
    record = past_runs.of_revision(revisions.WORKSPACE)
    other = [name for name in files if _is_of_another_run(name, record)]
    here = {name: str(path) for name, path in files.items() if path.exists() and name not in other}
    missing = {name: str(path) for name, path in files.items() if not path.exists()}
    get = ("dvc pull" if _has_remote() else "dvc repro") if missing else None
    # One that is older than the scores is of an earlier run.
    if paths.REPORT.exists() and paths.REPORT.stat().st_mtime >= paths.OOF_METRICS.stat().st_mtime:
        here["report"] = str(paths.REPORT)
    changed = run_record.not_asked(params, record)
    if other:
        named = " and ".join(str(files[name]) for name in other)
        why = f"{named} {'is' if len(other) == 1 else 'are'} of another run than these scores"
        commands = ["dvc checkout" if _is_committed(paths.OOF_RUN) else "dvc repro"]
    elif get:
        why, commands = "some of the run's files are not here", [get]
    elif changed:
        why, commands = f"this run had {run_record.in_words(changed, 'params.yaml now')}", ["dvc repro"]
    else:
        why, commands = _next(record)
    return {**scores, "files": here, "missing": missing, "other": other, "get": get, "why": why, "next": commands}


def _is_of_another_run(name: str, record: Record) -> bool:
    mark = run_record.mark_of(MARKED[name]) if name in MARKED else None
    return mark is not None and mark != record.run


def _is_committed(path: Path) -> bool:
    """Whether a file is as the last commit has it: then git has brought it, and DVC knows what belongs to it."""
    try:
        return git.run("status", "--porcelain", "--", path.as_posix()) == b""
    except UserError:  # there is no git program
        return False


def _has_answers() -> bool:
    """Whether there is a submission to come: not without eval photos, whose stage dvc.yaml then does not have."""
    if paths.EVAL.is_file():
        return not photos.read_eval().empty
    return not paths.DVC_YAML.is_file() or paths.SUBMISSION.as_posix() in paths.DVC_YAML.read_text(encoding="utf-8")


def _next(record: Record) -> tuple[str, list[str]]:
    """Why, and what to type: commit, compare what there is, or the nearest thing that could bring more."""
    commit = f"git add -A && git commit -m {record.loss}"
    try:
        begun, head = (git.run("rev-parse", *words) for words in (["--git-dir"], ["--verify", "HEAD"]))
    except UserError:  # there is no git program
        begun = head = None
    if head is None:
        begin = commit if begun else f"git init && {commit}"
        return "results are compared from commit to commit", [begin, "maskcli screen"]
    tracked = git.run("ls-tree", "--name-only", "HEAD", "--", paths.OOF_METRICS.as_posix())
    if not tracked:
        return "commit these results: others are compared with a commit's", [
            commit,
            "maskcli screen",
        ]
    experiments = _experiments()
    if experiments:
        return "there are experiments on this commit", [f"maskcli compare HEAD {' '.join(experiments[:3])}"]
    if not _is_committed(paths.OOF_METRICS):
        return "these results are not those of the last commit", ["maskcli compare HEAD workspace", commit]
    return _try(record)


def _try(record: Record) -> tuple[str, list[str]]:
    """The cheapest thing not done yet."""
    if not paths.SCREEN_RANKING.exists():
        return "which change to train next", ["maskcli screen"]
    rows = read_csv(paths.SCREEN_RANKING, "screen", RANKED)
    first = rows.iloc[0] if len(rows) else {"verdict": "base"}
    if first["verdict"] not in ("base", "failed"):
        changes = typed_changes.grid(first["change"])[0]
        if run_record.pick(nested(record.params), changes) != nested(changes):
            name = typed_changes.experiment(changes)
            return "what `maskcli screen` ranked first", [
                f"dvc exp run -n {name} {typed_changes.switches(changes)}",
                f"maskcli compare HEAD {name}",
            ]
    if not paths.TTA_SUMMARY.exists():
        return "whether test-time views help", ["maskcli tta-search"]
    if _has_answers() and not paths.REFIT_SUMMARY.exists():
        return "a second submission, from all training photos", ["maskcli refit"]
    return "what went wrong, photo by photo", ["maskcli report"]


def _experiments() -> list[str]:
    """Names of DVC's experiments on HEAD."""
    head = git.resolve("HEAD")
    return [ref.name for ref in git.refs() if ref.base == head]


def _has_remote() -> bool:
    """Whether DVC knows a place from where to pull."""
    place, config = dvc_cache.settings(Path.cwd()), configparser.ConfigParser()
    try:
        config.read([place / name for name in ("config", "config.local")] if place else [], encoding="utf-8")
    except configparser.Error:
        return False
    return any("remote" in section for section in config.sections())
