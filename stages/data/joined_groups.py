"""What a data set becomes when some of its groups have become one."""

from dataclasses import replace

import numpy as np
import pandas as pd

from stages.data.task_and_classes import Task


def regrouped(own: Task, table: pd.DataFrame, groups: pd.DataFrame) -> tuple[Task, pd.DataFrame, pd.DataFrame]:
    """The task, photos and groups, once the column `group` of the photos has the names of joined groups.

    An axis is constant only where it still is. Photos that stood alone become groups. Of groups, those are left that photos
    still name.
    """
    merged = pd.factorize(table["group"])[0]
    first_of = np.unique(merged, return_index=True)[1]
    columns = {axis.name: table[axis.name].to_numpy() for axis in own.axes}
    still = [
        axis.constant and bool((columns[axis.name] == columns[axis.name][first_of[merged]]).all()) for axis in own.axes
    ]
    axes = tuple(replace(axis, constant=constant) for axis, constant in zip(own.axes, still, strict=True))
    groups = groups[groups["group"].isin(set(table["group"]))].reset_index(drop=True)
    if own.unit != "person":
        groups = groups[["group", *(axis.name for axis in axes if axis.constant)]]
    return replace(own, axes=axes, unit="group" if own.unit == "photo" else own.unit), table, groups
