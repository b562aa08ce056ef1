"""How many CPU threads train each fold, by a rule: folds side by side on few threads each beat one after the other on many.

Rounding follows the number of threads, so the rule looks at nothing that another moment would change: cores, folds and batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.base import cores
from stages.params.schema import Params

# Share of a step that threads divide among them; the rest takes as long with any number (Amdahl 1967). Measured on two cores
# (bench/input.py): one-thread folds beat a two-thread one by 1.1 to 2.0; this share says 1.33.
DIVIDED = 2 / 3
PHOTOS_A_THREAD = 4  # of a batch, at least: threads with less to do wait for each other


def most(params: Params) -> int:
    """Most threads for one model here: parallel.threads, or one a core. torch counts no core twice that runs two threads."""
    if params.parallel.threads != "auto":
        return params.parallel.threads
    return min(cores.available(), torch.get_num_threads())


def choose(params: Params, device: str, most: int) -> dict[int, int]:
    """Threads of each fold on a machine with `most` cores to use, numbers that parallel.threads fixes apart.

    With t threads a fold, most // t folds run at a time; the folds of a last, smaller round share the cores that it would
    leave idle; what ends soonest by DIVIDED wins. On a GPU there is nothing to choose.
    """
    asked, folds = params.parallel.threads, params.folds
    if asked != "auto":
        return dict.fromkeys(folds, asked)
    if device != "cpu":
        return dict.fromkeys(folds, most)
    useful = max(1, params.train.batch_size // PHOTOS_A_THREAD)
    plans = [_plan(side_by_side, len(folds), most, useful) for side_by_side in range(1, min(len(folds), most) + 1)]
    best = min(plans, key=lambda plan: plan[1])  # of equal ones the first, with most threads
    return dict(zip(folds, best[0], strict=True))


@contextmanager
def taken(threads: int) -> Iterator[None]:
    """Within it torch computes with so many CPU threads in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _plan(side_by_side: int, folds: int, most: int, useful: int) -> tuple[list[int], float]:
    """Threads of each fold with so many at a time on `most` cores, none with more than `useful`, and the time that all
    take: the sum over rounds of a step's time, in steps of one thread.
    """
    threads = min(most // side_by_side, useful)
    rounds, left = divmod(folds, side_by_side)
    last = min(most // left, useful) if left else threads
    return [threads] * (folds - left) + [last] * left, rounds * _time(threads) + (_time(last) if left else 0.0)


def _time(threads: int) -> float:
    """Of a step, as a share of what one thread takes."""
    return 1 - DIVIDED + DIVIDED / threads
