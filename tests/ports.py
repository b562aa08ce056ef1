"""A port that another program has, and libraries that are not there."""

import socket
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType

import pytest

from stages.base import extras


def take(patch: pytest.MonkeyPatch, port: int, holder: ModuleType) -> None:
    """Listen at a port until the test ends."""
    taken = socket.socket()
    with suppress(OSError):  # by another program: that will do too
        taken.bind(("127.0.0.1", port))
        taken.listen()
    patch.setattr(holder, "_held_by_a_test", taken, raising=False)  # open until the test ends


def without_libraries(patch: pytest.MonkeyPatch) -> None:
    """As where starlette and uvicorn are not installed."""
    patch.setattr(extras, "find_spec", lambda name: None if name in extras.HTTP else find_spec(name))
