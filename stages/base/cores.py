"""How many CPU cores this process may use."""

import math
import os

from stages.base import cgroup


def usable() -> int:
    """Cores that the process may run on, or fewer where a container's quota of their time is less; half a core counts as one."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup.cpu_quota()
    return there if quota is None else max(1, min(there, math.ceil(quota)))


def available() -> int:
    """`usable`, or fewer where OMP_NUM_THREADS asks models to take no more threads."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(usable(), int(asked)) if asked.isdecimal() and int(asked) else usable()
