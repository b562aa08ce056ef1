"""How much main memory this process may use."""

import psutil

from stages.base import cgroup


def total() -> int:
    """Bytes: the machine's, or fewer where a container or a batch system allows fewer."""
    machine = int(psutil.virtual_memory().total)
    limit = cgroup.memory_limit()
    return machine if limit is None else min(machine, limit)


def in_words(number: float) -> str:
    """A number of bytes in the largest unit that leaves at least one before the point."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
