"""Which machine and which process this is, as others see it that share a folder: in names of temporaries, locks, checkpoints.

A process id says nothing by itself: two containers both have a process 7, often on hosts of the same name. So it stands with
the place where ids mean the same, and with the moment at which the process began.
"""

import hashlib
import os
import platform
import re
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
IDS = Path("/proc/self/ns/pid")  # the process ids that this process sees


def name() -> str:
    """As a person calls this machine."""
    return platform.node() or "unknown"


def boot() -> str:
    """What tells this machine, since it was last started, from all others: one kernel with one monotonic clock, one table of
    locks. On Linux containers of one machine have the same.
    """
    with suppress(OSError):
        return BOOT_ID.read_text(encoding="ascii").strip()
    return f"{platform.node()}-{uuid.getnode():x}-{psutil.boot_time():.0f}"


def place() -> str:
    """Where process ids mean the same, as [A-Za-z0-9-]: the host's name, cut, and a digest of the boot and, on Linux, the process
    ids' namespace.
    """
    try:
        known = f"{BOOT_ID.read_text(encoding='ascii')} {IDS.stat().st_ino}"
    except OSError:
        known = f"{platform.node()} {uuid.getnode():x}"
    digest = hashlib.sha256(known.encode()).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9]+', '-', name())[:16].strip('-')}-{digest}"


def process() -> str:
    """This process, as `lives` knows it: its id and, on Linux, when it began, in ticks since the boot, hexadecimal."""
    began = _began(os.getpid())
    return f"{os.getpid()}-{began}" if began else str(os.getpid())


def lives(process: str) -> bool:
    """Whether a process of this place lives; its id alone may be another's by now.

    One that has ended holds its id until its parent asks how: of an orphan that is the machine's first process, which in a
    container may never ask.
    """
    number, _, began = process.partition("-")
    if not psutil.pid_exists(int(number)) or _ended(int(number)):
        return False
    now = _began(int(number))
    return not began or not now or began == now


def _ended(number: int) -> bool:
    """Whether a process that has an id still has ended (a zombie)."""
    try:
        return psutil.Process(number).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # another user's, where that is not told
        return False


def _began(number: int) -> str:
    """Of a process, whatever the clock was set to since; empty where the system does not tell."""
    with suppress(OSError, IndexError, ValueError):
        words = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace")
        return f"{int(words.rpartition(')')[2].split()[19]):x}"  # after the name, which may hold anything
    return ""
