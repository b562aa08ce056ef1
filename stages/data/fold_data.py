"""One fold's view of the data: all photos' pixels and labels, and which of them train and validate."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv
from stages.data import photos, task_and_classes
from stages.data.pixel_cache import Pixels as Pixels
from stages.data.pixel_cache import open_cache
from stages.data.task_and_classes import Task
from stages.params.schema import Params


@dataclass(frozen=True)
class MixedLabels:
    """S training photos whose label is drawn anew in every epoch, and the chance of each class."""

    which: np.ndarray  # int64 [S] positions
    chances: np.ndarray  # [S, C]; rows sum to 1


@dataclass(frozen=True)
class FoldData:
    """Arrays over all N photos, and the positions of one fold's two sides in them."""

    task: Task
    pixels: Pixels  # uint8 [N, H + 2m, W + 2m, 3], memory-mapped or decoded on the fly
    labels: np.ndarray  # [N] class numbers by the axes: what is scored
    train_labels: np.ndarray  # [N] class numbers by train_bins: what is learnt
    # [N] of the regressed axis, in its own unit; NaN where unknown: pseudo-labelled photos, and everywhere without such an axis.
    numbers: np.ndarray
    train: np.ndarray  # positions of the training side
    val: np.ndarray  # positions of the validation side
    # [N] 0..1: how likely an epoch draws a photo, beside one of its class with 1; None: all alike.
    chances: np.ndarray | None = None
    mixed: MixedLabels | None = None  # None: every label is as it is given
    content: np.ndarray | None = None  # uint64 [N], photos.content_of each; None: not known

    @property
    def class_counts(self) -> np.ndarray:
        """Photos per class on the training side only, [C]: as many as an epoch is expected to hold where chances are less than
        1 or labels are mixed, whole numbers else."""
        labels, weights = self.train_labels[self.train], None if self.chances is None else self.chances[self.train]
        counts = np.bincount(labels, weights, self.task.classes)
        if self.mixed is None:
            return counts
        given = np.bincount(self.train_labels[self.mixed.which], minlength=self.task.classes)
        return np.asarray(np.maximum(counts - given + self.mixed.chances.sum(0), 0.0))


def open_fold(params: Params, fold: int) -> FoldData:
    """Join photos.csv, folds.csv and the pixel cache. Raises UserError if one is missing or they disagree."""
    if fold not in params.folds:
        raise UserError(f"--fold {fold}: params.yaml has folds {list(params.folds)}; name one of them")
    own = task_and_classes.read(params)
    table = photos.read(own)
    unit = photos.unit_column(own)
    folds = read_csv(paths.FOLDS, "kfold", {unit: str, "fold": int}).set_index(unit)["fold"]
    of_photo = table["group"].map(folds) if folds.index.is_unique else pd.Series([np.nan])  # a doubled group
    if of_photo.isna().any() or sorted(folds.unique()) != list(params.folds):
        raise UserError(f"{paths.FOLDS}: does not fit {paths.PHOTOS} or params.yaml; run `maskcli kfold` again")
    return _open(params, own, table, of_photo.to_numpy() == fold)


def open_all(params: Params) -> FoldData:
    """All photos on the training side and none to validate on, as a refit wants them."""
    own = task_and_classes.read(params)
    table = photos.read(own)
    return _open(params, own, table, np.zeros(len(table), bool))


def _open(params: Params, own: Task, table: pd.DataFrame, validates: np.ndarray) -> FoldData:
    """Photos [N] and their cache, divided by `validates` [N]."""
    columns = {axis.name: table[axis.name].to_numpy() for axis in own.axes}
    return FoldData(
        task=own,
        pixels=open_cache(paths.PIXELS, len(table), params),
        labels=own.labels(columns),
        train_labels=own.labels(columns, params.train_bins),
        numbers=np.full(len(table), np.nan) if own.regressed is None else columns[own.regressed.name],
        train=np.flatnonzero(~validates),
        val=np.flatnonzero(validates),
        content=photos.content_of(table),
    )
