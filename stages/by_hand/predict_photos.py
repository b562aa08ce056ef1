"""The photos that predict is asked about: files, folders with all below them, patterns, and tables that list files."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from stages.base.errors import UserError, nearest
from stages.bundle import new_photos
from stages.bundle.new_photos import Unreadable
from stages.data import file_pattern, pixel_cache_record, table_file
from stages.data.csv_rows import printable, shown
from stages.data.photo_files import OTHER_SUFFIXES, SUFFIXES, is_litter
from stages.params.schema import Params
from stages.records.learnt_photos import Known

PHOTOS = (*SUFFIXES, *OTHER_SUFFIXES)  # of a folder; what of these cannot be decoded is told of, not passed over
TABLES = (".csv", ".tsv", *table_file.PARQUET)
FILE_COLUMNS = ("file", "path", "photo", "image", "filename", "ImageID")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass
class Listed:
    """N photos in the order asked for. Names are as the person gave them, fit for a terminal and a table of one line a row."""

    names: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    passed_over: int = 0  # files in folders that are no photos

    def add(self, path: str, name: str | None = None) -> None:
        self.names.append(printable(path if name is None else name))
        self.paths.append(path)


def listed(words: Sequence[str], column: str | None = None) -> Listed:
    """The photos that command-line words name; `column` of a table holds the files, below the table's own folder.

    Files in folders and of patterns come sorted by name, and those that do not exist are told before anything is computed, but
    for a table's: each of these has a row of its own. Raises UserError.
    """
    found = Listed()
    for word in words:
        before = len(found.names)
        if URL.match(word):
            raise UserError(f"{shown(word)}: is a URL, and nothing is fetched; download the photo and name its file")
        if Path(word).is_dir():
            _walk(word, found)
            if len(found.names) == before:
                raise UserError(
                    f"{printable(word)}: is a folder without photos ({', '.join(SUFFIXES)}); name one that holds some"
                )
        elif Path(word).exists():
            _file(word, column, found)
        elif glob.has_magic(word):
            _pattern(word, found)
        else:
            raise UserError(
                f"{printable(word)}: not found; name a photo, a folder, a table of files, or a pattern as 'photos/*.jpg'"
            )
    return found


def _file(word: str, column: str | None, found: Listed) -> None:
    if word.lower().endswith(TABLES):
        _table(Path(word), column, found)
    else:
        found.add(word)


def _pattern(word: str, found: Listed) -> None:
    """Photos of a pattern, and those below folders that it matches. Raises UserError where there are none."""
    before = len(found.names)
    given = next(
        place for place, part in enumerate(Path(word).parts) if glob.has_magic(part)
    )  # folders before the first sign
    for path in sorted(glob.iglob(word, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
        if any(map(is_litter, Path(path).parts[given:])):
            continue
        if Path(path).is_dir():
            if "**" not in word:  # which goes into folders by itself
                _walk(path, found)
        elif path.lower().endswith(PHOTOS):
            found.add(path)
        else:
            found.passed_over += 1
    if len(found.names) == before:
        raise UserError(f"{printable(word)}: no photo has such a name; check the pattern, or name the folder")


def _walk(folder: str, found: Listed) -> None:
    """The photos in a folder and below it. Links to folders are not followed, as they may lead in a circle."""
    for where, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        for name in sorted(files):
            if is_litter(name):
                continue
            if name.lower().endswith(PHOTOS):
                found.add(str(Path(where, name)))
            else:
                found.passed_over += 1


def _unreadable(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions")


def _table(path: Path, column: str | None, found: Listed) -> None:
    """The files of a table's column. Raises UserError for its first faulty row."""
    table = table_file.open_table(path, "PHOTO")
    chosen = column or next((name for name in FILE_COLUMNS if name in table.names), None)
    lacking = file_pattern.lacking(chosen, table.names) if chosen else None
    if chosen is None or lacking is not None:
        mend = nearest(lacking or "", table.names, otherwise=f"it has {', '.join(map(shown, table.names[:8]))}")
        which = f"has no column {shown(lacking)}" if lacking else "which column holds the files? give --column"
        raise UserError(f"{path}: {which}{mend}")
    rows, faults = table_file.columns(table, file_pattern.columns(chosen, table.names))
    if faults:
        raise UserError(str(faults[0]))
    if rows.empty:
        raise UserError(f"{path}: has a header but no rows; add the rows")
    for number, name in zip(rows.index, file_pattern.filled(chosen, rows), strict=True):
        if not name:
            raise UserError(f"{table.where(number)}: {chosen} is empty; name a file below {path.parent}")
        if URL.match(name):
            raise UserError(
                f"{table.where(number)}: {shown(name)} is a URL, and nothing is fetched; download the photo and name its file"
            )
        found.add(str(path.parent / name), name)


@dataclass(frozen=True)
class NewPixels:
    """Photos read whenever they are asked for: uint8 [n, H + 2m, W + 2m, 3], as stages.data.pixel_cache.Pixels.

    What cannot be read is black, and stands in `faults` by its position until it is taken from there; so does in `learnt` what is
    `known`, by how many photos it stands for.
    """

    photos: Listed
    params: Params
    known: Known = field(default_factory=lambda: Known(()))  # what the models asked have learnt from
    faults: dict[int, Unreadable] = field(default_factory=dict)
    learnt: dict[int, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.photos.names)

    def __getitem__(self, which: np.ndarray, /) -> np.ndarray:
        found = np.zeros((len(which), *self.params.cache_size, 3), np.uint8)
        for place, position in enumerate(which.tolist()):
            path, name = Path(self.photos.paths[position]), self.photos.names[position]
            try:
                found[place] = new_photos.read(path, name, self.params, partial(self._look_up, position))
            except Unreadable as fault:
                self.faults[position] = fault
        return found

    def _look_up(self, position: int, photo: bytes) -> None:
        if self.known:
            content = np.array([int(pixel_cache_record.content_of(photo), 16)], np.uint64)
            if standing_for := float(self.known.standing_for(content)[0]):
                self.learnt[position] = standing_for

    def take(self, positions: range) -> Iterator[Unreadable | None]:
        """Why each of these photos could not be read, and forget it."""
        for position in positions:
            yield self.faults.pop(position, None)
