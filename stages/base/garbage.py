"""Python's garbage collector, set for programs that import much."""

import atexit
import gc
import sys

THRESHOLDS = (100_000, 50, 50)
USUAL = gc.get_threshold()  # Python's own


def collect_seldom() -> None:
    """Look for cycles seldom, and not at the exit.

    The imports of torch and timm make half a million objects that live to the end. Looking through them again and again,
    and once more at the exit, was a third of the time of a command that does little (4.5 s, and 2.9 s without, in turns).
    """
    gc.set_threshold(*THRESHOLDS)
    atexit.register(_leave)


def collect_as_usual() -> None:
    """For a service, which runs for weeks, once all is imported and loaded: what is there by now is not looked through again,
    and the cycles that requests leave are looked for as often as Python does by itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*USUAL)


def _leave() -> None:
    """Triton's bindings, in torch's CUDA builds, print thirty lines on leaks at an exit that leaves their objects out."""
    if "triton" not in sys.modules:
        gc.freeze()
