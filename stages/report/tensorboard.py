"""TensorBoard events of one fold: tags loss/train, loss/val, nll/val, f1/val, accuracy/val, lr and the like."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from stages.base.files import unwritable
from stages.params.keys import flat

TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "val_nll": "nll/val",
    "val_f1": "f1/val",
    "val_acc": "accuracy/val",
    "lr": "lr",
    "lr_backbone": "lr/backbone",
    "photos_per_second": "photos_per_second/train",
}
# Parts of the objective and the error of a regressed axis: train_class_loss, train_age_loss, val_age_mae.
PART, ERROR = re.compile(r"train_(.+)_loss"), re.compile(r"val_(.+)_mae")


def tag(column: str) -> str | None:
    """The tag of a column of history.csv; None of one that is not shown."""
    if part := PART.fullmatch(column):
        return f"loss/train_{part[1]}"
    if error := ERROR.fullmatch(column):
        return f"{error[1]}_mae/val"
    return TAGS.get(column)


class Board:
    """Writes what history.csv holds under its tags; the step is the epoch, from 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _naming(folder):
            self.writer = SummaryWriter(str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error else _naming(self.folder):  # the first error is the one to tell
            self.writer.close()

    def epoch(self, row: dict[str, float]) -> None:
        with _naming(self.folder):
            for column, value in row.items():
                if name := tag(column):
                    self.writer.add_scalar(name, value, int(row["epoch"]))
            self.writer.flush()

    def confusion(self, labels: np.ndarray, predictions: np.ndarray, classes: int, epoch: int) -> None:
        from stages.report.png.result_figures import confusion_figure  # matplotlib, not before the first epoch

        with _naming(self.folder):
            self.writer.add_figure("confusion/val", confusion_figure(labels, predictions, classes), epoch)

    def hyperparameters(self, params: dict[str, Any], selected: dict[str, float]) -> None:
        values = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in flat(params).items()
        }
        scores = {f"selected/{name}": selected[name] for name in ("val_f1", "val_nll")}
        with _naming(self.folder):
            self.writer.add_hparams(values, scores, run_name=".")


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """A full disk is said as such; TensorBoard raises what its writing thread met."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error
