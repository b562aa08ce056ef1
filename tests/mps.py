"""A program that stands for the one that starts and ends NVIDIA's MPS."""

from pathlib import Path

PID = "$CUDA_MPS_PIPE_DIRECTORY/control.pid"
STARTS = f"sleep 60 & echo $! > {PID}"
QUITS = f'[ "$word" = quit ] && kill $(cat {PID})'


def program(folder: Path, starts: str, told: str = QUITS) -> None:
    """Starts a daemon so, and does this with a `word` that it is told."""
    written = folder / "nvidia-cuda-mps-control"
    written.write_text(f'#!/bin/sh\nif [ "$1" = -d ]; then {starts}; else read word; {told}; fi\n')
    written.chmod(0o755)
