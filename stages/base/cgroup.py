"""What a container or a batch system allows: the control groups (Linux, versions 1 and 2) that this process is in.

A group's limit holds for all groups below it, so the least on the way from the process's own group to the topmost one
that can be seen counts. https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NO_LIMIT = 2**60  # bytes; version 1 says "none" by a number above it


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the group may use; None without a limit, and where there are no groups."""
    return min(_quotas(root), default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes of memory that the group may use; None without a limit, and where there are no groups."""
    limits = [_number(folder / "memory.max") for folder in _folders("", root)]
    limits += [_number(folder / "memory.limit_in_bytes") for folder in _folders("memory", root)]
    return min((int(limit) for limit in limits if limit is not None and limit < NO_LIMIT), default=None)


def _quotas(root: Path) -> Iterator[float]:
    for folder in _folders("", root):
        words = _words(folder / "cpu.max")
        if len(words) == 2 and words[0].isdecimal() and float(words[1]) > 0:
            yield float(words[0]) / float(words[1])
    for folder in _folders("cpu", root):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            yield quota / period


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """The process's group of a controller (empty: version 2) and those above it, as far as they are mounted here."""
    inside = next((path for names, path in _groups(root) if controller in names), None)
    if inside is None:
        return
    for names, top, mounted in _mounts(root):
        if controller not in names:
            continue
        # In a container the mount may begin at the container's own group, which is named by its path outside.
        below = Path(inside).relative_to(top) if Path(inside).is_relative_to(top) else Path()
        place = root / mounted.relative_to("/") / below
        last = root / mounted.relative_to("/")
        yield from (folder for folder in (place, *place.parents) if folder.is_relative_to(last))


def _groups(root: Path) -> Iterator[tuple[list[str], str]]:
    """Controllers and path of each group of the process; version 2's has the one controller of no name."""
    for line in _lines(root / "proc/self/cgroup"):
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield parts[1].split(","), parts[2]


def _mounts(root: Path) -> Iterator[tuple[list[str], str, Path]]:
    """Controllers, the group that is mounted, and where, of each mounted hierarchy."""
    for line in _lines(root / "proc/self/mountinfo"):
        where, _, what = line.partition(" - ")
        words, kind = where.split(), what.split()
        if len(words) > 4 and kind[:1] == ["cgroup2"]:
            yield [""], words[3], Path(words[4])
        elif len(words) > 4 and kind[:1] == ["cgroup"]:
            yield kind[2].split(","), words[3], Path(words[4])


def _number(path: Path) -> float | None:
    words = _words(path)
    return float(words[0]) if words and words[0].lstrip("-").isdecimal() else None


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    with suppress(OSError, UnicodeDecodeError):  # not Linux, or not to be read by this user
        return path.read_text(encoding="utf-8").splitlines()
    return []
