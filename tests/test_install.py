"""What `make demo` says while it installs, and where it cannot. A script stands for python3 and for its pip."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell script")
# Answers as `python3` does; `-m venv FOLDER` puts itself there, `-m pip` says PIP.
PYTHON = """#!/bin/sh
case "$*" in
*version_info*) exit {old} ;;
*ensurepip*) exit {no_venv} ;;
--version) echo "Python 3.8.10" ;;
"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip"*) {pip} ;;
esac
"""


def install(folder: Path, old: int = 0, no_venv: int = 0, pip: str = "true") -> subprocess.CompletedProcess[str]:
    python = folder / "python3"
    python.write_text(PYTHON.format(old=old, no_venv=no_venv, pip=pip))
    python.chmod(0o755)
    words = [str(ROOT / ".ci/install"), str(python), str(folder / "venv"), "-e", "."]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"old": 1}, "make: Python 3.8.10 is too old; install Python 3.11 or newer, then: make PYTHON=python3.12"),
        ({"no_venv": 1}, "python3 has no venv; install it (Debian, Ubuntu: apt install python3-venv)"),
    ],
)
def test_a_python_that_does_not_do_is_told_in_one_line(tmp_path: Path, fault: dict[str, int], message: str) -> None:
    done = install(tmp_path, **fault)
    (line,) = done.stderr.splitlines()
    assert message in line
    assert done.returncode == 1
    assert done.stdout == ""
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / ".ci/install", "nowhere", tmp_path / "venv"], capture_output=True, text=True)
    assert done.stderr.startswith("make: nowhere: not found; install Python 3.11 or newer")
    assert done.returncode == 1


def test_it_says_that_it_begins_and_ends_without_pips_noise(tmp_path: Path) -> None:
    done = install(tmp_path, pip='for n in 1 2 3; do echo "Collecting package-$n"; done')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("installing into ")
    assert done.stdout.splitlines()[-1].startswith("installed in ")
    assert "package-1" not in done.stdout
    assert done.stderr == ""


def test_pips_own_error_is_shown(tmp_path: Path) -> None:
    done = install(tmp_path, pip="echo Collecting torch; echo 'ERROR: No matching distribution for torch'; exit 1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "ERROR: No matching distribution for torch"
    assert "failed after" in done.stderr.splitlines()[1]


def test_a_terminal_is_told_every_second_what_pip_does(tmp_path: Path) -> None:
    here, there = os.openpty()
    python = tmp_path / "python3"
    pip = "echo Collecting torch; sleep 3"  # the line is rewritten at least once while this waits, however busy the machine
    python.write_text(PYTHON.format(old=0, no_venv=0, pip=pip))
    python.chmod(0o755)
    subprocess.run([ROOT / ".ci/install", python, tmp_path / "venv"], stdout=there, check=True)
    os.close(there)
    told = os.read(here, 10_000).decode()
    os.close(here)
    assert " s  Collecting torch" in told
    assert max(map(len, told.replace("\r", "\n").split("\n")[1:])) <= 80
