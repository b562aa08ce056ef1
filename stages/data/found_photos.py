"""What a layout's reader finds: the photos, what is told of them, and what is wrong with them."""

from dataclasses import dataclass, field

import pandas as pd

from stages.data.csv_rows import Fault
from stages.data.task_and_classes import Task


@dataclass(frozen=True)
class Found:
    """A data set as it lies on the disk, nothing decoded yet.

    photos: group, file (below `photos.folder`) and a column an axis, as Task has them (the code of a level, or the number
    itself). groups: one row a group, in the order of their first photos: group, and what is told of it. eval: ImageID (below
    `photos.eval_folder`), and label (class number) where the truth is known. Rows with faults are left out; the groups they
    name may be left out as well (data.on_fault: skip). warnings: what is odd and does no harm. corrected: what corrections.csv
    did to it, in words; empty where it has no rows.
    """

    task: Task  # without its named subsets
    photos: pd.DataFrame
    groups: pd.DataFrame
    eval: pd.DataFrame
    faults: list[Fault] = field(default_factory=list)
    eval_faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    corrected: str = ""
