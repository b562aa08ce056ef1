import os
import sys

import pytest

from stages.base import openmp
from tests.conftest import ROOT, command


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


def test_threads_sleep_soon_unless_the_user_says_how_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    openmp.sleep_soon()
    assert os.environ["GOMP_SPINCOUNT"] == openmp.SPINS
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    openmp.sleep_soon()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    openmp.sleep_soon()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_the_program_says_so_before_torch_is_imported() -> None:
    code = (
        "import os, sys; from cli import main; from stages.base import openmp; "
        "main.app = lambda: print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'] == openmp.SPINS); main.run()"
    )
    assert command(ROOT, sys.executable, "-c", code).stdout.split() == ["False", "True"]
