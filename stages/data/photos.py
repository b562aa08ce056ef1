"""The tables of photos that prepare writes, as later stages read them."""

import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv
from stages.data.task import Task

NO_EVAL = (
    f"{paths.EVAL}: the task has no eval set, so there is nothing to predict; name one in data.eval (a folder task: put the "
    "photos into a folder test/ beside train/), then run `dvc repro`"
)


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


def require_eval(who: str) -> pd.DataFrame:
    """The eval photos. Raises UserError where the task has none."""
    found = read_eval()
    if found.empty:
        raise UserError(f"{who}: {NO_EVAL}")
    return found
