"""eda: what is in the data set: classes, axes, photo sizes, photos that stand in it twice, what is unreadable.

Faults do not stop it: they are listed, and the people (groups) concerned are left out of the counts, as prepare leaves them
out with data.on_fault: skip.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import cores, paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import Talk
from stages.data import near_duplicates, photos
from stages.data.csv_rows import Fault
from stages.data.decode import BadPhoto, decode
from stages.data.found_photos import Found
from stages.data.pixel_cache_record import Files
from stages.data.task_and_classes import Task
from stages.params.schema import Params
from stages.report.png import eda_figures, histograms
from stages.report.png.histograms import Histogram

CHUNK = 256  # photos handed to the threads at a time
SHOWN_SIZES = 5


@dataclass(frozen=True)
class Scan:
    """All photos, decoded once: sizes int [N, 2] (height, width, px; 0 if unreadable), hashes uint64 [N],
    greys uint8 [N, 32, 32], comparable bool [N] (readable and not blank), faults (position, what is wrong)."""

    sizes: np.ndarray
    hashes: np.ndarray
    greys: np.ndarray
    comparable: np.ndarray
    faults: list[tuple[int, BadPhoto]]


@dataclass(frozen=True)
class Everything:
    """All photos of a data set, training photos first: their files, and whose each is (empty: an eval photo's)."""

    train: Files
    eval: Files
    groups: list[str]

    def __len__(self) -> int:
        return len(self.train) + len(self.eval)

    def __getitem__(self, position: int) -> Path:
        return self.train[position] if position < len(self.train) else self.eval[position - len(self.train)]


def run(params: Params, talk: Talk) -> dict[str, Any]:
    """Write the tables and pictures of out/eda and return what summary.json says.

    Raises UserError only if not one person (group) is complete in the table and the photos.
    """
    found = photos.find(params)
    task, faults = found.task, found.faults
    if found.photos.empty:
        raise UserError(str(faults[0]))
    everything = all_photos(found, params)
    with near_duplicates.room(paths.EDA, len(everything)) as greys:
        scan = scan_photos(everything, greys, params, talk)
        pairs, complete = _duplicates(scan, everything)
    bad = [
        Fault(str(everything[place]), fault.problem, fault.mend, everything.groups[place])
        for place, fault in scan.faults
    ]
    table = _usable(found.photos, bad, task)
    if table.empty:
        raise UserError(str(bad[0]))

    blank = [
        Fault(str(everything[place]), "is blank: one flat colour", "look at it; replace it by the original")
        for place in np.flatnonzero((scan.sizes[:, 0] > 0) & ~scan.comparable).tolist()
    ]
    counts = photos.class_counts(task, table)
    numbers = [histograms.count(table, axis, task) for axis in task.axes if axis.numeric]
    sizes = _sizes(scan.sizes, len(everything.train))
    faults += found.eval_faults + bad
    result = {
        **_counts(table, counts, numbers, task),
        "sizes": len(sizes),
        "common_sizes": sizes.head(SHOWN_SIZES).to_dict("records"),
        **_of_pairs(pairs, task),
        "eval_photos": len(everything.eval),
        "blank_photos": len(blank),
        "near_duplicates_complete": complete,
        "unreadable_photos": len(bad),
        "faults": len(faults),
    }
    write_csv(paths.EDA_CLASS_COUNTS, counts)
    write_csv(paths.EDA_SIZES, sizes)
    write_csv(paths.EDA_DUPLICATES, _named(pairs, task))
    listed = pd.DataFrame([vars(fault) for fault in faults + blank], columns=["where", "problem", "mend"])
    write_csv(paths.EDA_UNREADABLE, listed)
    for one in numbers:
        bars = photos.exact(one.table, (one.axis.name, "bin_from", "to"))
        write_csv(paths.eda_numbers(one.axis.name), bars)
        eda_figures.histogram(paths.eda_numbers_png(one.axis.name), one)
    eda_figures.sizes(paths.EDA_SIZES_PNG, sizes)
    eda_figures.near_duplicates(paths.EDA_DUPLICATES_PNG, pairs, task, params.data.max_pixels)
    _draw_classes(table, counts, task, params, talk)
    write_json(paths.EDA_SUMMARY, result)
    whose = "" if task.unit == "photo" else f"{result[task.units]} {task.units}, "
    talk.say(f"eda: {whose}{len(everything)} photos, {len(pairs)} near-duplicate pairs, {len(faults)} faults")
    return result


def _draw_classes(table: pd.DataFrame, counts: pd.DataFrame, task: Task, params: Params, talk: Talk) -> None:
    """How many photos each class has, and what they look like."""
    eda_figures.classes(paths.EDA_CLASSES_PNG, counts, task)
    shown = eda_figures.ends(counts)
    eda_figures.contact_sheet(paths.EDA_CONTACT_SHEET, _sheet(table, shown, params, talk), shown, task)


def all_photos(found: Found, params: Params) -> Everything:
    ids = found.eval["ImageID"].tolist()
    groups = [*found.photos["group"], *[""] * len(ids)]
    return Everything(photos.files(params, found.photos["file"].tolist()), photos.eval_files(params, ids), groups)


def scan_photos(files: Sequence[Path] | Everything, greys: np.ndarray, params: Params, talk: Talk) -> Scan:
    """Decode every file once, on all cores, filling `greys`."""
    sizes = np.zeros((len(files), 2), np.int64)
    hashes = np.zeros(len(files), np.uint64)
    comparable = np.zeros(len(files), bool)

    def work(position: int) -> BadPhoto | None:
        try:
            photo = decode(
                files[position], near_duplicates.SIDE, near_duplicates.SIDE, max_pixels=params.data.max_pixels
            )
        except BadPhoto as fault:
            return fault
        small = near_duplicates.grey(photo.pixels)
        sizes[position] = photo.source_height, photo.source_width
        greys[position], hashes[position] = small, near_duplicates.phash(small)
        comparable[position] = not near_duplicates.is_blank(small)
        return None

    faults: list[tuple[int, BadPhoto]] = []
    ticks = talk.track(range(len(files)), len(files), "look at photos")
    with ThreadPoolExecutor(cores.usable()) as pool:
        for start in range(0, len(files), CHUNK):
            chunk = range(start, min(start + CHUNK, len(files)))
            for position, fault in zip(chunk, pool.map(work, chunk), strict=True):
                next(ticks)
                if fault:
                    faults.append((position, fault))
    next(ticks, None)
    return Scan(sizes, hashes, greys, comparable, faults)


def _duplicates(scan: Scan, files: Everything) -> tuple[pd.DataFrame, bool]:
    """Pairs: photo_a, group_a, photo_b, group_b (empty: an eval photo), distance, correlation.

    All eval photos count as one group: whose they are is not known, so they are compared with training photos alone.
    """
    owners = pd.factorize(np.array(files.groups, object))[0]
    pairs, complete = near_duplicates.duplicates(scan.hashes, scan.greys, owners, scan.comparable)
    table = pd.DataFrame(
        {
            f"{what}_{side}": [str(values[place]) for place in pairs[side]]
            for side in ("a", "b")
            for what, values in (("photo", files), ("group", files.groups))
        }
    )
    return table.assign(distance=pairs["distance"], correlation=pairs["correlation"]), complete


def _named(pairs: pd.DataFrame, task: Task) -> pd.DataFrame:
    """near_duplicates.csv: whose each photo is by the unit's name; where there are no groups, whether it is an eval photo."""
    if task.unit != "photo":
        return pairs.rename(columns={f"group_{side}": f"{photos.unit_column(task)}_{side}" for side in ("a", "b")})
    which = {f"group_{side}": np.where(pairs[f"group_{side}"] == "", "eval", "train") for side in ("a", "b")}
    return pairs.assign(**which).rename(columns={"group_a": "set_a", "group_b": "set_b"})


def _sheet(table: pd.DataFrame, counts: pd.DataFrame, params: Params, talk: Talk) -> list[list[np.ndarray]]:
    """The contact sheet's photos, a row a class, read on all cores."""
    folder = photos.folder(params)

    def read(file: str) -> np.ndarray:
        return eda_figures.fitted(folder / file, params.data.max_pixels)

    drawn = eda_figures.draw(table, counts["label"], params.seed)
    with ThreadPoolExecutor(cores.usable()) as pool:
        return [list(pool.map(read, files)) for files in talk.track(drawn, len(drawn), "draw a contact sheet")]


def _usable(table: pd.DataFrame, bad: list[Fault], task: Task) -> pd.DataFrame:
    """Photos of the groups all of whose photos can be read, with their label."""
    table = table[~table["group"].isin({fault.group for fault in bad if fault.group})].reset_index(drop=True)
    return table.assign(label=task.labels(table))


def _sizes(sizes: np.ndarray, training: int) -> pd.DataFrame:
    """Photos per size, px, most common first: height, width, photos (training), eval_photos."""
    table = pd.DataFrame(sizes, columns=["height", "width"])
    table["photos"] = np.arange(len(table)) < training
    table["eval_photos"] = ~table["photos"]
    table = table[table["height"] > 0].groupby(["height", "width"]).sum().reset_index()
    return table.sort_values(["photos", "eval_photos", "height"], ascending=False).reset_index(drop=True)


def _counts(table: pd.DataFrame, counts: pd.DataFrame, numbers: list[Histogram], task: Task) -> dict[str, Any]:
    """Of summary.json: groups and photos, each axis that groups have alike (or photos, where there are no groups), classes."""
    groups = table.drop_duplicates("group")
    found: dict[str, Any] = {task.units: len(groups), "photos": len(table)}
    bins = {one.axis.name: histograms.in_bins(one) for one in numbers}
    alone = task.unit == "photo" and len(task.axes) == 1  # its levels are the classes
    for axis in task.axes if not alone else ():
        key = f"{axis.name}_{task.units}"
        if axis.numeric and (axis.constant or task.unit == "photo"):
            found[key] = bins[axis.name]
        elif axis.constant or task.unit == "photo":
            members = np.bincount(groups[axis.name], minlength=len(axis.levels)).tolist()
            found[key] = dict(zip(axis.levels, members, strict=True))
            found[f"{axis.name}_share"] = {name: round(count / len(groups), 4) for name, count in found[key].items()}
    columns = dict.fromkeys(("class", task.units, "photos"))
    return found | {"classes": counts[list(columns)].to_dict("records")}


def _of_pairs(pairs: pd.DataFrame, task: Task) -> dict[str, int]:
    with_eval = pairs["group_b"] == ""
    return {
        "near_duplicates": len(pairs),
        "near_duplicates_with_eval": int(with_eval.sum()),
        f"near_duplicate_{task.units}": len(set(pairs["group_a"]) | set(pairs["group_b"][~with_eval])),
    }
