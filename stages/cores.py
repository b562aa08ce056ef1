"""How many CPU cores this process may use."""

import os


def usable() -> int:
    """Cores that the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available() -> int:
    """`usable`, or fewer where OMP_NUM_THREADS asks models to take no more threads."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(usable(), int(asked)) if asked.isdecimal() and int(asked) else usable()
