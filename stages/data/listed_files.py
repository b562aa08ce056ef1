"""Files that a table lists: whether each is there, under the folder it may be in, and its name on the disk."""

import os
import posixpath
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from stages.data.csv_rows import normal
from stages.data.photo_files import SUFFIXES, Places, leads_astray

Problem = tuple[str, str]  # what is wrong with a file, and how to mend it


@dataclass(frozen=True)
class Listing:
    """What one folder holds."""

    name: str  # of the folder below the base, as the disk has it
    path: Path
    files: dict[str, bool] = field(default_factory=dict)  # by name, whether it is a link
    forms: dict[str, str] = field(default_factory=dict)  # names that are not plain ASCII, by their normal form
    problem: Problem | None = None  # of all that is in it

    @cached_property
    def without_endings(self) -> frozenset[str]:
        return frozenset(map(_without_ending, self.files))


def on_disk(files: Iterable[str], base: Path) -> tuple[list[str], dict[int, Problem]]:
    """Names below `base` as the disk has them, and by position what is wrong with the others.

    Every folder is read once, so that a million files cost no million questions; names may be in either form of Unicode.
    """
    listings: dict[str, Listing] = {}
    allowed = Places(base.resolve())
    names: list[str] = []
    problems: dict[int, Problem] = {}
    for position, file in enumerate(files):
        name, problem = file, _astray(file, base)
        if problem is None:
            above, _, name = (posixpath.normpath(file) if "./" in file or "//" in file else file).rpartition("/")
            if above not in listings:
                listings[above] = _listing(base, above, allowed)
            name, problem = _find(listings[above], name, base, allowed)
        names.append(name)
        if problem:
            problems[position] = problem
    return names, problems


def _astray(file: str, base: Path) -> Problem | None:
    why = leads_astray(file)
    if not why:
        return None
    return why, "write / between folders" if "backslash" in why else f"write its name below {base}"


def _listing(base: Path, above: str, allowed: Places) -> Listing:
    above = next((form for form in (above, *_forms(above)) if (base / form).is_dir()), above)
    path = base / above
    if not path.is_dir():
        return Listing(above, path)
    if not allowed.hold(path):
        return Listing(above, path, problem=(f"lies behind a link that leads out of {base}/", "copy the photos there"))
    try:
        found = {entry.name: entry.is_symlink() for entry in os.scandir(path) if entry.is_file()}
    except OSError as error:
        return Listing(
            above, path, problem=(f"cannot be read ({error.strerror})", "check the permissions of its folder")
        )
    return Listing(above, path, found, {normal(name): name for name in found if not name.isascii()})


def _find(listing: Listing, name: str, base: Path, allowed: Places) -> tuple[str, Problem | None]:
    """The name below the base, as the disk has it, of a file in a folder."""
    found = name if name in listing.files else listing.forms.get(normal(name), name)
    whole = f"{listing.name}/{found}" if listing.name else found
    if listing.problem:
        return whole, listing.problem
    if found not in listing.files and _without_ending(found) in listing.without_endings:
        return whole, (f"has another ending in {base}", "write its name with the ending that it has there")
    if found not in listing.files:
        return whole, (f"is not in {base}", "add the photo or remove the row")
    if listing.files[found] and not allowed.hold(listing.path / found):
        return whole, (f"is a link that leads out of {base}/", "copy the photo there")
    return whole, None


def _without_ending(name: str) -> str:
    stem, ending = posixpath.splitext(name)
    return stem if ending.lower() in SUFFIXES else name


def _forms(name: str) -> tuple[str, ...]:
    return () if name.isascii() else (unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
