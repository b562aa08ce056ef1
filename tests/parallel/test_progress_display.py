"""One display over several trainings: what each tells, and what is shown."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.base import gpu
from stages.base.talk import Talk
from stages.parallel import progress_display
from stages.parallel.progress_display import Bar, Reporter


class Shown:
    """What a progress display was asked for: where each began, and how far it came."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self.at = 0

    def track(self, items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
        self.began.append((done, total))
        for self.at, item in enumerate(items, done):
            yield item


def test_a_display_begins_where_the_trainings_are() -> None:
    shown = Shown()
    bar = Bar(Talk(track=shown.track), "epochs", {0: 10, 1: 10})
    bar.begins(0, 0.5)
    bar.begins(1, 1.0)
    assert shown.began == [(0, 20), (5, 20), (15, 20)]
    bar.move(0, 0.8)
    assert shown.at == 18


def test_a_worker_tells_where_it_begins_and_what_share_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_display, "TELL_EVERY", 0.0)
    told: list[tuple[str, float]] = []

    class Pipe:
        def send(self, message: tuple[str, float]) -> None:
            told.append(message)

    reporter = Reporter(Pipe(), epochs=(10, 10))  # type: ignore[arg-type]
    list(reporter.track(range(2), 4, "", done=2))
    list(reporter.track(range(4), 4, ""))
    shares = [0.25, 0.375, 0.5, 0.5, 0.625, 0.75, 0.875, 1.0]
    assert told == [("begins" if number in (0, 3) else "share", share) for number, share in enumerate(shares)]
    told.clear()
    reporter = Reporter(Pipe(), epochs=(4, 12))  # type: ignore[arg-type]
    list(reporter.track(range(1, 1), 1, "", done=1))  # a short one that was trained before
    list(reporter.track(range(2), 2, ""))
    assert told == [("begins", 0.25), ("begins", 0.25), ("share", 0.625), ("share", 1.0)]


@pytest.mark.parametrize("usable", [True, False])
def test_a_gpu_is_asked_for_its_memory_by_who_computes_there_alone(
    monkeypatch: pytest.MonkeyPatch, usable: bool
) -> None:
    """One that is broken, where the CPU computes, would fail the training."""
    asked: list[str] = []
    monkeypatch.setattr(progress_display, "TELL_EVERY", 0.0)
    monkeypatch.setattr(gpu, "usable", lambda: usable)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 10)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: asked.append("memory") or (5, 20))
    told: list[Any] = []
    reporter = Reporter(SimpleNamespace(send=told.append), epochs=(2,))  # type: ignore[arg-type]
    list(reporter.track(range(4), 4, ""))
    assert asked == ["memory"] * usable
    assert [message for message in told if message[0] == "peak"] == [("peak", (10, 5))] * usable
