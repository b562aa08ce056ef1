"""NVIDIA's MPS (Multi-Process Service), which lets the kernels of several processes run on a GPU at the same time.

Source: NVIDIA, "Multi-Process Service", appendix A. Nothing of the card is set: its daemon lies in a folder of this run's own,
serves those alone whose environment names that folder, and ends with the block.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from scratch import say

CONTROL = "nvidia-cuda-mps-control"
PATIENCE = 20.0  # seconds for it to start, or to end
NO_ANSWER = f"{CONTROL}: no answer"


@dataclass(frozen=True)
class Mps:
    """environment: what a process needs to be served; empty where nobody serves, for the reason `why`."""

    environment: dict[str, str]
    why: str = ""


@contextmanager
def running(folder: Path) -> Iterator[Mps]:
    """Serve within the block, with files in a folder that is made. Those served are to have ended before the block does."""
    folder.mkdir(parents=True)
    own = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for path in own.values():
        Path(path).mkdir()
    why = NO_ANSWER  # where this is interrupted meanwhile
    try:
        why = _said(["-d"], own)
        yield Mps({} if why else own, why)
    finally:
        _end(folder / "pipe", own)
        if why == NO_ANSWER and not list((folder / "pipe").glob("*.pid")):
            say(
                f"gpu: {CONTROL} did not say whether it starts; if it still does, {folder / 'pipe'} will name its daemon"
            )


def _said(words: list[str], own: dict[str, str], told: str | None = None) -> str:
    """Why a call of the daemon's program failed; empty where it did not."""
    with tempfile.TemporaryFile("w+") as printed:  # no pipe, whose end a daemon would hold open
        try:
            done = subprocess.run(
                [CONTROL, *words],
                env=os.environ | own,
                input=told,
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
            )
        except FileNotFoundError:
            return f"no {CONTROL} on PATH"
        except subprocess.TimeoutExpired:
            return NO_ANSWER
        except OSError as error:
            return f"{CONTROL}: {' '.join(str(error).split())}"[:150]
        printed.seek(0)
        lines = printed.read().strip().splitlines() or [f"ended with {done.returncode}"]
    return f"{CONTROL}: {lines[-1]}"[:150] if done.returncode else ""


def _end(pipe: Path, own: dict[str, str]) -> None:
    """`quit`; the daemon, whose number lies beside its pipe, is killed where it does not listen."""
    with suppress(OSError, ValueError, psutil.Error):  # there is none, or it has ended
        (number,) = [int(path.read_text()) for path in pipe.glob("*.pid")]
        _said([], own, "quit\n")
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            if psutil.Process(number).status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(0.1)
        os.kill(number, signal.SIGKILL)
        say(f"gpu: {CONTROL} did not quit, and was killed")
