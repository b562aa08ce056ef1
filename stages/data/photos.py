"""The photos: found where the layout has them, and read from the tables that prepare wrote of them."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.files import damaged, read_csv, write_csv
from stages.data import contest
from stages.data.cache_record import Files
from stages.data.found import Found
from stages.data.task import Task
from stages.params.schema import Params


def find(params: Params) -> Found:
    """The data set as data.layout has it. Raises UserError where there is nothing to look at."""
    return contest.find(params)


def folder(params: Params) -> Path:
    """The folder that the column `file` of photos.csv starts from."""
    return contest.folders(params).train


def eval_folder(params: Params) -> Path:
    """The folder that ImageID of eval.csv starts from."""
    return contest.folders(params).eval


def files(params: Params, names: list[str]) -> Files:
    """Training photos by the column `file`."""
    return Files(folder(params), names)


def eval_files(params: Params, names: list[str]) -> Files:
    """Eval photos by their ImageID; the contest's may be on the disk in the other normal form."""
    if params.data.layout == "contest" and names:
        names = contest.eval_names(names, eval_folder(params))
    return Files(eval_folder(params), names)


def unit_column(task: Task) -> str:
    """What tables that people read call the column of groups."""
    return "person" if task.unit == "person" else "group"


def write(task: Task, photos: pd.DataFrame, groups: pd.DataFrame) -> None:
    """photos.csv, groups.csv and class_counts.csv. photos: group, file, the axes' columns, label, content."""
    names = {"group": unit_column(task)}
    columns = dict.fromkeys(("group", "file", *(axis.name for axis in task.axes), "label", "content"))
    write_csv(paths.PHOTOS, photos[list(columns)].rename(columns=names))
    write_csv(paths.GROUPS, groups.rename(columns=names))
    write_csv(paths.CLASS_COUNTS, class_counts(task, photos))


def read(task: Task) -> pd.DataFrame:
    """photos.csv: group (called so whatever its name there), file, one column an axis, label, content."""
    axes = {axis.name: int for axis in task.axes if not axis.numeric}
    table = _read(paths.PHOTOS, {unit_column(task): str, "file": str, **axes, "label": int, "content": str})
    for axis in task.axes:
        if axis.name not in table or not pd.api.types.is_numeric_dtype(table[axis.name]):
            raise damaged(paths.PHOTOS, f"has no numbers in the column `{axis.name}`", "prepare")
    return table.rename(columns={unit_column(task): "group"})


def read_groups(task: Task) -> pd.DataFrame:
    """groups.csv: group, and what is told of each; as text but for the axes."""
    axes = {axis.name: int for axis in task.axes if axis.constant and not axis.numeric}
    table = _read(paths.GROUPS, {unit_column(task): str, **axes})
    return table.rename(columns={unit_column(task): "group"})


def read_eval() -> pd.DataFrame:
    """eval.csv: ImageID, content, and label where the truth is known; no rows where there is no eval set."""
    table = read_csv(paths.EVAL, "prepare", dtype={"ImageID": str, "content": str}, keep_default_na=False)
    if not {"ImageID", "content"} <= set(table.columns):
        raise damaged(paths.EVAL, "is not the table it should be", "prepare")
    return table


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
