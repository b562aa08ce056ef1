"""All that training imports, in one module: stages/by_hand/folds.py has it imported once, before it starts a process a fold."""

import time

from stages.base import garbage

BEGAN = time.monotonic()
garbage.collect_seldom()

from stages import train  # noqa: E402
from stages.learn.timm_import import load_timm  # noqa: E402

TIMM = load_timm()
ENDED = time.monotonic()
run = train.run


def seconds_before(process_began: float) -> float:
    """What these imports took, if they were made before the process began (time.monotonic()): its own start does not show
    them.
    """
    return ENDED - BEGAN if process_began > ENDED else 0.0
