"""A lock is one process's, also where locks do not reach from machine to machine, and goes with its process."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pytest

from stages.base import host, lock
from stages.base.errors import UserError
from tests.base.containers import CONTAINER, needs_containers
from tests.conftest import ROOT

HOLD = """
import platform, sys
from pathlib import Path
import fcntl
from stages.base import host, lock
if sys.argv[2] == "afar":  # another machine, whose locks the file system keeps to itself
    fcntl.flock = lambda *values: None
    host.boot, host.place, host.name = lambda: "another boot", lambda: "gpu2-0a1b2c3d", lambda: "gpu2"
lock.BEAT = 0.1
path, sys.argv = Path(sys.argv[1]), ["maskcli", "folds"]
with lock.held(path, run="r"):
    print("held", flush=True)
    sys.stdin.read()  # until its other end is closed
"""


@contextmanager
def holder(path: Path, where: str, within: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    words = [*within, sys.executable, "-c", HOLD, str(path), where]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def is_held(path: Path) -> str:
    """By whom; empty where it can be had."""
    try:
        with lock.held(path):
            return ""
    except lock.Held as busy:
        return busy.holder.in_words


@pytest.mark.parametrize("where", ["here", "afar"])
def test_a_lock_is_one_processs_and_says_whose(tmp_path: Path, where: str) -> None:
    path = tmp_path / "0.lock"
    with holder(path, where) as process:
        expected = f"process {process.pid}{' on gpu2' if where == 'afar' else ''} (maskcli folds)"
        assert is_held(path) == expected
        assert lock.read(path).run == "r"
        process.communicate("")
    assert is_held(path) == ""
    assert {found.name for found in tmp_path.iterdir()} == {"0.lock"}


@needs_containers
def test_a_lock_holds_between_containers_and_goes_at_once_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "0.lock"
    with holder(path, "here", tuple(CONTAINER)) as process:
        assert is_held(path) == "process 1 on worker (maskcli folds)"
        process.kill()  # unshare, and with it process 1 of the container: what it wrote of itself stays
        process.wait()
        with lock.held(path, patience=10):
            pass


def test_who_was_killed_holds_nothing_here_at_once_and_afar_once_it_was_not_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "0.lock"
    with holder(path, "here") as process:
        process.kill()
        process.wait()
        assert is_held(path) == ""
    with holder(path, "afar") as process:
        process.kill()
        process.wait()
        assert is_held(path) == f"process {process.pid} on gpu2 (maskcli folds)"
        monkeypatch.setattr(lock, "GONE", 1.0)
        began = time.monotonic()
        with lock.held(path, patience=30):
            assert 0.5 < time.monotonic() - began < 20
            assert lock.read(path).claim == json.loads(path.with_suffix(".holder.json").read_text())["claim"]


def test_a_beating_holder_is_not_taken_for_dead_whatever_this_hosts_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "0.lock"
    monkeypatch.setattr(lock, "GONE", 1.0)
    with holder(path, "afar"):
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 3600)
        with pytest.raises(lock.Held), lock.held(path, patience=2.0):
            pass


def test_waiting_ends_where_somebody_asks_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "0.lock"
    with lock.held(path), pytest.raises(KeyboardInterrupt), lock.held(path, patience=None, asked=lambda: True):
        pass


def test_on_a_file_system_without_locks_the_living_holder_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: Any, **options: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    path = tmp_path / "0.lock"
    with lock.held(path):
        assert is_held(path).startswith(f"process {os.getpid()}")
    assert is_held(path) == ""
    dead = {"process": f"{2**22 + 1}-1f", "place": host.place(), "boot": host.boot()}
    path.with_suffix(".holder.json").write_text(json.dumps(dead))
    assert is_held(path) == ""


def test_of_many_machines_that_find_a_dead_holder_one_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their locks do not reach each other, so that each has the system's."""
    told, ready = tmp_path / "0.holder.json", threading.Barrier(8)
    inside: list[int] = []
    monkeypatch.setattr(lock, "SETTLES", 0.02)

    def take(number: int) -> None:
        own = lock.Holder(process=f"{number + 1}", place=f"gpu{number}", boot=f"boot {number}", claim=str(number))
        ready.wait()
        if lock._claimed(told, own, by_system=True):
            inside.append(number)

    for _ in range(20):
        inside.clear()
        told.write_text(json.dumps({"process": "7", "boot": "", "claim": "dead"}))
        threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(inside) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.lock").mkdir()
    with pytest.raises(UserError, match=r"0.lock: cannot be written"), lock.held(tmp_path / "0.lock"):
        pass


def test_a_holders_file_that_somebody_reads_holds_nothing_where_it_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where an open file stays."""

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Access is denied", str(path))

    with monkeypatch.context() as patch, lock.held(tmp_path / "0.lock"):
        patch.setattr(Path, "unlink", refused)
    assert is_held(tmp_path / "0.lock") == ""
