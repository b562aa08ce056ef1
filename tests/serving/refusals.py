"""What `maskcli serve` cannot begin with, by the names of docs/bad_input.md."""

import socket
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec

import pytest

from stages.base import extras
from stages.by_hand import serve

Patch = pytest.MonkeyPatch
EXTRA_MISSING = "serve without its libraries"


def port_taken(patch: Patch) -> None:
    taken = socket.socket()
    with suppress(OSError):  # by another program: that will do too
        taken.bind(("127.0.0.1", 8000))
        taken.listen()
    patch.setattr(serve, "_held_by_a_test", taken, raising=False)  # open until the test ends


def without_libraries(patch: Patch) -> None:
    patch.setattr(extras, "find_spec", lambda name: None if name in serve.EXTRA else find_spec(name))


CASES: dict[str, tuple[tuple[str, ...], Callable[[Patch], object]]] = {
    "serve at a port that is taken": ((".",), port_taken),
    "serve at an address of another machine": ((".", "--host", "192.0.2.1"), lambda patch: None),
    "serve of what is no bundle": (("photos", "--port", "0"), lambda patch: None),
    EXTRA_MISSING: ((".",), without_libraries),
}
