"""The layout `contest`: which people and photos there are, what is told of them, and what is wrong with them.

train/train.csv                 id,gender,race,age,path
train/images/<path>/<photo>.*   photo in mask1..mask5, incorrect_mask, normal
eval/info.csv                   ImageID,ans
eval/images/<ImageID>
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.data import csv_rows, task_and_classes
from stages.data.csv_rows import Fault, normal, printable, shown
from stages.data.found_photos import Found
from stages.data.photo_files import SUFFIXES, Places, by_normal_form, is_litter, unsafe
from stages.params.data_and_axes import LAYOUTS, OLDEST
from stages.params.schema import Params

GENDERS = ("male", "female")
PHOTO_MASKS = {f"mask{number}": 0 for number in range(1, 6)} | {"incorrect_mask": 1, "normal": 2}
CONSTANT = ("gender", "age")  # axes of which all photos of a person have the same
TRAIN_COLUMNS = ("id", "gender", "race", "age", "path")
EVAL_COLUMNS = ("ImageID", "ans")
PEOPLE_TYPES = {"group": str, "gender": int, "race": str, "age": int, "path": str}


@dataclass(frozen=True)
class Folders:
    """Where the contest's tables and photos lie below data.root."""

    train_table: Path
    train: Path
    eval_table: Path
    eval: Path


def folders(params: Params) -> Folders:
    root = Path(params.data.root or "data")
    return Folders(root / "train/train.csv", root / "train/images", root / "eval/info.csv", root / "eval/images")


def find(params: Params) -> Found:
    """All people and photos, and what is wrong with them. Raises UserError where nothing lies as the contest has it."""
    places = folders(params)
    if not (places.train_table.is_file() or places.train.is_dir()):
        root = Path(params.data.root or "")
        problem = "holds no data set of the layout contest" if root.is_dir() else "there is no such folder"
        raise UserError(
            f"{root}: {problem}; the layouts are {LAYOUTS}; `maskcli init DATA` finds which one photos have, `maskcli init "
            "--demo` draws some"
        )
    people, faults = read_people(places.train_table)
    photos, photo_faults = find_photos(people, places.train)
    ids, eval_faults = read_eval(places.eval_table, places.eval)
    faults += photo_faults
    warnings = [] if faults else _unlisted(people["path"], places.train, places.train_table)
    return Found(
        task_and_classes.made(params, {}, CONSTANT, "person"),
        photos,
        people,
        pd.DataFrame({"ImageID": ids}, dtype=str),
        faults,
        eval_faults,
        warnings + _unlisted(ids, places.eval, places.eval_table),
    )


def read_people(path: Path) -> tuple[pd.DataFrame, list[Fault]]:
    """Read train.csv to columns group (the id), gender (code), race, age (years), path; faulty rows are left out and reported.

    Of two rows with one id or one folder the first stays in the table, but both people are named by the faults.
    """
    rows, faults = csv_rows.read(path, TRAIN_COLUMNS)
    people = []
    ids: dict[str, int] = {}
    owners: dict[str, tuple[int, str]] = {}
    for number, row in rows:
        row = row | {"id": normal(row["id"]), "path": str(PurePosixPath(row["path"])) if row["path"] else ""}
        row_faults = _row_faults(f"{path} line {number}", row, ids, owners)
        faults += row_faults
        ids.setdefault(row["id"], number)
        owners.setdefault(normal(row["path"]), (number, row["id"]))
        if not row_faults:
            people.append((row["id"], GENDERS.index(row["gender"].lower()), row["race"], int(row["age"]), row["path"]))
    return pd.DataFrame(people, columns=list(PEOPLE_TYPES)), faults


def _row_faults(
    where: str, row: dict[str, str], ids: dict[str, int], owners: dict[str, tuple[int, str]]
) -> list[Fault]:
    person, age = row["id"], row["age"]
    found = []
    if not person:
        found.append(("id is empty", "give every person an id"))
    elif person in ids:
        found.append((f"id {shown(person)} stands on line {ids[person]} already", "give every person one row"))
    if row["gender"].lower() not in GENDERS:
        found.append((f"gender {shown(row['gender'])} is not known", "write male or female"))
    if not (age.isascii() and age.isdigit() and len(age) <= 3 and int(age) <= OLDEST):
        found.append((f"age {shown(age)} is not a whole number from 0 to {OLDEST}", "write the age in years"))
    problem = unsafe(row["path"])
    faults = [Fault(where, problem, mend, person) for problem, mend in found]
    if problem:
        mend = "write the name of a folder in data/train/images"
        return [*faults, Fault(where, f"path {shown(row['path'])} {problem}", mend, person)]
    line, owner = owners.get(normal(row["path"]), (0, ""))
    if line:
        # Whose photos they are is not known, so the fault stands against both.
        problem = f"path {shown(row['path'])} stands on line {line} already"
        faults += [Fault(where, problem, "give each person a folder", name) for name in dict.fromkeys((person, owner))]
    return faults


def find_photos(people: pd.DataFrame, images: Path) -> tuple[pd.DataFrame, list[Fault]]:
    """List each person's seven photos: columns group, file (below `images`), mask, gender, age.

    People keep their order in train.csv, photos the order of PHOTO_MASKS. A person with a fault is left out.
    """
    if not images.is_dir():
        return _photo_table([], []), [Fault(str(images), "this folder is missing", "put the photos there")]
    faults: list[Fault] = []
    seen: list[tuple[str, int, int]] = []  # person, gender, age
    names: list[str] = []  # of the photos, seven a person
    folders = by_normal_form(images)
    allowed = Places(images.resolve())
    owners: dict[tuple[int, int], str] = {}
    person: Any
    for person in people.itertuples(index=False):
        folder = images / person.path
        if not folder.is_dir():
            # macOS writes decomposed names (NFD) where a CSV has composed ones (NFC); both mean the same folder.
            folder = images / folders.get(normal(person.path), person.path)
        person_faults = _folder_faults(folder, person.group, allowed, owners)
        if not person_faults:
            files, person_faults = _seven_photos(folder, person.group, allowed)
        faults += person_faults
        if not person_faults:
            seen.append((person.group, person.gender, person.age))
            names += [f"{folder.name}/{files[stem]}" for stem in PHOTO_MASKS]
    return _photo_table(seen, names), faults


def _photo_table(people: list[tuple[str, int, int]], files: list[str]) -> pd.DataFrame:
    """Column by column: a million rows of Python's numbers would take several times the memory."""
    person, gender, age = zip(*people, strict=True) if people else ((), (), ())
    photos = len(PHOTO_MASKS)
    columns = {
        "group": np.repeat(np.array(person, object), photos),
        "file": np.array(files, object),
        "mask": np.tile(np.array(list(PHOTO_MASKS.values())), len(people)),
        "gender": np.repeat(np.array(gender, int), photos),
        "age": np.repeat(np.array(age, int), photos),
    }
    return pd.DataFrame(columns).astype({"group": str, "file": str})


def _folder_faults(folder: Path, person: str, allowed: Places, owners: dict[tuple[int, int], str]) -> list[Fault]:
    """Why a person's folder cannot be used. `owners` remembers whose each folder (device, inode) is."""
    where = printable(str(folder))
    if not folder.is_dir():
        return [Fault(where, "this folder is missing", f"add it, or remove {shown(person)} from train.csv", person)]
    if not allowed.hold(folder):
        return [Fault(where, "is a link that leads out of data/", "copy the photos into data/", person)]
    status = folder.stat()
    owner = owners.setdefault((status.st_dev, status.st_ino), person)
    if owner != person:
        # A link, or names that differ in case on a file system that does not tell them apart.
        problem = f"is the folder of {shown(owner)} by another name"
        return [Fault(where, problem, "give each person a folder", name) for name in (person, owner)]
    return []


def _seven_photos(folder: Path, person: str, allowed: Places) -> tuple[dict[str, str], list[Fault]]:
    """File names of a person's photos by their stem, and what is wrong with the folder's content."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        where, problem = printable(str(folder)), f"cannot be read ({error.strerror})"
        return {}, [Fault(where, problem, "check its permissions", person)]
    files: dict[str, str] = {}
    named = set()
    faults = []
    for entry in entries:
        dot = entry.name.rfind(".")
        stem, suffix = (entry.name[:dot], entry.name[dot:]) if dot > 0 else (entry.name, "")
        if is_litter(entry.name):
            continue
        named.add(stem)
        problem = ""
        if suffix.lower() not in SUFFIXES or stem not in PHOTO_MASKS:
            problem, mend = (
                "is not one of the seven photos",
                f"remove it, or name it as one of {', '.join(PHOTO_MASKS)}",
            )
        elif stem in files:
            problem, mend = f"is a second `{stem}` beside {files[stem]}", "keep one of them"
        elif entry.is_symlink() and not allowed.hold(Path(entry.path)):
            problem, mend = "is a link that leads out of data/", "copy the photo into data/"
        elif not entry.is_file():
            problem, mend = "is not a file", "put the photo there"
        else:
            files[stem] = entry.name
        if problem:
            faults.append(Fault(printable(str(folder / entry.name)), problem, mend, person))
    for stem in PHOTO_MASKS:
        if stem not in named:
            mend = f"add it, or remove {shown(person)} from train.csv"
            faults.append(Fault(printable(str(folder / f"{stem}.*")), "this photo is missing", mend, person))
    return files, faults


def read_eval(path: Path, images: Path) -> tuple[list[str], list[Fault]]:
    """Read the ImageIDs of info.csv in their order, and check that each has its photo."""
    rows, faults = csv_rows.read(path, EVAL_COLUMNS)
    if not images.is_dir():
        return [], [*faults, Fault(str(images), "this folder is missing", "put the photos there")]
    ids: list[str] = []
    seen: dict[str, int] = {}
    allowed = Places(images.resolve())
    for (number, row), file in zip(rows, eval_files([row["ImageID"] for _, row in rows], images), strict=True):
        where, image = f"{path} line {number}", row["ImageID"]
        why, key = unsafe(image), normal(image)
        if why:
            problem = f"ImageID {shown(image)} {why}"
            faults.append(Fault(where, problem, "write the name of a file in data/eval/images"))
        elif key in seen:
            faults.append(Fault(where, f"ImageID {shown(image)} stands on line {seen[key]} already", "keep one row"))
        elif not file.is_file():
            problem = f"ImageID {shown(image)} has no photo in {images}"
            faults.append(Fault(where, problem, "add the photo or remove the row"))
        elif not allowed.hold(file):
            where = printable(str(file))
            faults.append(Fault(where, "is a link that leads out of data/", "copy the photo into data/"))
        else:
            ids.append(image)
        seen.setdefault(key, number)
    return ids, faults


def eval_files(ids: list[str], images: Path) -> list[Path]:
    """The photo of each ImageID; its name on the disk may be in the other normal form."""
    return [images / name for name in eval_names(ids, images)]


def eval_names(ids: list[str], images: Path) -> list[str]:
    """The same below `images`: of a million photos, paths would take several times the memory of names."""
    names = by_normal_form(images) if images.is_dir() else {}
    found = (names.get(normal(image)) for image in ids)
    return [
        image if name is None or unsafe(image) or (images / image).exists() else name
        for image, name in zip(ids, found, strict=True)
    ]


def _unlisted(listed: Iterable[str], folder: Path, table: Path) -> list[str]:
    names = unlisted(listed, folder) if folder.is_dir() else []
    if not names:
        return []
    return [f"{len(names)} names in {folder} stand in no row of {table}, first {shown(names[0])}: not used"]


def unlisted(listed: Iterable[str], folder: Path) -> list[str]:
    """Names in `folder`, sorted, that are not among `listed` in either normal form."""
    known = {normal(name) for name in listed}
    return sorted(
        entry.name for entry in os.scandir(folder) if not is_litter(entry.name) and normal(entry.name) not in known
    )
