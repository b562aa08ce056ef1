"""All that training imports, in one module: stages/by_hand/folds.py has it imported once, before it starts a process a fold."""

import time

from stages.base import garbage

BEGAN = time.monotonic()
garbage.collect_seldom()

from stages import train  # noqa: E402
from stages.learn.timm_import import load_timm  # noqa: E402

load_timm()

# What training imports once it runs: the optimizers, which import torch's compiler, and at an epoch's end matplotlib.
import timm.optim  # noqa: E402, F401

import stages.report.png.result_figures  # noqa: E402, F401

ENDED = time.monotonic()
run = train.run


def seconds_before(process_began: float) -> float:
    """What these imports took, if they were made before the process began (time.monotonic()): its own start does not show
    them.
    """
    return ENDED - BEGAN if process_began > ENDED else 0.0
