"""Where multiprocessing puts the sockets by which its processes find each other."""

import multiprocessing.util
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress

LONGEST = 103  # bytes of a socket's path: macOS takes so many, Linux four more
NAME = len("/pymp-12345678/listener-12345678")  # what multiprocessing adds to the folder
PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # where TMPDIR is too long


def placed() -> bool:
    """Have this process's sockets put where their path is short enough; False where no such folder can be written.

    Other temporary files stay in TMPDIR. multiprocessing makes the folder when it is first asked for it, keeps it to itself
    (mode 0700), and removes it at the end.
    """
    with suppress(OSError):  # tempfile finds no folder at all
        folder = short_folder([tempfile.gettempdir(), *PLACES])
        if folder is None:
            return False
        before = tempfile.tempdir
        tempfile.tempdir = folder
        try:
            multiprocessing.util.get_temp_dir()
        finally:
            tempfile.tempdir = before
        return True
    return False


def short_folder(folders: Iterable[str]) -> str | None:
    """The first of the folders that is short enough and can be written."""
    return next((folder for folder in folders if fits(folder) and os.access(folder, os.W_OK | os.X_OK)), None)


def fits(folder: str) -> bool:
    return len(os.fsencode(folder)) + NAME <= LONGEST
