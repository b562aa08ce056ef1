"""The time is shared over what remains, and the learning rate has come down when it is up."""

import datetime
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from accelerate import Accelerator

from stages import train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.data.fold_data import open_fold
from stages.learn import learner, time_limit
from stages.learn.checkpoint import Header, headers
from stages.learn.time_limit import Clock
from stages.learn.training_terms import Terms
from stages.learn.validation import time_prediction
from tests.conftest import small


class Ticking:
    """A clock that goes on by being looked at, so that a busy machine has as much time as another."""

    TICK = 0.01

    def __init__(self) -> None:
        self.now = time.time()

    def look(self) -> float:
        self.now += self.TICK
        return self.now


@pytest.fixture(autouse=True)
def ticking(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    made = Ticking()
    monkeypatch.setattr(time, "time", made.look)
    monkeypatch.setattr(time, "monotonic", made.look)
    monkeypatch.setattr(time, "perf_counter", made.look)
    return made


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's clock is in Berlin: on 29 March it goes from 02:00 to 03:00, on 25 October from 03:00 to 02:00."""
    if not hasattr(time, "tzset"):
        pytest.skip("Windows takes the zone from its settings")
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOW = "2026-05-04 17:00"


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "now", "line"),
    [
        ("18:00", NOW, "until Mon 2026-05-04 18:00 CEST (UTC+02:00): 1 h 0 min from now"),
        (
            "09:30",
            NOW,
            "until Tue 2026-05-05 09:30 CEST (UTC+02:00): 16 h 30 min from now",
        ),  # the next time it is that late
        ("2026-05-06 09:15", NOW, "until Wed 2026-05-06 09:15 CEST (UTC+02:00): 1 d 16 h 15 min from now"),
        ("2026-11-06 09:15", NOW, "until Fri 2026-11-06 09:15 CET (UTC+01:00): 185 d 17 h 15 min from now"),
        # Seoul is seven hours ahead, where it is Tuesday already.
        ("01:00+09:00", NOW, "until Mon 2026-05-04 18:00 CEST (UTC+02:00): 1 h 0 min from now"),
        ("2026-05-05T01:00+09:00", NOW, "until Mon 2026-05-04 18:00 CEST (UTC+02:00): 1 h 0 min from now"),
        ("3:00", "2026-05-04 16:00", "until Tue 2026-05-05 03:00 CEST (UTC+02:00): 11 h 0 min from now"),
        ("2026-05-05 3:00", "2026-05-04 16:00", "until Tue 2026-05-05 03:00 CEST (UTC+02:00): 11 h 0 min from now"),
        ("16:05Z", NOW, "until Mon 2026-05-04 18:05 CEST (UTC+02:00): 1 h 5 min from now"),
        ("17:00", "2026-05-04 16:59:30", "until Mon 2026-05-04 17:00 CEST (UTC+02:00): 1 min from now"),
        # The nights in which the clocks change: 23 and 25 hours long.
        ("08:00", "2026-03-28 20:00", "until Sun 2026-03-29 08:00 CEST (UTC+02:00): 11 h 0 min from now"),
        ("08:00", "2026-10-24 20:00", "until Sun 2026-10-25 08:00 CET (UTC+01:00): 13 h 0 min from now"),
        ("02:30", "2026-10-25 01:00", "until Sun 2026-10-25 02:30 CEST (UTC+02:00): 1 h 30 min from now"),
    ],
)
def test_until_is_a_moment_that_is_said_with_date_zone_and_time_left(text: str, now: str, line: str) -> None:
    started = datetime.datetime.fromisoformat(now).astimezone()
    assert time_limit.in_words(time_limit.parse_until(text, started), started) == line


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "is no time; write 18:00"),
        ("18:00 KST", "is no time; write 18:00"),
        ("0001-01-01 00:00", "is no time|has passed"),
        ("2026-05-04 16:00", r"has passed \(2026-05-04 16:00 CEST \(UTC\+02:00\); it is 2026-05-04 17:00 CEST"),
        ("2026-05-04 23:00+09:00", r"has passed \(2026-05-04 16:00 CEST"),
        ("16:30", "has passed; write the date too, as 2026-05-05 16:30"),  # the same command after a crash
        ("23:30+09:00", "has passed; write the date too, as 2026-05-05 16:30"),
        ("2027-03-28 02:30", "the clocks leave out 02:30 on 2027-03-28; name another time"),
    ],
)
def test_until_that_cannot_be_met_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        time_limit.parse_until(text, datetime.datetime.fromisoformat(NOW).astimezone())


def clock(seconds: float, trainings: int = 1, **more: float) -> Clock:
    now = time.time()
    values = {"processes": 0, "startup": 0.0, "photos": 0, "answers": 0, "validated_photos": 100, **more}
    return Clock("limit", now + seconds, now, trainings, **values)  # type: ignore[arg-type]


def test_the_time_left_is_shared_evenly_after_what_comes_behind() -> None:
    alone, one_of_five = clock(1000).seconds(), clock(1000, trainings=5).seconds()
    assert alone == pytest.approx(1000 * 0.98 - time_limit.TAIL)
    assert one_of_five == pytest.approx(alone / 5)
    busy = clock(1000, trainings=2, processes=1, startup=10, photos=10_000, answers=5000)
    busy.predicted(100, 2.0)
    assert busy.seconds() == pytest.approx((1000 * 0.98 - time_limit.TAIL - 10 - 20 - 100 - 10) / 2)


def test_the_share_of_the_schedule_runs_from_where_it_was_to_the_end_in_the_time_given() -> None:
    started = clock(1000, gone=0.4)
    assert started.share() == pytest.approx(0.4, abs=0.01)
    started.begins -= started.seconds() / 2
    halfway = started.share()
    assert 0.6 < halfway < 0.8
    assert clock(-5.0).share() == 1.0


def test_prediction_is_timed_before_the_first_step(project: Path) -> None:
    made = learner.start(small(), open_fold(small(), 0), 0, 0.003, Accelerator(), SILENT)
    photos, seconds = time_prediction(made)
    assert photos == 64
    assert 0 < seconds < 5 * Ticking.TICK  # as it looks at the clock before and after
    tight = clock(1000, validated_photos=300)
    tight.predicted(photos, 0.64)
    assert tight.seconds() - tight._span() == pytest.approx(3.0)  # what a validation pass takes at that rate


def test_speed_is_judged_by_the_steps_after_the_first_and_not_at_once() -> None:
    fast = clock(1000)
    fast.begins -= 90  # a slow start
    fast.first = (time.time() - 10, 0.001)
    assert not fast.too_slow(0.02)  # 500 s for the rest, and 880 s to go
    assert fast.too_slow(0.005)  # 2,500 s for the rest
    early = clock(1000)
    assert not early.too_slow(0.0001)  # the first step
    assert not early.too_slow(0.0002)  # too early to tell
    assert clock(-5.0).too_slow(0.0001)


def header(run: str, used: float, tick: float, asked: str = "90 minutes") -> Header:
    return Header(run, 0, 0, 1, 2, 0, True, "", 0.5, asked, used, 0.0, 0.0, tick=tick)


def test_time_used_is_that_of_the_run_under_its_limit_and_counts_short_gaps_only() -> None:
    known = [header("a", 7200.0, 2000.0, ""), header("a", 50.0, 1000.0), header("b", 7.0, 900.0)]
    asked = "90 minutes"
    assert time_limit.used("a", asked, known, 1010.0, 60.0) == 60.0  # ten seconds of DVC between two folds
    assert time_limit.used("a", asked, known, 9000.0, 60.0) == 50.0  # somebody came back after lunch
    assert time_limit.used("a", asked, known, 980.0, 60.0) == 30.0  # saved by this very process
    assert time_limit.used("a", "30 minutes", known, 1010.0, 60.0) == 0.0  # what came before the limit does not count
    assert time_limit.used("c", asked, known, 1010.0, 60.0) == 0.0
    assert time_limit.pause(small(checkpoint={"minutes": 5.0})) > 300  # time since the last checkpoint was worked


@pytest.fixture
def timed(project: Path, monkeypatch: pytest.MonkeyPatch, ticking: Ticking) -> Path:
    """A project in which training may begin, in a process that has just begun."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    began = time.time()
    monkeypatch.setattr(time_limit, "process_began", lambda: began)
    monkeypatch.setattr(time_limit, "TAIL", 0.5)
    monkeypatch.setattr(time_limit, "GAP", 0.0)
    return project


def histories() -> list[pd.DataFrame]:
    return [pd.read_csv(paths.history(fold)) for fold in (0, 1)]


def test_a_budget_shortens_the_schedule_evenly_and_the_learning_rate_comes_down(
    timed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = small(train={"epochs": 10_000}, budget={"minutes": 0.15}, schedule={"min_share": 0.0})
    said: list[str] = []
    began = time.time()
    train.run(params, Talk(said.append), None)
    assert time.time() - began < 9 * 1.05 + 0.5
    for history in histories():
        assert len(history) < 5000
        assert history["lr"].iloc[-1] < 0.05 * history["lr"].max()
    seconds = [history["seconds"].sum() for history in histories()]
    assert min(seconds) > 0.6 * max(seconds)
    assert sum("shortened to fit the time (0.15 minutes)" in line for line in said) == 2
    assert {one.limit for one in headers()} == {"0.15 minutes"}
    said.clear()
    again = time.time()
    monkeypatch.setattr(time_limit, "process_began", lambda: again)
    other = small(train={"epochs": 10_000}, budget={"minutes": 0.08}, schedule={"min_share": 0.0})
    train.run(other, Talk(said.append), 0)
    assert any("was shortened by a time limit (0.15 minutes)" in line for line in said)
    assert len(pd.read_csv(paths.history(0))) > 3  # the time of the other limit does not count


def test_constant_learning_rates_come_down_too_where_time_shortens_them(timed: Path) -> None:
    params = small(
        train={"epochs": 10_000, "batch_size": 2},
        budget={"minutes": 0.25},
        schedule={"name": "constant", "warmup_epochs": 0.0},
    )
    train.run(params, SILENT, 0)
    lr = pd.read_csv(paths.history(0))["lr"]
    assert lr.iloc[0] == pytest.approx(0.003)
    assert lr.iloc[-1] < 0.4 * 0.003


def test_a_budget_that_suffices_changes_nothing_whatever_the_start_took(
    timed: Path, monkeypatch: pytest.MonkeyPatch, ticking: Ticking
) -> None:
    start = learner.start

    def slow(*values: Any) -> Any:
        ticking.now += 3.0
        return start(*values)

    monkeypatch.setattr(learner, "start", slow)
    train.run(small(train={"epochs": 12}, budget={"minutes": 3.0}), SILENT, 0)
    weights = paths.weights(0).read_bytes()
    assert {one.limit for one in headers()} == {""}
    monkeypatch.setattr(learner, "start", start)
    train.run(small(train={"epochs": 12}), SILENT, 0, Terms(fresh=True))
    assert paths.weights(0).read_bytes() == weights


def test_fresh_shares_the_time_over_folds_that_had_finished(timed: Path) -> None:
    params = small(train={"epochs": 10_000})
    until = datetime.datetime.fromtimestamp(time.time()) + datetime.timedelta(seconds=6)
    train.run(params, SILENT, None, Terms(until=until))
    again = datetime.datetime.fromtimestamp(time.time()) + datetime.timedelta(seconds=6)
    train.run(params, SILENT, None, Terms(fresh=True, until=again))
    seconds = [history["seconds"].sum() for history in histories()]
    assert min(seconds) > 0.5 * max(seconds)
    said: list[str] = []
    later = datetime.datetime.fromtimestamp(time.time()) + datetime.timedelta(seconds=60)
    train.run(
        params, Talk(said.append), None, Terms(until=later)
    )  # a later deadline keeps what the earlier one finished
    assert sum("(finished)" in line for line in said) == 2


def test_a_checkpoint_shaped_by_a_time_limit_is_not_taken_by_a_run_without(timed: Path) -> None:
    train.run(small(train={"epochs": 3000}, budget={"minutes": 0.06}), SILENT, None)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "1/3000" in line:
            raise StopIteration

    with pytest.raises(StopIteration):
        train.run(small(train={"epochs": 3000}), Talk(say), 0)
    assert any("the checkpoint was shortened by a time limit (0.06 minutes)" in line for line in said)


def test_who_shares_the_time_out_may_say_how_many_rounds_are_left_and_what_is_used(timed: Path) -> None:
    params = small(train={"repeats": 2}, budget={"minutes": 10})
    data = open_fold(params, 0)
    for terms, trainings in ((Terms(rounds=3), 6), (Terms(rounds=3, repeat=1), 3), (Terms(jobs=2), 2)):
        timing = time_limit.Timing(replace(terms, used=60.0), time.time(), 0.0, together=True)
        made = timing.clock(params, timing.keeper(params, "run", 0, 0, []), data, [])
        assert made
        assert made.trainings == trainings
        assert made.deadline == pytest.approx(timing.began + 9 * 60)
