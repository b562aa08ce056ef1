"""Namespaces of process ids and host names of their own, as containers have them, on one file system."""

import os
import shutil
import subprocess

import pytest

CONTAINER = [
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--uts",
    "sh",
    "-c",
    'hostname worker && exec "$@"',
    "sh",
]


def _can() -> bool:
    if os.name != "posix" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0


needs_containers = pytest.mark.skipif(not _can(), reason="this user may not unshare namespaces")
