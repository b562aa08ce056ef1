"""Which layout a person's photos have, by how they lie."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.base.errors import UserError
from stages.data.folder_layout import TEST, TRAIN, VAL
from stages.data.photo_files import SUFFIXES
from stages.data.table_file import PARQUET
from stages.params.data_and_axes import LAYOUTS, Layout

TABLES = (".csv", ".tsv", ".txt", *PARQUET)
DEPTH = 3  # folders below one that are looked into for a first photo
WORD = re.compile(r"[^\W\d_]+")
NOTES = ("readme", "license", "licence", "copying", "citation")  # texts that are no tables
# Words in names of folders that are no classes, and in those of pieces of one set.
PARTS = frozenset((*TRAIN, *VAL, *TEST))
PIECES = frozenset(("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "jpg", "jpeg", "png"))
PIECES |= {"part", "fold", "batch", "chunk"}
ENTRIES = 2_000  # of a folder that are looked at


def layout_of(data: Path) -> tuple[Layout, Path]:
    """The layout of a folder or table, and where it begins: the folder, or the table.

    Raises UserError where it is none that is known, or several tables could be meant.
    """
    if not data.exists():
        raise UserError(f"{data}: not found; name a folder of photos, or a table of them (CSV, parquet)")
    if data.is_file():
        if data.suffix.lower() not in TABLES:
            raise UserError(f"{data}: is no folder and no table; name one: the layouts are {LAYOUTS}")
        return "table", data
    if (data / "train/train.csv").is_file() and (data / "train/images").is_dir():
        return "contest", data
    tables = sorted(entry for entry in _entries(data) if may_be_table(entry))
    folders = classes(train_side(data))
    parts = _are_parts(folders, bool(tables))
    if len(folders) > 1 and not parts and not (tables and _has_photos_itself(data)):
        return "folder", data
    if parts and not tables:
        raise UserError(
            f"{data}: {folders[0]} and {folders[1]} seem to be parts of the data, not classes; name a table of their labels, "
            "call the parts train, val and test where a folder a class lies in them, or say --layout folder if they are classes"
        )
    if len(tables) > 1:
        likely = next((table for table in tables if "train" in table.stem.lower()), tables[0])
        raise UserError(f"{data}: holds {len(tables)} tables; name the one to begin with, as `maskcli init {likely}`")
    if tables and has_photos(data, DEPTH):
        return "table", tables[0]
    raise UserError(f"{data}: no layout is known in which photos lie like this; the layouts are {LAYOUTS}")


def train_side(data: Path) -> Path:
    """The folder of the classes: train/ where there is one."""
    return data / "train" if (data / "train").is_dir() else data


def classes(folder: Path) -> list[str]:
    """Folders in it that hold photos, at any depth."""
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir() and has_photos(entry, DEPTH))


def may_be_table(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in TABLES and file.stem.lower() not in NOTES


def _are_parts(folders: Sequence[str], beside_a_table: bool) -> bool:
    """Whether folders are called as parts of one data set: train_images and test_images; or, where a table may have the labels,
    images_1 and images_2."""
    names = [words(name) for name in folders]
    if len(folders) < 2 or any(name.lower() in TRAIN for name in folders):  # train/: classes lie in it
        return False
    if all(PARTS.intersection(found) for found in names):
        return True
    return beside_a_table and all(found == names[0] for found in names) and bool(PIECES.intersection(names[0]))


def words(name: str) -> list[str]:
    """Of a folder's or a table's name: of `Test-images2` test and images."""
    return WORD.findall(name.lower())


def has_photos(folder: Path, depth: int) -> bool:
    """Whether a photo lies in a folder, or so many folders below it; only the first entries of each are looked at."""
    if _has_photos_itself(folder):
        return True
    return depth > 0 and any(has_photos(entry, depth - 1) for entry in _entries(folder) if entry.is_dir())


def _has_photos_itself(folder: Path) -> bool:
    return any(entry.suffix.lower() in SUFFIXES and entry.is_file() for entry in _entries(folder))


def _entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, at most ENTRIES, without what is hidden."""
    try:
        with os.scandir(folder) as found:
            for _, entry in zip(range(ENTRIES), found, strict=False):
                if not entry.name.startswith("."):
                    yield Path(entry.path)
    except OSError:
        return
