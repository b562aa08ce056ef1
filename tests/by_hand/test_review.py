"""review: a real `maskcli review`; what it says, what it holds over kill -9, and that it begins without what takes long."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("uvicorn")

from stages.base import http_server, paths
from stages.by_hand import review
from stages.data import corrections
from stages.params.load import load
from tests.by_hand.test_serve import refused
from tests.conftest import ENVIRONMENT, HANGS, ROOT, command
from tests.review.made import ASKED, Browser, suspects
from tests.serving.running import until


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    browser: Browser


@contextmanager
def started(*words: str) -> Iterator[Running]:
    """`maskcli review` in the working folder, and a browser that has opened its URL."""
    line = [sys.executable, "-m", "cli.main", "review", "--port", "0", "--json", *words]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            url = urlsplit(json.loads(process.stdout.readline())["url"])
            yield Running(process, Browser(url.port or 0, parse_qs(url.query)["token"][0]).enter())
        finally:
            process.kill()


def killed_after_each(count: int) -> int:
    """Decide, kill -9 at the answer, begin again, as often; how many decisions are on the disk."""
    for _ in range(count):
        with started() as running:
            said = running.browser.question()
            running.browser.decide(said["question"], "ak"[said["decided"] % 2])
            running.process.send_signal(signal.SIGKILL)
            assert running.process.wait(HANGS) == -signal.SIGKILL
    return len(corrections.read())


def test_a_decision_that_was_saved_is_there_after_kill_9_and_is_not_asked_again(project: Path) -> None:
    ids = suspects()
    assert killed_after_each(1) == 1
    with started("--who", "bob") as running:
        said = running.browser.question()
        assert (said["decided"], said["question"]["id"]) == (1, ids[1][0])
        running.browser.decide(said["question"], "k")
        running.process.send_signal(signal.SIGTERM)
        until(lambda: refused(running.browser.port))
        assert running.process.wait(HANGS) == 0
    assert [row.who for row in corrections.read()][1] == "bob"


@pytest.mark.slow  # a process a decision
def test_kill_9_after_every_decision_loses_none(project: Path) -> None:
    suspects(20)
    assert killed_after_each(20) == 20


def test_it_begins_without_torch_and_sklearn() -> None:
    """They are most of the seconds that training takes to begin."""
    code = "import sys; from stages.by_hand import review; from stages.review import app, pictures, questions; "
    code += "from stages.base import http_server; print({'torch', 'sklearn', 'timm', 'dvc'} & set(sys.modules))"
    assert command(ROOT, sys.executable, "-c", code).stdout.strip() == "set()"


@pytest.fixture
def begun(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[review.Began]:
    """What is told to whoever started it; it ends at once."""
    monkeypatch.setattr(http_server, "run", lambda server, place, patience: place.close())
    return []


def test_it_counts_what_it_asks_and_what_is_decided(begun: list[review.Began]) -> None:
    suspects()
    review.run(load(), ASKED, begun.append, lambda line: None)
    (one,) = begun
    assert (one.questions, one.decided, one.photos, one.who, one.said) == (6, 0, 168, "ann", "6 suspects")


def test_who_decides_is_gits_user_unless_named(begun: list[review.Began], project: Path) -> None:
    command(project, "git", "init", "-q")
    command(project, "git", "config", "user.name", "Ann Lee")
    assert review.named() == "Ann Lee"
    review.run(load(), review.Asked("127.0.0.1", 0, "", 0, ""), begun.append, lambda line: None)
    review.run(load(), review.Asked("127.0.0.1", 0, " bob ", 0, ""), begun.append, lambda line: None)
    assert [one.who for one in begun] == ["Ann Lee", "bob"]


def test_without_an_audit_all_photos_can_be_browsed_and_it_says_so(begun: list[review.Began]) -> None:
    said: list[str] = []
    review.run(load(), ASKED, begun.append, said.append)
    assert begun[0].said == "no questions"
    assert said[0] == f"{paths.SUSPECTS}: not found, so there are no suspects; `maskcli audit` looks for some"
