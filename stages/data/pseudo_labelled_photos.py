"""Pseudo-labels: eval photos whose predicted class is taken for their label (Lee 2013), on a fold's training side only.

A fold's labels come from that fold's own models. Those of the other folds have learnt from this fold's validation people,
so their labels would carry what those people's photos look like into training, and the OOF score would flatter.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import require
from stages.base.talk import SILENT, Talk
from stages.data import photos
from stages.data.fold_data import FoldData, Pixels
from stages.data.pixel_cache import open_cache
from stages.params.schema import Params

COLUMNS = ("fold", "ImageID", "label", "confidence", "split")
ALL = "all"  # in the column fold: labels by the models of all folds, for a refit, which validates on nobody


@dataclass(frozen=True)
class TwoCaches:
    """Two pixel caches read as one, without copying either: positions from len(first) on are rows of the second."""

    first: Pixels
    second: Pixels
    rows: np.ndarray  # [M] rows of `second`

    def __len__(self) -> int:
        return len(self.first) + len(self.rows)

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray:
        late = which >= len(self.first)
        early_pixels = self.first[which[~late]]
        late_pixels = self.second[self.rows[which[late] - len(self.first)]]
        found = np.empty((len(which), *early_pixels.shape[1:]), np.uint8)
        found[~late], found[late] = early_pixels, late_pixels
        return found


def join(params: Params, data: FoldData, part: str, talk: Talk = SILENT) -> FoldData:
    """`data` with the photos that pseudo.labels lists for `part` (a fold's number, or all) added to its training side.

    They take positions from N on; their number of a regressed axis is unknown (NaN); class counts and samplers see them as
    any other photo. The validation side stays as it was. Raises UserError if the file does not fit the eval set or the folds.
    """
    if is_off(params):
        return data
    eval_set = photos.read_eval()
    images = eval_set["ImageID"]
    table = read_labels(Path(params.pseudo.labels), images, data.task.classes)
    own = table[table["fold"] == part]
    labels = own["label"].to_numpy(np.int64)
    rows = pd.Index(images).get_indexer(own["ImageID"])
    first = len(data.labels)
    talk.say(f"{params.pseudo.labels}: {len(own)} pseudo-labelled eval photos join {len(data.train)} training photos")
    return replace(
        data,
        pixels=TwoCaches(data.pixels, open_cache(paths.EVAL_PIXELS, len(images), params), rows),
        labels=np.concatenate([data.labels, labels]),
        train_labels=np.concatenate([data.train_labels, labels]),
        numbers=np.concatenate([data.numbers, np.full(len(own), np.nan)]),
        train=np.concatenate([data.train, np.arange(first, first + len(own))]),
        content=None if data.content is None else np.append(data.content, photos.content_of(eval_set.iloc[rows])),
    )


def is_off(params: Params) -> bool:
    return params.pseudo.is_off


def read_labels(path: Path, images: "pd.Series[str]", classes: int) -> pd.DataFrame:
    """Read and check a pseudo-label table (fold, ImageID, label, confidence, split) against the eval set's ImageIDs."""
    if not path.is_file():
        raise UserError(
            f"params.yaml: pseudo.labels: {path} not found; run `maskcli pseudo-label`, or set pseudo/none.csv"
        )
    try:
        table = pd.read_csv(path, dtype={"fold": str, "ImageID": str, "split": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        raise UserError(f"{path}: is not a CSV table; run `maskcli pseudo-label` again") from None
    if tuple(table.columns) != COLUMNS:
        raise UserError(f"{path}: must have the columns {','.join(COLUMNS)}; run `maskcli pseudo-label` again")
    if table.empty:
        raise UserError(f"{path}: lists no photo; to train without pseudo-labels set pseudo.labels: pseudo/none.csv")
    faults = {
        f"label is no class from 0 to {classes - 1}": ~table["label"].isin(range(classes)),
        "ImageID is not in the eval set": ~table["ImageID"].isin(images),
        "ImageID stands twice in one fold": table.duplicated(["fold", "ImageID"]),
        "split is not that of out/kfold/folds.csv and out/prepare/eval.csv, so its labels may know validation people, or be of "
        "other eval photos": table["split"] != split(),
    }
    for fault, rows in faults.items():
        if rows.any():
            row = int(np.flatnonzero(rows)[0])
            raise UserError(
                f"{path} line {row + 2} ({table['ImageID'].iloc[row]}): {fault}; run `maskcli pseudo-label` again"
            )
    return table


def split() -> str:
    """A mark of the folds and the eval photos in use, from the content of folds.csv and eval.csv: labels made with other
    folds, or of other photos under the same names, are refused.
    """
    require(paths.FOLDS, "kfold")
    require(paths.EVAL, "prepare")
    return hashlib.sha256(paths.FOLDS.read_bytes() + paths.EVAL.read_bytes()).hexdigest()[:12]
