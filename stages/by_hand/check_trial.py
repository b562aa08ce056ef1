"""The trial of `maskcli check`: a project with a few photos of every class, with the real parameters."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from stages.base import paths
from stages.data import contest_layout, photos
from stages.data.found_photos import Found
from stages.data.pixel_cache_record import Files
from stages.params.model_and_training import PLUGIN_KINDS
from stages.params.schema import Params
from stages.records import plugin_files

GROUPS_OF_A_CLASS = 3
MOST_GROUPS = 150  # of all classes together
PHOTOS_OF_A_GROUP = 10  # of each class
EVAL_PHOTOS = 8
ROOT = "data"
TRAIN, EVAL = f"{ROOT}/train", f"{ROOT}/eval"


@dataclass(frozen=True)
class Trial:
    """The real run, and the small one that stands for it. free: bytes of disk for the real one."""

    real: Params
    params: Params
    found: Found
    free: int


@dataclass(frozen=True)
class Few:
    """The trial's photos: rows of the photos' table, their files, and files of eval photos."""

    rows: pd.DataFrame
    files: Files
    shown: Files


def params_of(params: Params, found: Found, cached: bool) -> Params:
    """The real params, but for what makes a run long: two folds, one epoch, one repeat, few steps and bootstrap samples.

    cached: whether the real photos will be; else the trial's are decoded on the fly too. All levels are declared, so that
    the trial's classes are those of the real run.
    """
    model = params.model
    if not model.begins_without_file:
        model = model.model_copy(update={"weights": str(Path(model.weights).resolve())})
    data = params.data.model_copy(update=_data(params, found) | ({} if cached else {"cache_gb": 0.0}))
    return params.model_copy(
        update={
            "folds": (0, 1),
            "model": model,
            "data": data,
            "axes": {
                name: axis.model_copy(
                    update={"column": None, "levels": None if axis.bins else found.task.axis(name).levels}
                )
                for name, axis in params.axes.items()
            },
            "train": params.train.model_copy(update={"epochs": 1, "repeats": 1, "patience": 0}),
            "pseudo": params.pseudo.model_copy(update={"labels": paths.NO_PSEUDO_LABELS.as_posix()}),
            # So few groups are not to be cut in parts; what it takes is reckoned.
            "label_noise": params.label_noise.model_copy(update={"action": "none"}),
            "budget": params.budget.model_copy(update={"minutes": 0.0}),
            "lr": 1e-3 if params.lr == "auto" else params.lr,  # so few photos and steps suggest none
            "lr_find": params.lr_find.model_copy(update={"steps": 10}),
            "ensemble": params.ensemble.model_copy(update={"replicates": 100}),
        }
    )


def _data(params: Params, found: Found) -> dict[str, Any]:
    """Where the trial's data lies, below its folder; a table is written anew, with columns of its own."""
    data = params.data
    told: dict[str, Any] = {"root": ROOT, "on_fault": "stop", "group_duplicates": False}
    if data.layout == "folder":
        told |= {"train": TRAIN, "eval": EVAL if len(found.eval) else None}
    if data.layout == "table":
        group = "group" if found.task.unit == "group" else None
        told |= {"train": f"{TRAIN}.csv", "eval": f"{EVAL}.csv" if len(found.eval) else None}
        told |= {"file": "file", "eval_file": None, "group": group, "split": None}
    return told


def lay_out(folder: Path, real: Params, trial: Params, found: Found) -> None:
    """A project folder with a few groups of every class, their photos, and the first eval photos, as the layout has them."""
    rows = some_of(found, len(trial.folds))
    shown = photos.eval_files(real, found.eval["ImageID"].tolist()[:EVAL_PHOTOS])
    few = Few(rows, photos.files(real, rows["file"].tolist()), shown)
    write = {"contest": _write_contest, "folder": _write_folders, "table": _write_tables}[trial.data.layout]
    write(folder, trial, found, few)
    for path in (path for kind in PLUGIN_KINDS for path in plugin_files.files(real.plugins, kind)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path)
    text = yaml.safe_dump(trial.model_dump(mode="json"), sort_keys=False)
    (folder / paths.PARAMS).write_text(text, encoding="utf-8", newline="\n")


def some_of(found: Found, folds: int) -> pd.DataFrame:
    """Rows of some groups of every class: of a contest whole people, else a few photos of each group."""
    table = found.photos.assign(label=found.task.labels(found.photos))
    if found.task.layout == "contest":  # whom corrections.csv left other photos than seven, the layout cannot hold
        table = table[table.groupby("group")["file"].transform("size") == len(contest_layout.PHOTO_MASKS)]
    firsts = table.drop_duplicates(["label", "group"]).groupby("label").head(GROUPS_OF_A_CLASS)
    groups = firsts["group"].drop_duplicates()
    if len(groups) > MOST_GROUPS:
        groups = groups.iloc[np.linspace(0, len(groups) - 1, MOST_GROUPS).astype(int)]
    if len(groups) < 2 * folds:
        groups = table["group"].drop_duplicates().head(4 * folds)
    chosen = table[table["group"].isin(set(groups))]
    if found.task.layout == "contest":
        return chosen
    return chosen.groupby(["group", "label"], sort=False).head(PHOTOS_OF_A_GROUP)


def _write_contest(folder: Path, trial: Params, found: Found, few: Few) -> None:
    places = contest_layout.folders(trial)
    _copy(few.files, folder / places.train, few.files.names)
    _copy(few.shown, folder / places.eval, few.shown.names)
    people = found.groups[found.groups["group"].isin(set(few.rows["group"]))]
    table = people.assign(gender=[contest_layout.GENDERS[code] for code in people["gender"]]).rename(
        columns={"group": "id"}
    )
    table[list(contest_layout.TRAIN_COLUMNS)].to_csv(folder / places.train_table, index=False)
    pd.DataFrame({"ImageID": few.shown.names, "ans": 0}).to_csv(folder / places.eval_table, index=False)


def _write_folders(folder: Path, trial: Params, found: Found, few: Few) -> None:
    classes = np.array(found.task.class_names, object)[few.rows["label"]]
    names = [f"{name}/{place}{Path(few.files.names[place]).suffix}" for place, name in enumerate(classes)]
    _copy(few.files, folder / TRAIN, names)
    _copy(few.shown, folder / EVAL, few.shown.names)


def _write_tables(folder: Path, trial: Params, found: Found, few: Few) -> None:
    _copy(few.files, folder / ROOT, few.files.names)
    _copy(few.shown, folder / ROOT, few.shown.names)
    columns: dict[str, Any] = {"file": few.files.names} | (
        {"group": few.rows["group"].to_numpy()} if trial.data.group else {}
    )
    for axis in found.task.axes:
        values = few.rows[axis.name].to_numpy()
        columns[axis.name] = values if axis.numeric else np.array(axis.levels, object)[values]
    pd.DataFrame(columns).to_csv(folder / str(trial.data.train), index=False)
    if trial.data.eval:
        pd.DataFrame({"file": few.shown.names}).to_csv(folder / trial.data.eval, index=False)


def _copy(files: Files, folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[place], target)
