"""The photos: found where the layout has them, and read from the tables that prepare wrote of them."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import damaged, read_csv, write_csv
from stages.data import contest_layout, corrected_photos, corrections, table_layout
from stages.data import folder_layout as folders_of_classes
from stages.data.found_photos import Found
from stages.data.pixel_cache_record import Files
from stages.data.task_and_classes import Task, number_text
from stages.params.schema import Params

READERS = {"contest": contest_layout.find, "folder": folders_of_classes.find, "table": table_layout.find}


def find(params: Params) -> Found:
    """The data set as data.layout has it, with the decisions of corrections.csv. Raises UserError where there is nothing to look
    at."""
    found = as_listed(params)
    rows, faults, warnings = corrections.look()
    found = corrected_photos.apply(found, rows)
    return replace(found, faults=found.faults + faults, warnings=found.warnings + warnings)


def as_listed(params: Params) -> Found:
    """The data set as data.layout has it, as if nobody had corrected anything."""
    return READERS[params.data.layout](params)


def folder(params: Params) -> Path:
    """The folder that the column `file` of photos.csv starts from."""
    if params.data.layout == "table":
        return table_layout.folder(params)
    return (
        folders_of_classes.folders(params).base
        if params.data.layout == "folder"
        else contest_layout.folders(params).train
    )


def eval_folder(params: Params) -> Path:
    """The folder that ImageID of eval.csv starts from."""
    if params.data.layout == "folder":
        return folders_of_classes.folders(params).eval or Path()
    return table_layout.folder(params) if params.data.layout == "table" else contest_layout.folders(params).eval


def files(params: Params, names: list[str]) -> Files:
    """Training photos by the column `file`."""
    return Files(folder(params), names)


def eval_files(params: Params, names: list[str]) -> Files:
    """Eval photos by their ImageID; the contest's may be on the disk in the other normal form."""
    if params.data.layout == "contest" and names:
        names = contest_layout.eval_names(names, eval_folder(params))
    return Files(eval_folder(params), names)


def unit_column(task: Task) -> str:
    """What tables that people read call the column of groups."""
    return "person" if task.unit == "person" else "group"


def write(task: Task, photos: pd.DataFrame, groups: pd.DataFrame) -> None:
    """photos.csv, groups.csv and class_counts.csv. photos: group, file, the axes' columns, label, content."""
    names = {"group": unit_column(task)}
    columns = dict.fromkeys(("group", "file", *(axis.name for axis in task.axes), "label", "content"))
    numbers = [axis.name for axis in task.axes if axis.numeric]
    write_csv(paths.PHOTOS, exact(photos[list(columns)], numbers).rename(columns=names))
    write_csv(paths.GROUPS, exact(groups, numbers).rename(columns=names))
    write_csv(paths.CLASS_COUNTS, class_counts(task, photos))


def exact(table: pd.DataFrame, numbers: Collection[str]) -> pd.DataFrame:
    """A table whose columns of these names are written with all their digits: rounded, some would cross the edge of a bin."""
    fractions = [name for name in numbers if name in table and table[name].dtype.kind == "f"]
    return table.assign(**{name: table[name].map(number_text, na_action="ignore") for name in fractions})


def read(task: Task) -> pd.DataFrame:
    """photos.csv: group (called so whatever its name there), file, one column an axis, label, content."""
    axes = {axis.name: int for axis in task.axes if not axis.numeric}
    found = _read(paths.PHOTOS, {unit_column(task): str, "file": str, **axes, "label": int, "content": str})
    for axis in task.axes:
        if axis.name not in found or not pd.api.types.is_numeric_dtype(found[axis.name]):
            raise damaged(paths.PHOTOS, f"has no numbers in the column `{axis.name}`", "prepare")
    return found.rename(columns={unit_column(task): "group"})


def read_groups(task: Task) -> pd.DataFrame:
    """groups.csv: group, and what is told of each; as text but for the axes."""
    axes = {axis.name: int for axis in task.axes if axis.constant and not axis.numeric}
    found = _read(paths.GROUPS, {unit_column(task): str, **axes})
    return found.rename(columns={unit_column(task): "group"})


def read_eval() -> pd.DataFrame:
    """eval.csv: ImageID, content, and label (and group, where a table names it) where the truth is known; no rows where there is
    no eval set."""
    found = read_csv(paths.EVAL, "prepare", dtype={"ImageID": str, "content": str, "group": str}, keep_default_na=False)
    missing = next((name for name in ("ImageID", "content") if name not in found), None)
    if missing:
        raise damaged(paths.EVAL, f"has no column `{missing}`", "prepare")
    return found


def eval_photos(who: str) -> pd.DataFrame:
    """eval.csv. Raises UserError, in the name of `who`, where there is no eval set."""
    found = read_eval()
    if found.empty:
        raise no_eval_set(who)
    return found


def no_eval_set(who: str) -> UserError:
    """What to say where `who` needs eval photos and there are none."""
    return UserError(
        f"{who}: there is no eval set; to add one, name it in data.eval of params.yaml (folder: or put photos "
        "into test/ beside train/, table: or leave their labels empty), then run `maskcli init --update` and `dvc repro`"
    )


def content_of(table: pd.DataFrame) -> np.ndarray:
    """What each photo of photos.csv or eval.csv is made of, uint64 [N]: the hash of its file; 0 where it is not known."""
    return np.array([int(text or "0", 16) for text in table["content"]], np.uint64)


def class_counts(task: Task, photos: pd.DataFrame) -> pd.DataFrame:
    """Photos and groups per class, from columns label and group: label, class (name), photos, and people or groups where
    there are any; all classes."""
    found = photos.groupby("label")["group"].agg(["size", "nunique"]).reindex(range(task.classes), fill_value=0)
    table = pd.DataFrame({"label": found.index, "class": task.class_names, "photos": found["size"].to_numpy()})
    return table if task.unit == "photo" else table.assign(**{task.units: found["nunique"].to_numpy()})


def _read(path: Path, types: dict[str, type]) -> pd.DataFrame:
    return read_csv(path, "prepare", types)
