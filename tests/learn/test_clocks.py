"""Time used is a sum of durations: no clock that is set, and no other machine's, hides any of it or makes more of it."""

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest
from accelerate import Accelerator

from stages.base import host, paths
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import checkpoint, time_limit
from stages.learn.checkpoint import Header, Keeper
from stages.learn.learner import Learner, start
from stages.learn.progress import Progress
from stages.learn.time_limit import Clock
from tests.conftest import small

LIMIT = "90 minutes"
MINUTES = 60.0


class Clocks:
    """Of one machine: what people set, and what only ever goes on."""

    def __init__(self) -> None:
        self.wall, self.monotonic = time.time(), time.monotonic()

    def work(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(time, "time", lambda: made.wall)
    monkeypatch.setattr(time, "monotonic", lambda: made.monotonic)
    return made


@pytest.fixture
def learner(project: Path) -> Learner:
    return start(small(), open_fold(small(), 0), 0, 0.003, Accelerator(), SILENT)


def keeper_of(fold: int, used: float = 0.0) -> Keeper:
    """Of a process that begins now."""
    return Keeper("run", fold, 0, 2, 0.0, LIMIT, used, began=time.monotonic())


def save(learner: Learner, keeper: Keeper) -> None:
    keeper.save(learner, Progress())


def used_by_the_next(began: float) -> float:
    return time_limit.used("run", LIMIT, checkpoint.headers(), began, pause=60.0)


@pytest.mark.parametrize("set_by", [0.0, -30 * MINUTES, 30 * MINUTES])
def test_a_clock_that_is_set_neither_hides_time_nor_adds_any(learner: Learner, clocks: Clocks, set_by: float) -> None:
    keeper = keeper_of(0, 5 * MINUTES)
    clocks.work(20 * MINUTES)
    clocks.wall += set_by
    clocks.work(20 * MINUTES)
    save(learner, keeper)
    assert checkpoint.headers()[0].used == pytest.approx(45 * MINUTES)
    clocks.work(10)  # DVC's, before the next fold's process begins
    assert used_by_the_next(time.monotonic()) == pytest.approx(45 * MINUTES + 10)
    clocks.wall += set_by
    assert used_by_the_next(time.monotonic()) == pytest.approx(45 * MINUTES + 10)


def test_the_newest_checkpoint_is_the_one_written_last_whichever_machine_is_fast(
    learner: Learner, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as fast:
        fast.setattr(host, "boot", lambda: "another machine")
        clocks.wall += 3600
        save(learner, keeper_of(0, 40 * MINUTES))
        clocks.wall -= 3600
    save(learner, keeper_of(1, 50 * MINUTES))
    assert [header.fold for header in checkpoint.headers()] == [1, 0]
    assert used_by_the_next(time.monotonic() + 5) == pytest.approx(50 * MINUTES + 5)


@pytest.mark.parametrize("fast_by", [0.0, 3600.0, -3600.0])
def test_time_since_another_machines_checkpoint_is_by_the_disks_clock(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, fast_by: float
) -> None:
    now, tick = time.time, time.monotonic
    with monkeypatch.context() as there:
        there.setattr(host, "boot", lambda: "another machine")
        there.setattr(time, "time", lambda: now() + fast_by)
        there.setattr(time, "monotonic", lambda: tick() + 7e6)  # it was started earlier
        keeper = keeper_of(0, 600.0)
        save(learner, keeper)
    written = keeper.path.stat().st_mtime - 20
    os.utime(keeper.path, (written, written))
    assert used_by_the_next(time.monotonic()) == pytest.approx(620.0, abs=2.0)
    os.utime(keeper.path, (written - 3000, written - 3000))
    assert used_by_the_next(time.monotonic()) == pytest.approx(600.0, abs=2.0)  # nobody was training


def test_only_a_deadline_that_was_named_as_a_time_of_day_follows_the_clock_on_the_wall(clocks: Clocks) -> None:
    begins = time.monotonic()
    values = {"processes": 0, "startup": 0.0, "photos": 0, "answers": 0, "validated_photos": 0}
    lasting = Clock(LIMIT, begins + 3600, begins, 1, **values)  # type: ignore[arg-type]
    named = dataclasses.replace(lasting, until=time.time() + 3600)
    before = lasting.seconds()
    assert named.seconds() == pytest.approx(before)
    clocks.wall -= 30 * MINUTES
    assert lasting.seconds() == before
    assert named.seconds() == pytest.approx(before + 30 * MINUTES * (1 - time_limit.MARGIN))
    clocks.work(20 * MINUTES)
    assert lasting.share() == pytest.approx(20 * MINUTES / before)
    assert named.share() == pytest.approx(20 * MINUTES / named.seconds())


def test_a_process_knows_how_long_it_has_lived() -> None:
    began = time_limit.process_began()
    assert began < time.monotonic()
    assert time_limit.process_began() == pytest.approx(began, abs=0.1)


def test_a_checkpoint_of_the_version_before_is_read_and_older_than_any_since(learner: Learner) -> None:
    save(learner, keeper_of(0))
    path = paths.checkpoint(0, 0, "run")
    magic, line, rest = path.read_bytes().split(b"\n", 2)
    before = {name: value for name, value in json.loads(line).items() if name not in ("sequence", "boot", "tick")}
    before["saved"] += 3600  # of a machine that was fast
    path.write_bytes(magic + b"\n" + json.dumps(before).encode() + b"\n" + rest)
    assert isinstance(checkpoint.read(path)[0], Header)
    save(learner, keeper_of(1))
    assert [header.fold for header in checkpoint.headers()] == [1, 0]
