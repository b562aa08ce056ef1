"""How many CPU cores this process may use, and how many threads each fold trains with."""

import os
from typing import Any

from stages import paths
from stages.errors import UserError


def available() -> int:
    """Cores that the process may run on, or fewer where OMP_NUM_THREADS says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores


def threads_of_fold(settled: dict[str, Any], fold: int) -> int:
    """The threads that lr-find settled for a fold; all cores if lr.json does not name it.

    Raises UserError if lr.json is an older version's.
    """
    threads = settled.get("threads", {})
    if not isinstance(threads, dict):
        raise UserError(f"{paths.LR_CHOSEN}: was written by an older version; run `maskcli lr-find` again")
    return int(threads.get(str(fold), available()))
