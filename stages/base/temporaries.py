"""Temporaries: files and folders written beside those whose place they will take, and what is left of them by killed processes.

A name says whose it is: .{stem}.{place}.{process}.{random}.tmp{suffix} (stages/base/host.py), so that no two writers, in
containers or on hosts that share a folder, ever have the same. What is left of a process that lives no more is removed when
the same file is written again, since pixel caches are gigabytes; whether one of another place lives cannot be known
from here, so it is removed once nothing has been written into it for LEFT_ALONE.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages.base import host

LEFT_ALONE = 86_400.0  # seconds
STEM = 170  # bytes of it at most: what else stands in a name takes 85, and file systems take 255
SUFFIX = 16  # bytes; a longer one is part of the stem
NAME = re.compile(
    r"\.(?P<stem>.+)\.(?P<place>[A-Za-z0-9-]+)\.(?P<process>\d+(-[0-9a-f]+)?)\.[0-9a-f]{8}\.(?P<end>tmp|old)(?P<suffix>(\.[^.]*)?)",
    re.DOTALL,
)
OF_BEFORE = re.compile(  # names of versions that told the process id alone
    r"\.(?P<stem>.+)\.(?P<place>)(?P<process>\d+)\.(?P<end>tmp|old)(?P<suffix>(\.[^.]*)?)", re.DOTALL
)


@dataclass(frozen=True)
class Temporary:
    """One that lies in a folder."""

    path: Path
    stem: str
    suffix: str
    end: str  # tmp, or old: what a folder's new content takes the place of
    place: str  # of the process that writes it; empty: not known
    process: str


def beside(path: Path, end: str = "tmp", folder: bool = False) -> Path:
    """A name for a temporary of `path`, never given before; its suffix is that of `path`, by which writers choose a format."""
    stem, suffix = _parts(path, folder)
    whose = f"{host.place()}.{host.process()}.{secrets.token_hex(4)}"
    return path.with_name(f".{stem}.{whose}.{end}{suffix}")


def left(path: Path, now: float, end: str = "tmp", folder: bool = False) -> Iterator[Path]:
    """Temporaries of `path` that are abandoned; now: the moment by the file system's clock (that of a file just made)."""
    parts = _parts(path, folder)
    return abandoned(path.parent, now, lambda one: (one.stem, one.suffix) == parts and one.end == end)


def abandoned(folder: Path, now: float, wanted: Callable[[Temporary], bool]) -> Iterator[Path]:
    """Temporaries in a folder that are wanted and whose writer lives no more, or is taken for dead."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            one = _parsed(Path(entry.path)) if entry.name.startswith(".") else None
            if one and wanted(one) and _is_abandoned(one, now):
                yield one.path


def remove(path: Path) -> None:
    """A temporary, file or folder; what cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def moment(folder: Path) -> float:
    """Now, by the clock of a folder's file system: on a network disk the server's, whatever the clocks of its hosts say.

    0 where nothing can be written, so that nothing seems old.
    """
    path = beside(folder / "clock")
    with suppress(OSError):
        path.touch()
        try:
            return path.stat().st_mtime
        finally:
            path.unlink(missing_ok=True)
    return 0.0


def _parts(path: Path, folder: bool) -> tuple[str, str]:
    """Stem and suffix of a temporary's name. A long stem is cut, and told apart by its digest."""
    stem, suffix = (path.name, "") if folder or len(os.fsencode(path.suffix)) > SUFFIX else (path.stem, path.suffix)
    content = os.fsencode(stem)
    if len(content) > STEM:
        digest = hashlib.sha256(content).hexdigest()[:8]
        stem = f"{content[: STEM - 9].decode(errors='ignore')}~{digest}"
    return stem, suffix


def _parsed(path: Path) -> Temporary | None:
    found = NAME.fullmatch(path.name) or OF_BEFORE.fullmatch(path.name)
    if not found:
        return None
    return Temporary(path, found["stem"], found["suffix"], found["end"], found["place"], found["process"])


def _is_abandoned(one: Temporary, now: float) -> bool:
    if one.place == host.place():
        return not host.lives(one.process)
    try:
        return now - _changed(one.path) > LEFT_ALONE
    except OSError:  # it has just been renamed or removed
        return False


def _changed(path: Path) -> float:
    """When a file, or anything in a folder, was last written."""
    times = [path.stat().st_mtime]
    if path.is_dir():
        times += [found.stat().st_mtime for found in path.rglob("*")]
    return max(times)
