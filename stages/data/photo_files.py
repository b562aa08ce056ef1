"""Photo files as they lie on the disk: which names are photos, which are litter, and which must not be followed."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from stages.base import dvc_cache
from stages.data.csv_rows import normal

SUFFIXES = (".jpg", ".jpeg", ".png")
# Photos too, which nothing here decodes.
OTHER_SUFFIXES = (".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jp2")
LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir")
LONGEST_NAME = 255  # bytes


@dataclass
class Places:
    """Folders that photos may lie in: the data set's own, and DVC's cache, which `cache.type symlink` links to."""

    folder: Path  # resolved

    @cached_property
    def cache(self) -> Path | None:
        return dvc_cache.folder()

    def hold(self, path: Path) -> bool:
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # links that lead in a circle
            return False
        return real.is_relative_to(self.folder) or (self.cache is not None and real.is_relative_to(self.cache))


def is_litter(name: str) -> bool:
    """What macOS and Windows leave beside photos: .DS_Store and ._ twins, thumbnails, marks of a download."""
    return name.startswith(".") or name.lower() in LITTER or name.endswith(":Zone.Identifier")


def unsafe(path: str) -> str:
    """Why a name from a table must not be followed; empty if it may."""
    return leads_astray(path) or ("is not a plain name" if len(PurePosixPath(path).parts) != 1 else "")


def leads_astray(path: str) -> str:
    """The same for a path of several names below a folder."""
    plain = path.isascii() and 0 < len(path) <= LONGEST_NAME
    if plain and not (path[0] in " /" or "\\" in path or ".." in path or ":" in path):
        return ""  # of a million photos almost all
    pure = PurePosixPath(path)
    if not path.strip():
        return "is empty"
    if "\\" in path:
        return "holds a backslash"
    if any(len(os.fsencode(part.encode("utf-8", "replace"))) > LONGEST_NAME for part in pure.parts):
        return "is longer than a file name can be"
    if pure.is_absolute() or os.path.splitdrive(path)[0]:  # of another drive, on Windows
        return "is absolute"
    if ".." in pure.parts:
        return "leads out of its folder"
    return ""


def by_normal_form(folder: Path) -> dict[str, str]:
    """Names in a folder that are not plain ASCII, by the normal form that names are compared in."""
    return {normal(entry.name): entry.name for entry in os.scandir(folder) if not entry.name.isascii()}
