"""TensorBoard events of one fold: tags loss/train, loss/val, nll/val, f1/val, accuracy/val, lr and the like."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from stages.base.files import unwritable
from stages.params.keys import flat
from stages.report.png.result_figures import confusion_figure

TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "val_nll": "nll/val",
    "val_f1": "f1/val",
    "val_acc": "accuracy/val",
    "lr": "lr",
    "train_class_loss": "loss/train_class",
    "train_age_loss": "loss/train_age",
    "val_age_mae": "age_mae/val",
    "photos_per_second": "photos_per_second/train",
}


class Board:
    """Writes what history.csv holds under TAGS; the step is the epoch, from 1."""

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
            for column, tag in TAGS.items():
                if column in row:
                    self.writer.add_scalar(tag, row[column], int(row["epoch"]))
            self.writer.flush()

    def confusion(self, labels: np.ndarray, predictions: np.ndarray, epoch: int) -> None:
        with _naming(self.folder):
            self.writer.add_figure("confusion/val", confusion_figure(labels, predictions), epoch)

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
