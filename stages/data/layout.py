"""The contest's layout: which people and photos there are, what their labels are, and what is wrong with them.

data/train/train.csv                 id,gender,race,age,path
data/train/images/<path>/<photo>.*   photo in mask1..mask5, incorrect_mask, normal
data/eval/info.csv                   ImageID,ans
data/eval/images/<ImageID>
"""

import csv
import io
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

MASKS = ("wear", "incorrect", "none")
GENDERS = ("male", "female")
AGES = ("<30", "30-59", "60+")
CLASSES = len(MASKS) * len(GENDERS) * len(AGES)
OLD_CLASSES = (2, 5, 8, 11, 14, 17)
OLDEST = 120

PHOTO_MASKS = {f"mask{number}": 0 for number in range(1, 6)} | {"incorrect_mask": 1, "normal": 2}
SUFFIXES = (".jpg", ".jpeg", ".png")
TRAIN_COLUMNS = ("id", "gender", "race", "age", "path")
EVAL_COLUMNS = ("ImageID", "ans")
# The tables that prepare writes.
PEOPLE_TYPES = {"person": str, "gender": int, "race": str, "age": int, "path": str}
PHOTO_TYPES = {"person": str, "file": str, "mask": int, "gender": int, "age": int, "label": int}


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the data set: where, what, and how to mend it. `person` is left out by data.on_fault: skip."""

    where: str
    problem: str
    mend: str
    person: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.mend}"


def label(mask: np.ndarray, gender: np.ndarray, age_bin: np.ndarray) -> np.ndarray:
    """Class number, mask * 6 + gender * 3 + age bin; arrays of one shape."""
    return mask * 6 + gender * 3 + age_bin


def parts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask, gender and age bin of class numbers: the inverse of `label`."""
    return labels // 6, labels // 3 % 2, labels % 3


def age_bin(age: np.ndarray, bins: tuple[int, int]) -> np.ndarray:
    """0, 1, 2 for ages below bins[0], from there to below bins[1], and from bins[1] on."""
    return np.digitize(age, bins)


def age_bin_names(bins: tuple[int, int]) -> tuple[str, str, str]:
    """The age bins in words, for data.age_bins other than AGES' too."""
    return f"below {bins[0]}", f"{bins[0]} to {bins[1] - 1}", f"{bins[1]} and over"


def class_name(number: int) -> str:
    mask, gender, age = number // 6, number // 3 % 2, number % 3
    return f"{MASKS[mask]} {GENDERS[gender]} {AGES[age]}"


def class_counts(photos: pd.DataFrame) -> pd.DataFrame:
    """Photos and people per class, from columns label and person: label, class (name), photos, people; all classes."""
    groups = photos.groupby("label")["person"].agg(["size", "nunique"])
    table = groups.reindex(range(CLASSES), fill_value=0)
    return pd.DataFrame(
        {
            "label": table.index,
            "class": [class_name(number) for number in table.index],
            "photos": table["size"].to_numpy(),
            "people": table["nunique"].to_numpy(),
        }
    )


def read_people(path: Path) -> tuple[pd.DataFrame, list[Fault]]:
    """Read train.csv to columns person, gender (code), race, age (years), path; faulty rows are left out and reported."""
    rows, faults = _read_table(path, TRAIN_COLUMNS)
    people = []
    seen: dict[str, int] = {}
    seen_paths: dict[str, int] = {}
    for number, row in rows:
        row_faults = _row_faults(f"{path} line {number}", row, seen, seen_paths)
        faults += row_faults
        seen.setdefault(row["id"], number)
        seen_paths.setdefault(row["path"], number)
        if not row_faults:
            gender = GENDERS.index(row["gender"].strip().lower())
            people.append((row["id"], gender, row["race"], int(row["age"]), row["path"]))
    return pd.DataFrame(people, columns=["person", "gender", "race", "age", "path"]), faults


def _row_faults(where: str, row: dict[str, str], seen: dict[str, int], seen_paths: dict[str, int]) -> list[Fault]:
    person = row["id"]
    found = []
    if not person.strip():
        found.append(("id is empty", "give every person an id"))
    elif person in seen:
        found.append((f"id `{person}` stands on line {seen[person]} already", "give every person one row"))
    if row["gender"].strip().lower() not in GENDERS:
        found.append((f"gender `{row['gender']}` is not known", "write male or female"))
    age = row["age"].strip()
    if not (age.isascii() and age.isdigit() and int(age[:9]) <= OLDEST):
        found.append((f"age `{row['age']}` is not a whole number from 0 to {OLDEST}", "write the age in years"))
    unsafe = _unsafe(row["path"])
    if unsafe:
        found.append((f"path `{row['path']}` {unsafe}", "write the name of a folder in data/train/images"))
    elif row["path"] in seen_paths:
        found.append(
            (f"path `{row['path']}` stands on line {seen_paths[row['path']]} already", "give each person a folder")
        )
    return [Fault(where, problem, mend, person) for problem, mend in found]


def find_photos(people: pd.DataFrame, images: Path) -> tuple[pd.DataFrame, list[Fault]]:
    """List each person's seven photos: columns person, file (below `images`), mask, gender, age.

    People keep their order in train.csv, photos the order of PHOTO_MASKS. A person with a fault is left out.
    """
    if not images.is_dir():
        return _photo_table([]), [Fault(str(images), "this folder is missing", "put the photos there")]
    faults: list[Fault] = []
    rows: list[tuple[str, str, int, int, int]] = []
    folders = _by_normal_form(images)
    allowed = _roots(images)
    for person in people.itertuples(index=False):
        found, person_faults = _person_photos(person, images, folders, allowed)
        faults += person_faults
        if not person_faults:
            rows += found
    return _photo_table(rows), faults


def _photo_table(rows: list[tuple[str, str, int, int, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["person", "file", "mask", "gender", "age"])


def _person_photos(
    person: Any, images: Path, folders: dict[str, str], allowed: list[Path]
) -> tuple[list[tuple[str, str, int, int, int]], list[Fault]]:
    folder = images / person.path
    if not folder.is_dir():
        # macOS writes decomposed names (NFD) where a CSV has composed ones (NFC); both mean the same folder.
        folder = images / folders.get(unicodedata.normalize("NFC", person.path), person.path)
    if not folder.is_dir():
        return [], [
            Fault(
                str(folder),
                "this folder is missing",
                f"add it, or remove `{person.person}` from train.csv",
                person.person,
            )
        ]
    if not _inside(folder, allowed):
        return [], [
            Fault(str(folder), "is a link that leads out of data/", "copy the photos into data/", person.person)
        ]
    files: dict[str, str] = {}
    faults = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        stem, suffix = Path(entry.name).stem, Path(entry.name).suffix
        if entry.name.startswith("."):
            continue  # .DS_Store and the ._ twins that macOS leaves in archives
        where = str(folder / entry.name)
        if suffix.lower() not in SUFFIXES or stem not in PHOTO_MASKS:
            faults.append(
                Fault(
                    where,
                    "is not one of the seven photos",
                    f"remove it, or name it as one of {', '.join(PHOTO_MASKS)}",
                    person.person,
                )
            )
        elif stem in files:
            faults.append(Fault(where, f"is a second `{stem}` beside {files[stem]}", "keep one of them", person.person))
        elif entry.is_symlink() and not _inside(Path(entry.path), allowed):
            faults.append(Fault(where, "is a link that leads out of data/", "copy the photo into data/", person.person))
        else:
            files[stem] = entry.name
    for stem in PHOTO_MASKS:
        if stem not in files:
            faults.append(
                Fault(
                    str(folder / f"{stem}.*"),
                    "this photo is missing",
                    f"add it, or remove `{person.person}` from train.csv",
                    person.person,
                )
            )
    found = [
        (person.person, f"{folder.name}/{files[stem]}", mask, person.gender, person.age)
        for stem, mask in PHOTO_MASKS.items()
        if stem in files
    ]
    return found, faults


def read_eval(path: Path, images: Path) -> tuple[list[str], list[Fault]]:
    """Read the ImageIDs of info.csv in their order, and check that each has its photo."""
    rows, faults = _read_table(path, EVAL_COLUMNS)
    ids: list[str] = []
    seen: dict[str, int] = {}
    allowed = _roots(images)
    for number, row in rows:
        where, image = f"{path} line {number}", row["ImageID"]
        unsafe = _unsafe(image)
        if unsafe:
            faults.append(Fault(where, f"ImageID `{image}` {unsafe}", "write the name of a file in data/eval/images"))
        elif image in seen:
            faults.append(Fault(where, f"ImageID `{image}` stands on line {seen[image]} already", "keep one row"))
        elif not (images / image).is_file():
            faults.append(
                Fault(where, f"ImageID `{image}` has no photo in {images}", "add the photo or remove the row")
            )
        elif not _inside(images / image, allowed):
            faults.append(Fault(str(images / image), "is a link that leads out of data/", "copy the photo into data/"))
        else:
            ids.append(image)
        seen.setdefault(image, number)
    return ids, faults


def _read_table(path: Path, columns: tuple[str, ...]) -> tuple[list[tuple[int, dict[str, str]]], list[Fault]]:
    """Rows of a CSV with their line numbers; all values are text."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], [Fault(str(path), "not found", "put the data set under data/, or run `maskcli demo-data`")]
    except OSError as error:
        return [], [Fault(str(path), f"cannot be read ({error.strerror})", "check its permissions")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return [], [
            Fault(f"{path} line {line}", "is not UTF-8 text", "save the table as UTF-8 (Korean Excel writes cp949)")
        ]
    reader = csv.reader(io.StringIO(text, newline=""))
    header = ",".join(columns)
    rows: list[tuple[int, dict[str, str]]] = []
    faults: list[Fault] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in names]
        if not names:
            return [], [Fault(str(path), "is empty", f"it must begin with the line {header}")]
        if missing:
            return [], [Fault(f"{path} line 1", f"column `{missing[0]}` is missing", f"the header must be {header}")]
        if len(set(names)) < len(names):
            return [], [Fault(f"{path} line 1", "a column stands twice", f"the header must be {header}")]
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                problem = f"{len(values)} values where the header has {len(names)}"
                faults.append(
                    Fault(f"{path} line {reader.line_num}", problem, "mend the row (quote values that hold commas)")
                )
            else:
                rows.append((reader.line_num, dict(zip(names, values, strict=True))))
    except csv.Error as error:
        return [], [Fault(f"{path} line {reader.line_num}", f"is not valid CSV ({error})", "mend the row")]
    if not rows and not faults:
        faults.append(Fault(str(path), "has a header but no rows", "add the rows"))
    return rows, faults


def _unsafe(path: str) -> str:
    """Why a path from a table must not be followed; empty if it may."""
    pure = PurePosixPath(path)
    if not path.strip():
        return "is empty"
    if "\0" in path or "\\" in path:
        return "holds a character that no file name may have"
    if len(os.fsencode(path.encode("utf-8", "replace"))) > 255:
        return "is longer than a file name can be"
    if pure.is_absolute():
        return "is absolute"
    if ".." in pure.parts:
        return "leads out of its folder"
    if len(pure.parts) != 1:
        return "is not a plain name"
    return ""


def _roots(images: Path) -> list[Path]:
    """Folders that photos may lie in: the data set's own, and DVC's cache, which `cache.type symlink` links to."""
    return [images.resolve(), Path(".dvc/cache").resolve()]


def _inside(path: Path, roots: list[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(root) for root in roots)


def _by_normal_form(images: Path) -> dict[str, str]:
    return {
        unicodedata.normalize("NFC", entry.name): entry.name for entry in os.scandir(images) if not entry.name.isascii()
    }
