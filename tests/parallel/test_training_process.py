"""A process for one training: where it comes from, and how its end is told."""

import os
import signal
import sys
from pathlib import Path

import pytest

from stages.parallel import training_process
from tests.conftest import ROOT, command


def test_an_end_is_told_as_what_it_was() -> None:
    assert "lack of memory" in training_process.how_it_ended(-9)
    assert "lack of memory" in training_process.how_it_ended(255)  # the process that forks the workers was killed
    assert training_process.how_it_ended(-11) == "its process was ended by signal 11"
    assert training_process.how_it_ended(1) == "its process ended with code 1"


@pytest.mark.skipif(os.name != "posix", reason="sockets of Unix")
def test_without_a_place_for_sockets_processes_are_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_process.sockets, "placed", lambda: False)
    assert training_process.context().get_start_method() == "spawn"


SERVER = """
from multiprocessing import forkserver
from pathlib import Path
from stages.parallel import training_process
training_process.context()
print(Path(f"/proc/{forkserver._forkserver._forkserver_pid}/status").read_text())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_signal_while_the_server_makes_its_imports_does_not_end_it(tmp_path: Path) -> None:
    """Ctrl-C in the first seconds of `maskcli folds` was told as a lack of memory, after the traceback of an import."""
    told = command(tmp_path, sys.executable, "-c", SERVER).stdout
    (held,) = (line.split()[1] for line in told.splitlines() if line.startswith("SigBlk"))
    assert all(int(held, 16) & 1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM))


CHILD = """
from stages.parallel import training_process
def tell(pipe):
    import stages
    pipe.send(stages.__file__)
if __name__ == "__main__":
    made = training_process.context()
    here, there = made.Pipe(False)
    child = made.Process(target=tell, args=(there,))
    child.start()
    print(here.recv())
    child.join()
"""


@pytest.mark.slow  # it imports all that training does
def test_a_training_is_that_of_the_installed_program_whatever_lies_in_the_project(tmp_path: Path) -> None:
    """As a clone of this program that is another version: a fold's run key, and its bytes, follow the code."""
    (tmp_path / "project/stages").mkdir(parents=True)
    (tmp_path / "project/stages/__init__.py").touch()
    (tmp_path / "program.py").write_text(CHILD)
    told = command(tmp_path / "project", sys.executable, str(tmp_path / "program.py")).stdout
    assert Path(told.strip()) == ROOT / "stages/__init__.py"
