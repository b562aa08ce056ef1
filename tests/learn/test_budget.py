"""The time is shared over what remains, and the learning rate has come down when it is up."""

import datetime
import time
from pathlib import Path

import pandas as pd
import pytest

from stages import paths, train
from stages.errors import UserError
from stages.files import write_json
from stages.learn import budget
from stages.learn.budget import Clock
from stages.learn.checkpoint import Header, headers
from stages.params import Params
from stages.talk import SILENT, Talk
from tests.conftest import small

NOW = datetime.datetime(2026, 5, 4, 17, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:00", datetime.datetime(2026, 5, 4, 18, 0)),
        ("16:30", datetime.datetime(2026, 5, 5, 16, 30)),  # the next time it is that late
        ("2026-05-06 09:15", datetime.datetime(2026, 5, 6, 9, 15)),
    ],
)
def test_until_is_a_time_of_day_or_a_moment(text: str, expected: datetime.datetime) -> None:
    assert budget.parse_until(text, NOW) == expected


@pytest.mark.parametrize(("text", "message"), [("soon", "is no time; write 18:00"), ("2026-05-04 16:00", "has passed")])
def test_until_that_cannot_be_met_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        budget.parse_until(text, NOW)


def clock(seconds: float, trainings: int = 1, **more: float) -> Clock:
    now = time.time()
    values = {"startup": 0.0, "answers": 0, **more}
    return Clock("limit", now + seconds, now, trainings, **values)  # type: ignore[arg-type]


def test_the_time_left_is_shared_evenly_after_what_comes_behind() -> None:
    alone, one_of_five = clock(1000).seconds(), clock(1000, trainings=5).seconds()
    assert alone == pytest.approx(1000 * 0.98 - budget.TAIL)
    assert one_of_five == pytest.approx(alone / 5)
    busy = clock(1000, startup=10, answers=5000)
    busy.validated(2.0, 100)  # 50 photos a second
    assert busy.seconds() == pytest.approx(1000 * 0.98 - budget.TAIL - 20 - 100)


def test_the_share_of_the_schedule_runs_from_where_it_was_to_the_end_in_the_time_given() -> None:
    started = clock(1000, gone=0.4)
    assert started.share() == pytest.approx(0.4, abs=0.01)
    started.begins -= started.seconds() / 2
    halfway = started.share()
    assert 0.6 < halfway < 0.8
    assert clock(-5.0).share() == 1.0


def header(run: str, used: float, saved: float) -> Header:
    return Header(run, 0, 0, 1, 2, 0, True, "", 0.5, used, saved)


def test_time_used_is_that_of_the_run_and_counts_short_gaps_only() -> None:
    known = [header("a", 50.0, 1000.0), header("b", 7.0, 900.0)]
    assert budget.used("a", known, began=1010.0) == 60.0  # ten seconds of DVC between two folds
    assert budget.used("a", known, began=9000.0) == 50.0  # somebody came back after lunch
    assert budget.used("a", known, began=980.0) == 30.0  # saved by this very process
    assert budget.used("c", known, began=1010.0) == 0.0


def limited(params: Params, monkeypatch: pytest.MonkeyPatch) -> tuple[pd.DataFrame, float, list[str]]:
    """Train both folds under the budget; fold 0's history, the seconds it all took, and what was said."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    began = time.time()
    monkeypatch.setattr(budget, "process_began", lambda: began)
    monkeypatch.setattr(budget, "TAIL", 0.5)
    said: list[str] = []
    train.run(params, Talk(said.append), None)
    return pd.read_csv(paths.history(0)), time.time() - began, said


def test_a_budget_shortens_the_schedule_and_the_learning_rate_comes_down(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = small(train={"epochs": 10_000}, budget={"minutes": 0.2}, schedule={"min_share": 0.0})
    history, seconds, said = limited(params, monkeypatch)
    assert len(history) < 5000
    assert history["lr"].iloc[-1] < 0.05 * history["lr"].max()
    assert seconds < 12 * 1.05 + 0.5
    assert any("shortened to fit the time (0.2 minutes)" in line for line in said)
    assert {one.limit for one in headers()} == {"0.2 minutes"}


def test_a_budget_that_suffices_changes_nothing_and_leaves_a_checkpoint_for_all(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(small(budget={"minutes": 30.0}), monkeypatch)
    weights = paths.weights(0).read_bytes()
    assert {one.limit for one in headers()} == {""}
    train.run(small(), SILENT, 0, fresh=True)
    assert paths.weights(0).read_bytes() == weights


def test_a_checkpoint_shaped_by_a_time_limit_is_not_taken_by_a_run_without(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(small(train={"epochs": 300}, budget={"minutes": 0.06}), monkeypatch)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "epoch   1/300" in line or "epoch  1/300" in line:
            raise StopIteration

    with pytest.raises(StopIteration):
        train.run(small(train={"epochs": 300}), Talk(say), 0)
    assert any("the checkpoint was shortened by a time limit (0.06 minutes)" in line for line in said)
