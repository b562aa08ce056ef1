"""report: one HTML file on the workspace, a revision, or two revisions side by side."""

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stages import compare, paths
from stages.data.layout import CLASSES
from stages.errors import UserError
from stages.files import replacing
from stages.params import Params
from stages.report import page
from stages.report.numbers import Oof
from stages.report.thumbnails import pictures
from stages.revisions import read
from stages.talk import Talk


def run(params: Params, talk: Talk, revisions: list[str], output: Path = paths.REPORT) -> dict[str, Any]:
    """Write the page for one or two revisions; thumbnails come from the workspace's photos.

    Raises UserError if an output of a revision is missing or is not what its stage writes.
    """
    runs = [read_run(revision) for revision in revisions]
    html = page.build(runs, _pair(revisions, params), params, partial(pictures, params=params))
    with replacing(output) as temporary:
        temporary.write_text(html, encoding="utf-8")
    size = output.stat().st_size
    talk.say(f"report: {' and '.join(revisions)}, {size / 1e6:.1f} MB; open it in any browser, no network needed")
    return {"report": str(output), "revisions": revisions, "bytes": size}


def _pair(revisions: list[str], params: Params) -> compare.Comparison | str | None:
    """The second revision against the first as `maskcli compare` says it, or why they cannot be compared."""
    if len(revisions) < 2:
        return None
    try:
        first, second = (compare.load(revision) for revision in revisions)
        second = compare.aligned(first, second)
    except UserError as error:
        return str(error)
    rule = compare.settle_rule("auto", [first, second])
    return compare.against(first, second, rule, params.ensemble.replicates, params.seed)


def read_run(revision: str) -> page.Run:
    """All that the report shows of one revision."""
    scores = _json(revision, paths.OOF_METRICS, "macro_f1")
    return page.Run(
        name=revision,
        oof=_oof(revision),
        scores={key: value for key, value in scores.items() if isinstance(value, int | float)},
        history=_table(revision, paths.OOF_HISTORY, ["fold", "epoch", "train_loss", "val_loss", "val_nll", "val_f1"]),
        lr_curve=_table(revision, paths.LR_CURVE, ["lr", "loss", "smoothed"]),
        lr_suggestions=_table(revision, paths.LR_SUGGESTIONS, ["lr", "smoothed", "name"]),
        lr=float(_json(revision, paths.LR_CHOSEN, "lr")["lr"]),
        params=_params(revision),
    )


def _oof(revision: str) -> Oof:
    columns = [f"p{number}" for number in range(CLASSES)]
    table = _table(revision, paths.OOF, ["photo", "person", "label", *columns], dtype={"photo": str, "person": str})
    probabilities = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if not pd.api.types.is_integer_dtype(table["label"]) or not table["label"].between(0, CLASSES - 1).all():
        raise _damaged(revision, paths.OOF, f"label must be whole numbers from 0 to {CLASSES - 1}")
    if not ((probabilities >= 0) & (probabilities <= 1.001)).all():
        raise _damaged(revision, paths.OOF, "p0 to p17 must be probabilities")
    return Oof(
        photo=table["photo"].fillna("").to_numpy(str),
        person=table["person"].fillna("").to_numpy(str),
        labels=table["label"].to_numpy(int),
        probabilities=probabilities,
    )


def _table(revision: str, path: Path, columns: list[str], **options: Any) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.BytesIO(read(revision, path)), keep_default_na=True, **options)
    except (ValueError, UnicodeDecodeError):  # pandas' parser and empty-file errors are ValueErrors
        raise _damaged(revision, path, "is not a CSV table") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise _damaged(revision, path, f"has no column `{missing[0]}`")
    if table.empty:
        raise _damaged(revision, path, "has no rows")
    return table


def _json(revision: str, path: Path, key: str) -> dict[str, Any]:
    try:
        value = json.loads(read(revision, path))
    except ValueError:
        raise _damaged(revision, path, "is not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get(key), int | float):
        raise _damaged(revision, path, f"has no number `{key}`")
    return value


def _params(revision: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(read(revision, paths.PARAMS))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _damaged(revision, paths.PARAMS, "is not valid YAML") from None
    return value if isinstance(value, dict) else {}


def _damaged(revision: str, path: Path, problem: str) -> UserError:
    return UserError(f"{revision}: {path}: {problem}; run `dvc repro` in this revision again")
