"""The layout `folder`: a folder a class, with its photos at any depth below.

<root>/<class>/<photo>                                    or, with the data divided already:
<root>/train/<class>/<photo>, <root>/val/<class>/<photo>  both learnt and validated on, in folds
<root>/test/<class>/<photo>                               the eval set, whose labels are known; or <root>/test/<photo>
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.data import level_names, task_and_classes
from stages.data.csv_rows import Fault, normal, printable, shown
from stages.data.found_photos import Found
from stages.data.photo_files import OTHER_SUFFIXES, SUFFIXES, Places, is_litter
from stages.data.task_and_classes import MOST_CLASSES
from stages.params.schema import Params

TRAIN, VAL, TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")


@dataclass(frozen=True)
class Folders:
    """Where classes lie: `train` (also val), all below `base`; `eval` is None where there is no eval set."""

    base: Path
    train: tuple[Path, ...]
    eval: Path | None
    beside: tuple[str, ...] = ()  # folders of the root that are none of these


@dataclass
class Walk:
    """What has been met in folders of classes."""

    base: Path  # that names of files start from
    allowed: Places
    classes: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)  # below `base`
    labels: list[str] = field(default_factory=list)  # of each file
    faults: list[Fault] = field(default_factory=list)
    beside: Path | None = None  # the folder of the eval photos, which may lie among the classes
    others: list[str] = field(default_factory=list)  # files that are no photos


def folders(params: Params) -> Folders:
    """The folders of the data set. Raises UserError where the root or a folder that params.yaml names is missing."""
    data = params.data
    root = Path(data.root or "")
    _there(root, "data.root")
    beside = [entry.name for entry in _entries(root) if entry.is_dir() and not is_litter(entry.name)]
    train, val, test = (_taken(beside, names) for names in (TRAIN, VAL, TEST))
    held_out = Path(data.eval) if data.eval else root / test if test else None
    if held_out is not None:
        _there(held_out, "data.eval")
        there = held_out.resolve()
        beside = sorted(filter(None, [*beside, test]))
        beside = [name for name in beside if not there.is_relative_to((root / name).resolve())]
    if data.train:
        _there(Path(data.train), "data.train")
        return Folders(Path(data.train), (Path(data.train),), held_out)
    if train is None:
        if val or test:
            raise UserError(
                f"{root / (val or test or '')}: there is no train/ beside it; put the classes to learn into {root / 'train'}"
            )
        return Folders(root, (root,), held_out)
    parts = tuple(root / name for name in (train, val) if name)
    return Folders(root, parts, held_out, tuple(beside))


def _taken(folders: list[str], names: tuple[str, ...]) -> str | None:
    """The folder that has the first of these names, in either case (of `train` and `TRAIN` the former), taken out of the list;
    None where there is none."""
    found = next((folder for name in names for folder in sorted(folders, reverse=True) if folder.lower() == name), None)
    if found is not None:
        folders.remove(found)
    return found


def find(params: Params) -> Found:
    """All photos by their classes, and what is wrong with them. Raises UserError where classes are missing or unclear."""
    places = folders(params)
    walk = Walk(places.base, Places(places.base.resolve()), beside=places.eval)
    for part in places.train:
        _walk_classes(part, walk)
    if not walk.files and not walk.faults:
        raise UserError(f"{places.train[0]}: no folder in it holds a photo; the layout is class/photo (docs/data.md)")
    classes = _classes(places.train[0], walk)
    own = task_and_classes.made(params, dict.fromkeys(params.axes, classes), params.axes, "photo")
    name, known = own.axes[0].name, own.axes[0].levels
    codes = level_names.codes(walk.labels, known)
    for unknown in sorted({label for label, code in zip(walk.labels, codes, strict=True) if code < 0}):
        mend = f"add it to axes.{name}.levels, or remove the folder"
        walk.faults.append(Fault(printable(str(places.train[0] / unknown)), "is no declared class", mend))
    files = np.array(walk.files, object)[codes >= 0]
    table = pd.DataFrame({"group": files, "file": files}).astype(str).assign(**{name: codes[codes >= 0]})
    eval_table, eval_faults, other = _eval(places.eval, known)
    warnings = _warnings(places, walk, other)
    return Found(own, table, table[["group", name]], eval_table, walk.faults, eval_faults, warnings)


def _classes(folder: Path, walk: Walk) -> tuple[str, ...]:
    classes = set(walk.labels)
    problem = level_names.clash(classes)
    if problem:
        raise UserError(f"{folder}: the classes {problem}; make them one folder, or rename one")
    if len(classes) > MOST_CLASSES:
        raise UserError(f"{folder}: holds {len(classes)} classes; at most {MOST_CLASSES} are possible")
    return level_names.ordered(classes)


def _walk_classes(folder: Path, walk: Walk) -> None:
    """Take every photo below the folders of classes in `folder`."""
    entries = [entry for entry in _entries(folder) if not is_litter(entry.name) and Path(entry.path) != walk.beside]
    classes = [entry for entry in entries if entry.is_dir()]
    forms: dict[str, str] = {}
    for entry in classes:
        if forms.setdefault(normal(entry.name), entry.name) != entry.name:
            problem = "differs from another folder only in the form of Unicode"
            raise UserError(f"{printable(entry.path)}: {problem}; make them one folder, or rename one")
    walk.classes.update(normal(entry.name) for entry in classes)
    for entry in entries:
        if entry.is_dir():
            if not _is_link(entry, walk):
                _walk(Path(entry.path), normal(entry.name), walk)
        elif entry.name.lower().endswith(SUFFIXES):
            where, mend = printable(entry.path), "move it into the folder of its class"
            walk.faults.append(Fault(where, "lies in no class", mend, _below(entry.path, walk)))
        else:
            walk.others.append(entry.path)


def _walk(folder: Path, label: str, walk: Walk) -> None:
    """Take the photos in `folder` and below, all of the class `label`."""
    for entry in _entries(folder):
        if is_litter(entry.name):
            continue
        if entry.is_dir():
            name = normal(entry.name)
            if name != label and name in walk.classes:
                problem = f"lies in the class {shown(label)} and has the name of another class"
                walk.faults.append(Fault(printable(entry.path), problem, "move its photos there, or rename it"))
            elif not _is_link(entry, walk):
                _walk(Path(entry.path), label, walk)
            continue
        suffix = Path(entry.name).suffix.lower()
        if suffix in OTHER_SUFFIXES:
            mend = "convert it to JPEG or PNG"
            walk.faults.append(Fault(printable(entry.path), f"is {suffix[1:].upper()}", mend, _below(entry.path, walk)))
        elif suffix not in SUFFIXES:
            walk.others.append(entry.path)
        elif entry.is_symlink() and not walk.allowed.hold(Path(entry.path)):
            problem = f"is a link that leads out of {walk.base}/"
            walk.faults.append(Fault(printable(entry.path), problem, "copy the photo there", _below(entry.path, walk)))
        elif not _is_utf8(entry.path):  # as of an archive that was packed on Windows
            mend = "rename it, which `convmv` does for a whole folder"
            where = printable(entry.path)
            walk.faults.append(Fault(where, "has a name that is not UTF-8", mend, printable(_below(entry.path, walk))))
        else:
            walk.files.append(_below(entry.path, walk))
            walk.labels.append(label)


def _is_link(entry: "os.DirEntry[str]", walk: Walk) -> bool:
    """Whether a folder is a link, which would give its photos two names; it is told as a fault."""
    if entry.is_symlink():
        walk.faults.append(Fault(printable(entry.path), "is a link to a folder", "put the folder itself there"))
    return entry.is_symlink()


def _eval(folder: Path | None, known: tuple[str, ...]) -> tuple[pd.DataFrame, list[Fault], list[str]]:
    """ImageID and, where photos lie in classes, label; faults; files that are no photos."""
    if folder is None:
        return pd.DataFrame({"ImageID": []}, dtype=str), [], []
    walk = Walk(folder, Places(folder.resolve()), classes=set(known))
    entries = [entry for entry in _entries(folder) if not is_litter(entry.name)]
    if not any(entry.is_dir() for entry in entries):
        _walk(folder, "", walk)
        return pd.DataFrame({"ImageID": walk.files}, dtype=str), walk.faults, walk.others
    _walk_classes(folder, walk)
    codes = level_names.codes(walk.labels, known)
    for label in sorted({label for label, code in zip(walk.labels, codes, strict=True) if code < 0}):
        mend = "remove it, add training photos of it, or put photos of unknown class right into the folder"
        walk.faults.append(Fault(printable(str(folder / label)), "is a class that no training photo has", mend))
    table = pd.DataFrame({"ImageID": walk.files}, dtype=str).assign(label=codes)
    return table, walk.faults, walk.others


def _warnings(places: Folders, walk: Walk, other: list[str]) -> list[str]:
    told = []
    empty = sorted(walk.classes - set(walk.labels))
    if empty:
        told.append(f"{places.train[0]}: folders without photos are no classes: {len(empty)}, first {shown(empty[0])}")
    if places.beside:
        more = f" and {len(places.beside) - 1} more: stand" if len(places.beside) > 1 else ": stands"
        told.append(f"{places.base / places.beside[0]}{more} beside {places.train[0].name}/: not used")
    others = walk.others + other
    if others:
        told.append(f"{places.base}: files that are no photos are not used: {len(others)}, first {shown(others[0])}")
    return told


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _below(path: str, walk: Walk) -> str:
    """A file's name below the base, the same on every system: tables, folds and corrections go by it."""
    below = os.path.relpath(path, walk.base) if walk.base == Path() else path[len(str(walk.base)) + 1 :]
    return below.replace(os.sep, "/")


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None


def _there(folder: Path, key: str) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: this folder is missing; put the photos there, or name their folder by {key}")
