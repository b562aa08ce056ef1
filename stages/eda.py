"""eda: what is in the data set: classes, ages, genders, photo sizes, photos that stand under two people, what is unreadable.

Faults do not stop it: they are listed, and the people concerned are left out of the counts, as prepare leaves them out
with data.on_fault: skip.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import cores, paths
from stages.base.errors import UserError
from stages.base.files import make_folder, reserve, unwritable, write_csv, write_json
from stages.base.talk import Talk
from stages.data import layout, near_duplicates
from stages.data.csv_rows import Fault
from stages.data.decode import BadPhoto, decode
from stages.params.schema import Params
from stages.report.png import eda_figures

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


def run(params: Params, talk: Talk) -> dict[str, Any]:
    """Write the tables and pictures of out/eda and return what summary.json says.

    Raises UserError only if not one person is complete in train.csv and the photos.
    """
    people, faults = layout.read_people(paths.TRAIN_CSV)
    photos, photo_faults = layout.find_photos(people, paths.TRAIN_IMAGES)
    eval_ids, eval_faults = layout.read_eval(paths.EVAL_CSV, paths.EVAL_IMAGES)
    faults += photo_faults
    if photos.empty:
        raise UserError(str(faults[0]))
    files = [paths.TRAIN_IMAGES / file for file in photos["file"]] + layout.eval_files(eval_ids, paths.EVAL_IMAGES)
    owner_names = [*photos["person"], *[""] * len(eval_ids)]
    with _greys(len(files)) as greys:
        scan = _scan(files, greys, params, talk)
        pairs, complete = _duplicates(scan, files, owner_names)
    bad = [Fault(str(files[place]), fault.problem, fault.mend, owner_names[place]) for place, fault in scan.faults]
    photos = _usable(photos, bad, params)
    if photos.empty:
        raise UserError(str(bad[0]))

    blank = [
        Fault(str(files[place]), "is blank: one flat colour", "look at it; replace it by the original")
        for place in np.flatnonzero((scan.sizes[:, 0] > 0) & ~scan.comparable)
    ]
    counts = layout.class_counts(photos)
    ages = _ages(photos, layout.age_bins(params))
    sizes = _sizes(scan.sizes, len(owner_names) - len(eval_ids))
    faults += eval_faults + bad
    result = _summary(photos, counts, ages, sizes, pairs, layout.age_bins(params)) | {
        "eval_photos": len(eval_ids),
        "blank_photos": len(blank),
        "near_duplicates_complete": complete,
        "unreadable_photos": len(bad),
        "faults": len(faults),
    }
    write_csv(paths.EDA_CLASS_COUNTS, counts)
    write_csv(paths.EDA_AGES, ages)
    write_csv(paths.EDA_SIZES, sizes)
    write_csv(paths.EDA_DUPLICATES, pairs)
    listed = pd.DataFrame([vars(fault) for fault in faults + blank], columns=["where", "problem", "mend"])
    write_csv(paths.EDA_UNREADABLE, listed)
    eda_figures.classes(paths.EDA_CLASSES_PNG, counts)
    eda_figures.ages(paths.EDA_AGES_PNG, ages, layout.age_bins(params))
    eda_figures.sizes(paths.EDA_SIZES_PNG, sizes)
    eda_figures.near_duplicates(paths.EDA_DUPLICATES_PNG, pairs, params.data.max_pixels)
    eda_figures.contact_sheet(paths.EDA_CONTACT_SHEET, _sheet(photos, counts, params, talk), counts)
    write_json(paths.EDA_SUMMARY, result)
    talk.say(
        f"eda: {result['people']} people, {len(files)} photos, {len(pairs)} near-duplicate pairs, {len(faults)} faults"
    )
    return result


@contextmanager
def _greys(photos: int) -> Iterator[np.ndarray]:
    """A zeroed uint8 array [photos, 32, 32] in an unnamed file under out/, so that memory does not grow with it."""
    make_folder(paths.EDA)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=paths.EDA))
            reserve(file, photos * near_duplicates.SIDE**2)
        except OSError as error:
            raise unwritable(paths.EDA, error) from error
        yield np.memmap(file, np.uint8, "r+", shape=(photos, near_duplicates.SIDE, near_duplicates.SIDE))


def _scan(files: list[Path], greys: np.ndarray, params: Params, talk: Talk) -> Scan:
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


def _duplicates(scan: Scan, files: list[Path], owner_names: list[str]) -> tuple[pd.DataFrame, bool]:
    """near_duplicates.csv: photo_a, person_a, photo_b, person_b (empty: an eval photo), distance, correlation.

    All eval photos count as one owner: whose they are is not known, so they are compared with training photos alone.
    """
    owners = pd.factorize(np.array(owner_names, object))[0]
    pairs, complete = near_duplicates.duplicates(scan.hashes, scan.greys, owners, scan.comparable)
    table = pd.DataFrame(
        {
            f"{what}_{side}": [str(values[place]) for place in pairs[side]]
            for side in ("a", "b")
            for what, values in (("photo", files), ("person", owner_names))
        }
    )
    return table.assign(distance=pairs["distance"], correlation=pairs["correlation"]), complete


def _sheet(photos: pd.DataFrame, counts: pd.DataFrame, params: Params, talk: Talk) -> list[list[np.ndarray]]:
    """The contact sheet's photos, a row a class, read on all cores."""

    def read(file: str) -> np.ndarray:
        return eda_figures.fitted(paths.TRAIN_IMAGES / file, params.data.max_pixels)

    drawn = eda_figures.draw(photos, counts["label"], params.seed)
    with ThreadPoolExecutor(cores.usable()) as pool:
        return [list(pool.map(read, files)) for files in talk.track(drawn, len(drawn), "draw a contact sheet")]


def _usable(photos: pd.DataFrame, bad: list[Fault], params: Params) -> pd.DataFrame:
    """Photos of the people all of whose photos can be read, with their label."""
    photos = photos[~photos["person"].isin({fault.person for fault in bad if fault.person})].reset_index(drop=True)
    mask, gender, age = (photos[name].to_numpy() for name in ("mask", "gender", "age"))
    return photos.assign(label=layout.label(mask, gender, layout.age_bin(age, layout.age_bins(params))))


def _ages(photos: pd.DataFrame, bins: tuple[int, int]) -> pd.DataFrame:
    """People per year of age and gender: age, gender (name), people, bin_from (the age where its bin begins)."""
    people = photos.drop_duplicates("person")
    table = people.groupby(["age", "gender"]).size().rename("people").reset_index()
    table["gender"] = [layout.GENDERS[code] for code in table["gender"]]
    table["bin_from"] = np.array([0, *bins])[layout.age_bin(table["age"].to_numpy(), bins)]
    return table


def _sizes(sizes: np.ndarray, training: int) -> pd.DataFrame:
    """Photos per size, px, most common first: height, width, photos (training), eval_photos."""
    table = pd.DataFrame(sizes, columns=["height", "width"])
    table["photos"] = np.arange(len(table)) < training
    table["eval_photos"] = ~table["photos"]
    table = table[table["height"] > 0].groupby(["height", "width"]).sum().reset_index()
    return table.sort_values(["photos", "eval_photos", "height"], ascending=False).reset_index(drop=True)


def _summary(
    photos: pd.DataFrame,
    counts: pd.DataFrame,
    ages: pd.DataFrame,
    sizes: pd.DataFrame,
    pairs: pd.DataFrame,
    bins: tuple[int, int],
) -> dict[str, Any]:
    people = int(ages["people"].sum())
    of_gender = ages.groupby("gender")["people"].sum().reindex(layout.GENDERS, fill_value=0)
    with_eval = pairs["person_b"] == ""
    return {
        "people": people,
        "photos": len(photos),
        "gender_people": {name: int(of_gender[name]) for name in layout.GENDERS},
        "gender_share": {name: round(int(of_gender[name]) / people, 4) for name in layout.GENDERS},
        "age_people": {
            name: int(ages["people"][ages["bin_from"] == start].sum())
            for name, start in zip(layout.age_bin_names(bins), (0, *bins), strict=True)
        },
        "classes": counts[["class", "people", "photos"]].to_dict("records"),
        "sizes": len(sizes),
        "common_sizes": sizes.head(SHOWN_SIZES).to_dict("records"),
        "near_duplicates": len(pairs),
        "near_duplicates_with_eval": int(with_eval.sum()),
        "near_duplicate_people": len(set(pairs["person_a"]) | set(pairs["person_b"][~with_eval])),
    }
