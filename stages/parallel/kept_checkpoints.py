"""Which files of out/checkpoints a training leaves, and which of two goes further. Without torch, which only reads what is in
them (stages/learn/checkpoint.py)."""

import json
from pathlib import Path
from typing import IO

from stages.parallel.training_process import Order

NONE = (False, -1, -1)  # progress of what is no checkpoint

Progress = tuple[bool, int, int]  # finished, complete epochs, steps of the next: the greater, the further


def of(order: Order, folder: Path) -> list[Path]:
    """The checkpoints in a folder that are of the order's fold (or of one of its repeats) in its run, and what was found before
    it; of any run where the order has no checkout."""
    fold, repeat, run = order.number, order.terms.repeat, order.checkout.run if order.checkout else "*"
    names = (f"{fold}-*-{run}.*", f"{-1 - fold}-*-{run}.*") if repeat is None else (f"{fold}-{repeat}-{run}.*",)
    found = [path for name in names for path in folder.glob(name) if path.suffix in (".ckpt", ".npz")]
    return sorted(found)


def progress(path: Path) -> Progress:
    """Of a file of out/checkpoints; NONE where there is none, or a damaged one."""
    try:
        with path.open("rb") as file:
            return progress_in(file, path.suffix)
    except OSError:
        return NONE


def progress_in(file: IO[bytes], suffix: str) -> Progress:
    """Of an open file, by its header, put back to where it begins. What was found before a training (.npz) is finished."""
    if suffix == ".npz":
        return True, 0, 0
    try:
        file.readline(100)
        header = json.loads(file.readline(10_000))
        return bool(header["finished"]), int(header["epoch"]), int(header["step"])
    except (ValueError, TypeError, KeyError):
        return NONE
    finally:
        file.seek(0)


def in_words(found: Progress) -> str:
    finished, epoch, step = found
    if finished:
        return "its end"
    return f"epoch {epoch}" + (f", step {step} of the next" if step else "")
