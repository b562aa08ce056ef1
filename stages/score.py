"""score: compare a submission with the truth, for those who have it (the demo set, a past contest)."""

from pathlib import Path

import pandas as pd

from stages.data.layout import CLASSES
from stages.errors import UserError
from stages.files import require
from stages.judge import metrics


def run(truth: Path, submission: Path) -> dict[str, float | int]:
    """Macro F1, accuracy and parts of a submission (ImageID, ans) against a truth (ImageID, ans), matched by ImageID.

    Raises UserError if they do not hold the same photos once each, or hold other classes than 0..17.
    """
    if not truth.is_file():
        raise UserError(f"{truth}: not found; give a CSV with the columns ImageID and ans")
    true, answered = _answers(truth), _answers(submission)
    missing = sorted(set(true.index) - set(answered.index))
    extra = sorted(set(answered.index) - set(true.index))
    if missing or extra:
        kind, names = ("has no answer for", missing) if missing else ("answers photos the truth lacks:", extra)
        raise UserError(f"{submission}: {kind} {names[0]} ({len(names)} such photos); score it against its own truth")
    labels, predictions = true.to_numpy(), answered.loc[true.index].to_numpy()
    return {
        "macro_f1": metrics.macro_f1(labels, predictions),
        "accuracy": metrics.accuracy(labels, predictions),
        "f1_60plus": metrics.f1_60plus(labels, predictions),
        **metrics.part_f1(labels, predictions),
        "photos": len(labels),
    }


def _answers(path: Path) -> "pd.Series[int]":
    require(path, "tta-predict")
    try:
        table = pd.read_csv(path, dtype={"ImageID": str}, keep_default_na=False)
        if table["ImageID"].duplicated().any():
            raise ValueError
        answers = table.set_index("ImageID")["ans"]
    except (KeyError, ValueError):
        raise UserError(f"{path}: must have the columns ImageID and ans, each ImageID once") from None
    if not pd.api.types.is_integer_dtype(answers) or not answers.between(0, CLASSES - 1).all():
        raise UserError(f"{path}: ans must be whole numbers from 0 to {CLASSES - 1}")
    return answers
