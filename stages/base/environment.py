"""What a result was computed with: versions, machine and git revision, recorded beside the metrics.

The numbers of two machines differ in their last digits; this says why. No stage reads it.
"""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.base import gpu

PACKAGES = (
    *("maskcli", "torch", "timm", "accelerate", "numpy", "albumentations", "opencv-python-headless", "pillow"),
    *("pandas", "scikit-learn", "dvc"),
)
DEVICE = ("device", "devices", "cuda", "threads")
# Written by dvc repro itself while it runs, so no sign of another program or other parameters.
WRITTEN_BY_STAGES = (":(exclude)out", ":(exclude)dvc.lock")


def describe(trained: dict[str, Any] | None = None) -> dict[str, str | int | bool | None]:
    """Python's and the packages' versions, platform, CPU, threads, device, and the git revision; flat, fit for JSON.

    What cannot be found out is None. `git_dirty` is whether anything in the
    project folder but outputs and dvc.lock differs from the revision.
    trained: the record of the training whose results are meant, to take device and threads from: then torch, which takes
    longer to import than a small stage to run, stays outside.
    """
    return {
        "python": platform.python_version(),
        **{_key(name): installed(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        **(_torch() if trained is None else {name: trained.get(name) for name in DEVICE}),
        **_git(),
    }


def _key(package: str) -> str:
    return package.replace("-", "_")


def installed(package: str) -> str | None:
    """A package's version, torch's with its build ("2.13.0+cpu", "2.13.0+cu130"); None if it is not installed by this name."""
    try:
        return (_torch_build() if package == "torch" else None) or version(package)
    except PackageNotFoundError:
        return None


def _torch_build() -> str | None:
    """torch.__version__ without torch's import, which takes seconds; package metadata leave out the build PyPI gives."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return None
    try:
        said = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    line = re.search(r"^__version__\b[^=\n]*= *['\"]([^'\"]+)['\"]", said, re.MULTILINE)
    return line[1] if line else None


def _cpu() -> str | None:
    """The processor's name as it calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or None
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    return names[0] if names else platform.processor() or platform.machine() or None


def _torch() -> dict[str, str | int | None]:
    """The device that training takes, by name, how many there are, and the threads on the CPU."""
    import torch

    if gpu.usable():
        device, devices = torch.cuda.get_device_name(), torch.cuda.device_count()
    else:
        device, devices = "mps" if torch.backends.mps.is_available() else "cpu", 1
    return dict(zip(DEVICE, (device, devices, torch.version.cuda, torch.get_num_threads()), strict=True))


def _git() -> dict[str, str | bool | None]:
    revision = _run("git", "rev-parse", "HEAD")
    if revision is None:
        return {"git_revision": None, "git_dirty": None}
    changes = _run("git", "status", "--porcelain", "--", ".", *WRITTEN_BY_STAGES)
    return {"git_revision": revision, "git_dirty": None if changes is None else bool(changes)}


def _run(*command: str) -> str | None:
    """What a program prints; None if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
