"""A process for one training: where it comes from, and how its end is told."""

import os

import pytest

from stages.parallel import training_process


def test_an_end_is_told_as_what_it_was() -> None:
    assert "lack of memory" in training_process.how_it_ended(-9)
    assert "lack of memory" in training_process.how_it_ended(255)  # the process that forks the workers was killed
    assert training_process.how_it_ended(-11) == "its process was ended by signal 11"
    assert training_process.how_it_ended(1) == "its process ended with code 1"


@pytest.mark.skipif(os.name != "posix", reason="sockets of Unix")
def test_without_a_place_for_sockets_processes_are_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_process.sockets, "placed", lambda: False)
    assert training_process.context().get_start_method() == "spawn"
