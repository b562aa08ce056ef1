"""What the results of a revision were made with: a commit, branch, tag, experiment, or `workspace`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stages.base import git, paths, revisions
from stages.base.errors import UserError
from stages.data import corrections
from stages.data.corrections import Row
from stages.params.keys import flat, nested
from stages.params.model_and_training import PLUGIN_KINDS
from stages.params.schema import Params
from stages.records.run_record import (
    BEFORE_TASKS,
    OF_JOINING,
    TRAINING,
    Record,
    differing,
    in_words,
    mapping,
    parsed,
    pick,
    plugin_keys,
)

OF_ANSWERS = ("ensemble.vote", "tta.views", "decision")  # how trained models answer eval photos
LOOKED_AT = 20  # last commits with results, in search of one of another training


def of_revision(revision: str) -> Record:
    """What the results of a revision were made with: a commit, branch, tag, experiment, or `workspace`.

    From out/oof-ensemble/run.json; for results of before there were records from the revision's dvc.lock, in which DVC notes
    the params of each stage; where it has none, from its params.yaml.
    """
    content = _read_quietly(revision, paths.OOF_RUN)
    if content is not None:
        try:
            return parsed(json.loads(content), paths.OOF_RUN, "oof-ensemble", revision)
        except ValueError:
            raise UserError(f"{revision}: {paths.OOF_RUN}: is not JSON; run `dvc repro oof-ensemble` there") from None
    everything, locked = params_yaml(revision), params_of_stages(revision)
    if not everything:
        revisions.read(revision, paths.PARAMS)  # raises where there is no such revision
    source = nested(locked["train"] | locked.get("oof-ensemble", {})) if "train" in locked else everything
    return Record(params=pick(source, (*TRAINING, *BEFORE_TASKS, f"losses.{source.get('loss', 'ce')}", *OF_JOINING)))


def corrections_of(revision: str) -> tuple[Row, ...]:
    """The decisions about labels beside the results of a revision; none where it has none, or no such file."""
    rows, _, _ = corrections.parsed(_read_quietly(revision, paths.CORRECTIONS) or b"")
    return tuple(rows)


def rate_in_words(revision: str, record: Record) -> str:
    """The learning rate of a revision's results and where it came from: `0.013 (valley of its own range test)`; empty where
    nothing says."""
    if record.lr is None:
        return ""
    found = mapping(_json(_read_quietly(revision, paths.LR_CHOSEN)))
    if found.get("lr") != record.lr or not found.get("source"):  # settled anew since, or of another version
        return f"{record.lr:.3g}"
    source = found["source"]
    return f"{record.lr:.3g} ({source if source == paths.PARAMS.name else f'lr-find: {source}'})"


def params_of(revision: str, record: Record) -> dict[str, Any]:
    """All params of a revision, nested, each as it was run: by its record, else by dvc.lock's stages, else by params.yaml;
    and a digest of the code of one's own that it ran.
    """
    found = flat(params_yaml(revision))
    for stage in params_of_stages(revision).values():
        found |= flat(nested(stage))
    found |= flat(record.params)
    code = {f"code of plugins.{kind}": record.data[kind] for kind in PLUGIN_KINDS if kind in record.data}
    return nested(found | code)


def answered_otherwise(one: tuple[str, Record], two: tuple[str, Record]) -> list[str]:
    """A line, or none, on what makes two runs of the same models answer differently; of each its name and record."""
    a, b = (flat(params_of(*run)) for run in (one, two))
    default = flat(Params().model_dump(mode="json"))
    pairs = {key: (a.get(key, default[key]), b.get(key, default[key])) for key in OF_ANSWERS}
    differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if not differing:
        return []
    return [
        f"{one[0]} answers eval photos with {in_words(differing, two[0])}: their submissions may differ, by what these scores do "
        "not look at"
    ]


def before(revision: str, record: Record) -> str:
    """The short name of the last commit up to a revision whose results are of another training; empty where there is none."""
    start = "HEAD" if revision == revisions.WORKSPACE else git.resolve(revision)
    listed = git.run("log", "--format=%H", f"--max-count={LOOKED_AT}", start, "--", paths.OOF_RUN.as_posix()) or b""
    for commit in listed.decode().split():
        try:
            earlier = of_revision(commit).run
        except UserError:  # damaged, or of no record
            continue
        if earlier and earlier != record.run:
            return commit[: git.SHORT]
    return ""


def origin(revision: str, record: Record) -> str:
    """Where the results of a revision come from: its commit, their date (of the workspace, that of their file, UTC), and the
    digest of the photos' table."""
    workspace = revision == revisions.WORKSPACE
    told = (
        git.run("show", "--no-patch", "--format=%H %cs", "HEAD" if workspace else git.resolve(revision)) or b""
    ).decode()
    commit, date = told.split() if told else ("", "")
    if workspace:
        date = f"{datetime.fromtimestamp(paths.OOF_ARRAYS.stat().st_mtime, UTC):%Y-%m-%d}"
    changed = workspace and git.run("status", "--porcelain", "--untracked-files=no", "--", ".")
    facts = {
        f"commit {commit[: git.SHORT]}{' and uncommitted changes' if changed else ''}": commit,
        f"results of {date}": date,
        f"data {record.data.get('photos', '')}": record.data.get("photos", ""),
    }
    return ", ".join(words for words, value in facts.items() if value)


def params_of_stages(revision: str) -> dict[str, dict[str, Any]]:
    """The params by dotted key that dvc.lock holds for each stage of a revision; of the folds' stages the first's."""
    content = _read_quietly(revision, paths.DVC_LOCK)
    stages = mapping(_yaml(content)).get("stages")
    found: dict[str, dict[str, Any]] = {}
    for name, stage in mapping(stages).items():
        found.setdefault(str(name).partition("@")[0], mapping(mapping(mapping(stage).get("params")).get("params.yaml")))
    return found


def params_yaml(revision: str) -> dict[str, Any]:
    """params.yaml of a revision with its defaults; as it stands there, where it is of another version."""
    content = _read_quietly(revision, paths.PARAMS)
    if content is None:
        return {}
    value = mapping(_yaml(content))
    try:
        return Params.model_validate(value).model_dump(mode="json")
    except ValidationError:
        return value


def not_run(revision: str, record: Record) -> str:
    """One line on where the revision's params.yaml says otherwise than its results were made with; empty if nowhere."""
    asked = params_yaml(revision)
    if "label_noise" not in record.params and mapping(asked.get("label_noise")).get("action") == "none":
        del asked["label_noise"]  # it is off, whatever else it says
    of_joining = OF_JOINING if "ensemble" in record.params else ()
    keys = (*TRAINING, *BEFORE_TASKS, f"losses.{asked.get('loss', 'ce')}", *plugin_keys(asked), *of_joining)
    lr = asked.get("lr")
    found = differing(record, Record(params=pick(asked, keys), lr=lr if isinstance(lr, float) else None))
    if not found or not asked:
        return ""
    return (
        f"{revision}: its results are of {in_words(found, 'its params.yaml')}, which was not run; run `dvc repro` there"
    )


def _read_quietly(revision: str, path: Path) -> bytes | None:
    try:
        return revisions.read(revision, path)
    except (UserError, OSError):
        return None


def _yaml(content: bytes | None) -> Any:
    try:
        return yaml.load(content or b"", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def _json(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"null")
    except ValueError:
        return None
