"""Where the sockets of processes lie, whatever the temporary folder is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.parallel import sockets
from tests.conftest import ROOT

posix = pytest.mark.skipif(os.name != "posix", reason="sockets of Unix")

STARTED = """
import multiprocessing, os, sys, tempfile
from stages.parallel import sockets
if __name__ == "__main__":
    before = tempfile.gettempdir()
    assert sockets.placed()
    process = multiprocessing.get_context("forkserver").Process(target=os._exit, args=(7,))
    process.start()
    process.join()
    print(process.exitcode, tempfile.gettempdir() == before, tempfile.mkdtemp().startswith(before))
"""


@posix
@pytest.mark.parametrize("length", [10, 91, 200])
def test_processes_start_whatever_the_length_of_tmpdir_which_other_files_keep_to(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("t" * max(1, length - len(str(tmp_path)) - 1))
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    Path(tmp_path / "started.py").write_text(STARTED)
    words = [sys.executable, str(tmp_path / "started.py")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "True", "True"]
    assert [path.name for path in folder.iterdir() if path.name.startswith("pymp-")] == []


@posix
def test_sockets_lie_in_the_first_folder_that_is_short_and_there(tmp_path: Path) -> None:
    long = tmp_path / ("t" * 100)
    long.mkdir()
    assert sockets.short_folder([str(long), str(tmp_path / "gone"), "/tmp"]) == "/tmp"
    assert sockets.short_folder([str(long)]) is None
    assert sockets.fits("x" * (103 - 32))
    assert not sockets.fits("x" * (103 - 31))
