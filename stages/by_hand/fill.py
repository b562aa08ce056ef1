"""fill: a contest's sample submission with the answers in it, as its page of uploads wants it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_npz, replacing
from stages.base.talk import Talk
from stages.data import table_file, task_and_classes
from stages.data.task_and_classes import Task
from stages.params.schema import Params
from stages.submission import sample_form, write
from stages.submission.sample_form import Predicted


@dataclass(frozen=True)
class Asked:
    """sample: the contest's. submission: whose answers. out: the file to write. one_class: whose probability a single column is
    to have."""

    sample: Path
    submission: Path = paths.SUBMISSION
    out: Path = paths.FILLED
    one_class: str | None = None


def run(params: Params, asked: Asked, talk: Talk) -> dict[str, Any]:
    """Write asked.out; return what was written. Raises UserError where the sample is none of these photos."""
    if not asked.sample.is_file():
        raise UserError(f"{asked.sample}: not found; name the contest's sample submission")
    if not asked.submission.is_file():
        raise UserError(f"{asked.submission}: not found; `dvc repro` writes it, or name another one by --submission")
    if asked.out.resolve() in (asked.sample.resolve(), asked.submission.resolve()):
        raise UserError(f"--out {asked.out}: is read; name another file to write")
    task = task_and_classes.read(params)
    axes = {axis.column: name for name, axis in params.axes.items() if axis.column}
    table = table_file.open_table(asked.sample, "SAMPLE")
    rows, faults = table_file.columns(table, table.names)
    if faults:
        raise UserError(str(faults[0]))
    answered = write.read(asked.submission, task)["answer"]
    beside = asked.submission.with_name(paths.PROBABILITIES.name)
    images = answered.index.tolist()
    told = params.data.eval_file or params.data.file or ""
    predicted = Predicted(images, answered.to_numpy(), lambda: _probabilities(beside, images, task), told)
    filled = sample_form.fill(table, rows, task, predicted, axes, asked.one_class)
    for note in filled.notes:
        talk.say(f"fill: {note}")
    with replacing(asked.out) as temporary:
        filled.table.to_csv(temporary, sep=table.separator, index=False, float_format="%.6g", lineterminator="\n")
    made = {"submission": str(asked.submission), "file": str(asked.out), "rows": len(rows), "holds": filled.holds}
    return made | {"left_out": len(images) - len(rows), "notes": list(filled.notes)}


def _probabilities(path: Path, images: list[str], task: Task) -> np.ndarray:
    """As voted, float [N, C], of these photos. Raises UserError where they are not there, or of other photos."""
    if not path.is_file():
        raise UserError(
            f"{path}: not found, and the sample wants probabilities; `dvc repro`, blend and refit write them"
        )
    found = read_npz(path, "tta-predict", ("image", "probabilities"))
    if found["image"].tolist() != images or found["probabilities"].shape[1] != task.classes:
        raise UserError(
            f"{path}: is of other photos or classes than the submission beside it; write both again (`dvc repro`)"
        )
    return found["probabilities"].astype(np.float64)
