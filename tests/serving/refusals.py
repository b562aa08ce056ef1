"""What `maskcli serve` cannot begin with, by the names of docs/bad_input.md."""

from collections.abc import Callable

import pytest

from stages.by_hand import serve
from tests import ports
from tests.ports import without_libraries

Patch = pytest.MonkeyPatch
EXTRA_MISSING = "serve without its libraries"


def port_taken(patch: Patch) -> None:
    ports.take(patch, 8000, serve)


CASES: dict[str, tuple[tuple[str, ...], Callable[[Patch], object]]] = {
    "serve at a port that is taken": ((".",), port_taken),
    "serve at an address of another machine": ((".", "--host", "192.0.2.1"), lambda patch: None),
    "serve of what is no bundle": (("photos", "--port", "0"), lambda patch: None),
    EXTRA_MISSING: ((".",), without_libraries),
}
