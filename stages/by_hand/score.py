"""score: compare a submission with the truth, for those who have it (the demo set, a past contest)."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.base.files import require
from stages.data.layout import CLASSES, parts
from stages.judge import bootstrap, metrics

GROUPS = ("person", "group")  # columns of a truth that say which photos belong together


def run(truth: Path, submission: Path, replicates: int = 2000, seed: int = 0) -> dict[str, float | int | str]:
    """Macro F1, accuracy and parts of a submission (ImageID, ans) against a truth (ImageID, ans), matched by ImageID.

    macro_f1, accuracy, f1_60plus and the parts come with a 95 % interval (`<name>_low`, `<name>_high`) from a bootstrap over
    people, where the truth has a column `person` or `group`, else over photos; `interval_over` says which. Raises UserError
    if they do not hold the same photos once each, or hold other classes than 0..17.
    """
    if not truth.is_file():
        raise UserError(f"{truth}: not found; give a CSV with the columns ImageID and ans")
    true, answered = _answers(truth), _answers(submission)["ans"]
    missing = sorted(set(true.index) - set(answered.index))
    extra = sorted(set(answered.index) - set(true.index))
    if missing or extra:
        kind, names = ("has no answer for", missing) if missing else ("answers photos the truth lacks:", extra)
        raise UserError(f"{submission}: {kind} {names[0]} ({len(names)} such photos); score it against its own truth")
    labels, predictions = true["ans"].to_numpy(), answered.loc[true.index].to_numpy()
    column = next((name for name in GROUPS if name in true), None)
    groups = true[column].to_numpy() if column else np.arange(len(true))
    scored = {
        "macro_f1": metrics.macro_f1(labels, predictions),
        "accuracy": metrics.accuracy(labels, predictions),
        "f1_60plus": metrics.f1_60plus(labels, predictions),
        **metrics.part_f1(labels, predictions),
    }
    found: dict[str, float | int | str] = {}
    for name, (low, high) in _intervals(bootstrap.numbered(groups), labels, predictions, replicates, seed).items():
        found |= {name: scored[name], f"{name}_low": low, f"{name}_high": high}
    if column:
        found["people"] = int(true[column].nunique())
    return found | {"photos": len(labels), "interval_over": "people" if column else "photos"}


def _intervals(
    groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, replicates: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap-t intervals of each score over numbered groups [N], within 0..1."""
    names = ("macro_f1", "accuracy", "f1_60plus")
    of_all = bootstrap.pick(bootstrap.of_run(groups, labels, predictions), names)
    low, high = bootstrap.interval(bootstrap.replicate(of_all, replicates, seed))
    found = {name: (max(0.0, float(low[n])), min(1.0, float(high[n]))) for n, name in enumerate(names)}
    for name, true, predicted in zip(metrics.PARTS, parts(labels), parts(predictions), strict=True):
        found[name] = bootstrap.macro_f1_interval(groups, true, predicted, replicates, seed)
    return found


def _answers(path: Path) -> pd.DataFrame:
    """The table by ImageID, `ans` checked; people and groups as text."""
    require(path, "tta-predict")
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(("ImageID", *GROUPS), str), keep_default_na=False)
        if table["ImageID"].duplicated().any():
            raise ValueError
        table = table.set_index("ImageID")
        answers = table["ans"]
    except (KeyError, ValueError):
        raise UserError(f"{path}: must have the columns ImageID and ans, each ImageID once") from None
    if not pd.api.types.is_integer_dtype(answers) or not answers.between(0, CLASSES - 1).all():
        raise UserError(f"{path}: ans must be whole numbers from 0 to {CLASSES - 1}")
    return table
