"""The tables of photos that prepare writes, as later stages read them."""

from dataclasses import dataclass

import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv
from stages.data import layout
from stages.data import task as tasks
from stages.data.cache_record import Files
from stages.data.csv_rows import Fault
from stages.data.task import Task
from stages.params.schema import Params


def unit_column(task: Task) -> str:
    """The column that says whose photo it is, in photos.csv and oof.csv."""
    return "person" if task.unit == "person" else "group"


def read(task: Task) -> pd.DataFrame:
    """photos.csv: `group`, whatever its unit is called there (its file where none is known), file, the axes, label, content."""
    column = unit_column(task)
    axes = {axis.name: float if axis.numeric else int for axis in task.axes}
    types = {column: str, "file": str, **axes, "label": int, "content": str}
    return read_csv(paths.PHOTOS, "prepare", types).rename(columns={column: "group"})


def read_eval() -> pd.DataFrame:
    """eval.csv: ImageID, content, and `label` (class number) where the truth is known; no rows where there is no eval set."""
    found = read_csv(paths.EVAL, "prepare", dtype={"ImageID": str, "content": str}, keep_default_na=False)
    if "ImageID" not in found or "content" not in found:
        raise UserError(f"{paths.EVAL}: lacks its columns; run `maskcli prepare` (or `dvc repro`) to write it again")
    return found


@dataclass(frozen=True)
class Found:
    """A data set as it lies on the disk, nothing decoded yet."""

    task: Task
    photos: pd.DataFrame
    eval: pd.DataFrame
    eval_faults: list[Fault]


def find(params: Params) -> Found:
    """The data set as data.layout has it."""
    people, _ = layout.read_people(paths.TRAIN_CSV)
    found, _ = layout.find_photos(people, paths.TRAIN_IMAGES)
    ids, faults = layout.read_eval(paths.EVAL_CSV, paths.EVAL_IMAGES)
    return Found(tasks.made(params, {}, (), "person"), found, pd.DataFrame({"ImageID": ids}), faults)


def eval_files(params: Params, names: list[str]) -> Files:
    """Eval photos by their ImageID."""
    return Files(paths.EVAL_IMAGES, layout.eval_names(names, paths.EVAL_IMAGES))
