"""serve: over HTTP the answers of predict, whatever photos came with them; it begins and ends as services should."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn")

from stages.base.talk import SILENT
from stages.bundle.predictor import Predictor
from stages.by_hand import predict, serve
from stages.by_hand.predict import Asked
from stages.by_hand.predict_rows import Form
from tests.by_hand import unanswerable
from tests.by_hand.unanswerable import photo
from tests.conftest import ENVIRONMENT, HANGS
from tests.serving.running import BATCHES, BOUNDS, Service, form, running, until

ROUNDING = 1e-6  # between a photo's probabilities in batches of different sizes


@pytest.fixture(scope="module")
def judged(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose models can answer; never written to."""
    return unanswerable.judged(prepared, tmp_path_factory.mktemp("judged") / "project")


@pytest.fixture(scope="module")
def opened(judged: Path) -> Predictor:
    return unanswerable.opened(judged)


@pytest.fixture(scope="module")
def batches() -> list[int]:
    """Sizes of the batches that the networks were given."""
    return []


@pytest.fixture(scope="module")
def service(opened: Predictor, batches: list[int]) -> Iterator[Service]:
    model = serve.model(opened)

    def read(content: bytes) -> np.ndarray:
        time.sleep(0.02)  # so that those of a form are not all decoded at once
        return model.read(content)

    def run(pixels: np.ndarray) -> np.ndarray:
        batches.append(len(pixels))
        return model.run(pixels)

    with running(
        batches=replace(BATCHES, seconds=60.0),
        bounds=replace(BOUNDS, bytes=10**7),
        model=replace(model, read=read, run=run),
    ) as found:
        yield found


def close(told: Any, expected: Any) -> bool:
    """Whether two answers are the same but for the rounding of probabilities."""
    if isinstance(expected, dict):
        return told.keys() == expected.keys() and all(close(told[key], expected[key]) for key in expected)
    return abs(told - expected) <= ROUNDING if isinstance(expected, float) else bool(told == expected)


def test_a_photo_has_predicts_answer_alone_and_among_seven_others(
    opened: Predictor, service: Service, batches: list[int]
) -> None:
    names = [str(photo(f"{number}.jpg", number)) for number in range(8)]
    rows = predict.run(Asked(tuple(names), Form()), lambda: opened, SILENT)["rows"]
    model = service.ask("GET", "/health")[1]["model"]
    batches.clear()
    for name, row in zip(names, rows, strict=True):
        status, alone = service.post(Path(name).read_bytes())
        assert status == 200
        assert close(alone, {key: value for key, value in row.items() if key != "file"} | {"model": model})
    together = service.post(*form(**{Path(name).stem: Path(name).read_bytes() for name in names}))[1]
    assert close(together, {"photos": rows, "model": model})
    assert batches == [1] * 8 + [8]


def test_probabilities_are_those_of_all_classes_and_sum_to_one(opened: Predictor, service: Service) -> None:
    said = service.post(photo().read_bytes(), query="?probabilities=1")[1]
    assert list(said["probabilities"]) == list(opened.task.class_names)
    assert sum(said["probabilities"].values()) == pytest.approx(1)
    assert said["probabilities"][said["label"]] == said["probability"]


def test_a_photo_that_predict_cannot_read_has_the_same_line(opened: Predictor, service: Service) -> None:
    photo()
    cut = Path("cut.jpg")
    cut.write_bytes(Path(unanswerable.PHOTO).read_bytes()[:500])
    row = predict.run(Asked((str(cut),), Form()), lambda: opened, SILENT)["rows"][0]
    assert service.post(cut.read_bytes()) == (422, {"error": f"the photo {row['error']}"})


def refused(port: int) -> bool:
    """Whether nobody new is let in."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow  # two processes that import torch
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish_what_it_has_and_end_with_0(judged: Path, number: signal.Signals) -> None:
    content = photo().read_bytes()
    words = [sys.executable, "-m", "cli.main", "serve", ".", "--port", "0", "--json"]
    with subprocess.Popen(
        words, cwd=judged, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = json.loads(process.stdout.readline())
        port = int(told["url"].rpartition(":")[2])
        assert Service(port).ask("GET", "/health")[1] == {"status": "ready", "model": told["model"]}
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content))
            client.sendall(content[:100])
            Service(port).ask("GET", "/health")  # by now the first request is under way
            process.send_signal(number)
            until(lambda: refused(port))
            client.sendall(content[100:])
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        assert process.wait(HANGS) == 0
        lines = process.stderr.read().splitlines()
    assert lines[-1].endswith(" ms")
    assert " 127.0.0.1 POST /predict 200 " in lines[-1]
