"""What a living process has is kept; what a dead one of this place left goes at once, another place's after a day."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.base import files, host, temporaries
from stages.base.files import replacing
from tests.base.containers import CONTAINER, needs_containers
from tests.conftest import ROOT

OF_ANOTHER = "gpu2-0a1b2c3d.17-1f0.89abcdef"  # place, process and random id


@pytest.fixture
def living() -> Iterator[str]:
    """Of a process that lives, as names have it."""
    with subprocess.Popen([sys.executable, "-c", WRITE, "-"], stdin=subprocess.PIPE, **PIPED) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate("")


PIPED = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
WRITE = """
import sys
from pathlib import Path
from stages.base import host
from stages.base.files import replacing
if sys.argv[1] == "-":
    print(host.process(), flush=True)
    sys.stdin.read()
else:
    with replacing(Path(sys.argv[1])) as temporary:
        temporary.write_text("half")
        print(temporary.name, flush=True)
        sys.stdin.readline()
        temporary.write_text(sys.argv[2])
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def age(path: Path, seconds: float) -> None:
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def test_only_what_dead_processes_left_of_the_same_file_is_removed(tmp_path: Path, living: str) -> None:
    here, number = host.place(), living.partition("-")[0]
    dead, of_living = f"{2**22 + 1}-1f0.89abcdef", f"{living}.89abcdef"
    kept = {
        f".a.b.{here}.{of_living}.tmp.npy",
        f".a.b.{OF_ANOTHER}.tmp.npy",  # nobody here knows whether it lives
        f".other.{here}.{dead}.tmp.npy",
        f".a.b.{here}.{dead}.tmp.csv",
        f".a.b.{2**22 + 1}.tmp.npy",  # of an earlier version, from who knows where
        ".a.b.x.tmp.npy",
    }
    gone = {f".a.b.{here}.{dead}.tmp.npy", f".a.b.{here}.{number}-1f0.89abcdef.tmp.npy"}  # the second: its number again
    for name in kept | gone:
        (tmp_path / name).write_text("half")
    with replacing(tmp_path / "a.b.npy") as temporary:
        assert names(tmp_path) == kept | {temporary.name}  # their space is free before the new one needs it
        temporary.write_text("whole")
    assert names(tmp_path) == kept | {"a.b.npy"}


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system keeps no id of a process that has ended")
def test_what_a_killed_process_left_goes_though_nobody_has_asked_how_it_ended(tmp_path: Path) -> None:
    """As of an orphan in a container whose first process never asks: two pixel caches stayed beside those written anew."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, tmp_path / "a.npy", ""], stdin=subprocess.PIPE, **PIPED
    ) as process:
        assert process.stdout is not None
        left = process.stdout.readline().strip()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its id is still held
        assert names(tmp_path) == {left}
        with replacing(tmp_path / "a.npy") as temporary:
            assert names(tmp_path) == {temporary.name}
            temporary.touch()


@pytest.mark.parametrize(("error", "lives"), [(psutil.ZombieProcess, False), (psutil.AccessDenied, True)])
def test_one_that_the_system_tells_nothing_of_lives_and_a_zombie_does_not(
    monkeypatch: pytest.MonkeyPatch, error: type[psutil.Error], lives: bool
) -> None:
    """On macOS asking after a zombie, or after another user's process, is an error."""

    def asked(number: int) -> None:
        raise error(number)

    monkeypatch.setattr(psutil, "Process", asked)
    assert host.lives(host.process()) == lives


@pytest.mark.parametrize(
    "whose", [OF_ANOTHER, str(os.getpid())], ids=["of another place", "named by its process alone"]
)
def test_another_places_is_removed_a_day_after_it_was_last_written(tmp_path: Path, whose: str) -> None:
    left = tmp_path / f".a.{whose}.tmp.npy"
    for age_of, there in ((temporaries.LEFT_ALONE - 60, True), (temporaries.LEFT_ALONE + 60, False)):
        left.touch()
        age(left, age_of)
        with replacing(tmp_path / "a.npy") as temporary:
            temporary.touch()
        assert left.exists() == there


def test_age_is_by_the_clock_of_the_disk_and_not_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is a day fast must not remove what another is writing."""
    left = tmp_path / f".a.{OF_ANOTHER}.tmp.npy"
    left.touch()
    monkeypatch.setattr("time.time", lambda: left.stat().st_mtime + 10 * temporaries.LEFT_ALONE)
    with replacing(tmp_path / "a.npy") as temporary:
        temporary.touch()
    assert left.exists()


def test_a_folder_is_as_old_as_the_newest_file_in_it(tmp_path: Path) -> None:
    left = tmp_path / f".made.{OF_ANOTHER}.tmp"
    (left / "deep").mkdir(parents=True)
    (left / "deep/written").touch()
    for path in (left / "deep", left):
        age(path, 2 * temporaries.LEFT_ALONE)
    for there in (True, False):
        with files.replacing_folder(tmp_path / "made"):
            pass
        assert left.exists() == there
        if there:
            age(left / "deep/written", 2 * temporaries.LEFT_ALONE)


def test_a_folder_whose_process_was_killed_between_its_two_renames_comes_back(tmp_path: Path) -> None:
    before = tmp_path / f".made.{host.place()}.{2**22 + 1}.89abcdef.old"
    before.mkdir()
    (before / "old").touch()
    with pytest.raises(KeyError), files.replacing_folder(tmp_path / "made"):
        raise KeyError
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["made", "old"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80),
    st.integers(0, 60),
    st.sampled_from(["", ".npy", ".csv", f".{'x' * 40}"]),
)
def test_any_name_that_a_file_can_have_has_a_temporary_that_is_found_again(stem: str, more: int, suffix: str) -> None:
    name = f"{stem}{'é' * more}{suffix}"
    if len(os.fsencode(name)) > 255 or name in (".", ".."):
        return
    path = Path("folder") / name
    for folder in (False, True):
        made = temporaries.beside(path, folder=folder)
        assert len(os.fsencode(made.name)) <= 255
        one = temporaries._parsed(made)
        assert one is not None
        assert (one.stem, one.suffix) == temporaries._parts(path, folder)
        assert (one.place, one.process) == (host.place(), host.process())
        assert made != temporaries.beside(path, folder=folder)
        assert folder or not suffix or len(suffix) > 16 or made.suffix == suffix


def test_the_longest_place_and_process_leave_room_in_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "name", lambda: "gpu-node.cluster.example.org" * 3)
    monkeypatch.setattr(host, "process", lambda: f"{2**32}-{2**64 - 1:x}")
    made = temporaries.beside(Path("ä" * 127))
    assert len(os.fsencode(made.name)) <= 255
    one = temporaries._parsed(temporaries.beside(Path(f"{'b' * 240}.{'x' * 15}")))
    assert one is not None
    assert one.stem.startswith("b" * 100)
    assert one.suffix == f".{'x' * 15}"


@needs_containers
def test_two_containers_of_the_same_host_name_and_process_id_write_the_same_file(tmp_path: Path) -> None:
    """Each in namespaces of its own, as containers are: both are process 1 of `worker`."""
    path = tmp_path / "a.txt"
    write = [*CONTAINER, sys.executable, "-c", WRITE, str(path)]
    with (
        subprocess.Popen([*write, "first"], stdin=subprocess.PIPE, **PIPED) as first,
        subprocess.Popen([*write, "second"], stdin=subprocess.PIPE, **PIPED) as second,
    ):
        assert first.stdout is not None
        assert second.stdout is not None
        made = [one.stdout.readline().strip() for one in (first, second) if one.stdout]
        assert all(".worker-" in name and ".1-" in name for name in made)
        assert names(tmp_path) == set(made)  # neither took the other's, or removed it
        for one in (first, second):
            one.communicate("\n")
            assert one.returncode == 0
    assert path.read_text() == "second"
    assert names(tmp_path) == {"a.txt"}
