"""The threads that torch computes with on Linux, those of GNU's OpenMP: how long they turn in circles before they sleep."""

import os

SPINS = "3000"


def sleep_soon() -> None:
    """Have threads that wait for each other sleep after SPINS turns. To be called before torch is imported; what the user has
    set stays.

    By itself libgomp lets them turn 300,000 times (milliseconds), as if no other program wanted the cores: on a busy machine a
    thread that turns then keeps the one it waits for from its core. test_resnet at 64x48 px with two threads, on two cores that
    others kept busy: 13 to 21 photos/s, and 76 to 86 so; where nothing else ran 820 to 990, and 750 to 880. What is computed does
    not change. Source: GCC, "GNU Offloading and Multi Processing Runtime Library", GOMP_SPINCOUNT.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
