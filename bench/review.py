"""`maskcli review` with 100,000 photos: how long it takes to begin, how long every key takes, and whether its memory stays flat.

python bench/review.py [--photos 100000] [--decisions 1000]     (about three minutes on two quiet cores; prints JSON)

A project is laid out without its stages: 150 x 200 px photos (700 different ones, each under many names), photos.csv and
task.json as prepare writes them, and suspects.csv with a suspect of every other person. A real `maskcli review` on loopback is
asked over HTTP, and in headless Chromium, where there is one, by real keys: from the key to the next question and its large photo
on the screen. Memory is the server's resident set: it grows until its bounded cache of pictures is full, and then no more.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import psutil
import scratch
from PIL import Image
from scratch import report, say, table

sys.path.insert(0, str(scratch.ROOT))

from stages.base import paths
from stages.data import photos as photo_tables
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import CONTEST

DIFFERENT = 700
STEMS = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")
THUMBNAILS = 8000
LIMIT = 0.2  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = Path(folder) / "project"
        project.mkdir()
        os.chdir(project)
        lay_out(options.photos // 7)
        say("laid out")
        server = Server.started(project)
        try:
            measured, memory = asked(server, options.decisions)
            in_browser = pressed(server, min(100, options.decisions)) if shutil.which("chromium") else {}
            memory.append(("after the browser", server.memory()))
        finally:
            server.process.terminate()
            server.process.wait(60)
        kept = sum(1 for _ in paths.CORRECTIONS.open()) - 1
    tell(server, measured, in_browser, memory, kept)


def lay_out(people: int) -> None:
    """A project of so many people, without pixel caches."""
    drawn = np.random.default_rng(0)
    Path("params.yaml").write_text("seed: 0\n")
    originals = Path("originals")
    originals.mkdir()
    for number in range(DIFFERENT):
        coarse = Image.fromarray(drawn.integers(0, 255, (10, 8, 3), np.uint8))
        coarse.resize((150, 200), Image.Resampling.BICUBIC).save(originals / f"{number}.jpg", quality=90)
    rows = []
    for person in range(people):
        name, gender, age = f"{person:06d}", int(drawn.integers(2)), int(drawn.integers(18, 80))
        (paths.TRAIN_IMAGES / name).mkdir(parents=True)
        for place, stem in enumerate(STEMS):
            os.link(originals / f"{(7 * person + place) % DIFFERENT}.jpg", paths.TRAIN_IMAGES / name / f"{stem}.jpg")
            rows.append((name, f"{name}/{stem}.jpg", max(0, place - 4), gender, age))
    found = pd.DataFrame(rows, columns=["group", "file", "mask", "gender", "age"])
    found = found.assign(label=CONTEST.labels(found), content="0" * 16)
    tasks.write(CONTEST)
    photo_tables.write(CONTEST, found, found.drop_duplicates("group")[["group", "gender", "age"]])
    ends = found.drop_duplicates("group").iloc[::2]
    genders = CONTEST.axis("gender").levels
    suspects = pd.DataFrame(
        {"id": ends["group"], "axis": "gender", "given": [genders[code] for code in ends["gender"]]}
    )
    suspects["suggested"] = [genders[1 - code] for code in ends["gender"]]
    suspects = suspects.assign(score=0.5, ambiguous=0, why="7 of 7 photos look so")
    paths.SUSPECTS.parent.mkdir(parents=True)
    suspects.to_csv(paths.SUSPECTS, index=False)


@dataclass
class Server:
    """A running `maskcli review`."""

    process: subprocess.Popen[str]
    url: str
    start: float  # seconds from the command to its URL
    cookie: str = ""
    connection: http.client.HTTPConnection = field(init=False)

    @staticmethod
    def started(project: Path) -> "Server":
        words = [str(scratch.BIN / "maskcli"), "review", "--port", "0", "--json", "--who", "bench"]
        began = time.perf_counter()
        process = subprocess.Popen(words, cwd=project, env=scratch.ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        server = Server(process, url, time.perf_counter() - began)
        parts = urlsplit(url)
        server.connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=60)
        token = parse_qs(parts.query)["token"][0]
        server.cookie = f"maskcli_review_{parts.port}={token}"
        return server

    def ask(self, path: str, body: Any = None) -> bytes:
        headers = {"Cookie": self.cookie, "Origin": f"http://{self.connection.host}:{self.connection.port}"}
        headers |= {"Host": f"{self.connection.host}:{self.connection.port}"}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        content = None if body is None else json.dumps(body).encode()
        self.connection.request("GET" if body is None else "POST", path, content, headers)
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise scratch.Failed(f"{path}: {answer.status} {said[:200]!r}")
        return said

    def memory(self) -> float:
        """Resident, MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def asked(server: Server, decisions: int) -> tuple[dict[str, list[float]], list[tuple[str, float]]]:
    """Seconds of each kind of request, and the server's memory as it went."""
    first = json.loads(server.ask("/question"))
    photos = json.loads(server.ask("/photos"))["total"]
    took = {"page": [timed(lambda: server.ask("/"))]}
    memory = [("after the first page", server.memory())]
    drawn = random.Random(0)
    at: dict[str, Any] = first

    def decide(key: str) -> None:
        """What a key makes the page ask for: the decision, then the next question."""
        nonlocal at
        one = at["question"]
        action = next(action for action in one["actions"] if action["key"] == key)
        body = {name: action[name] for name in ("id", "axis", "new")} | {"seen": one["seen"], "question": one["number"]}
        server.ask("/decide", body | {"who": ""})
        at = json.loads(server.ask(f"/question?way=next&from={one['number']}"))

    took["accept or keep"] = [timed(lambda: decide(drawn.choice("ak"))) for _ in range(decisions)]
    memory.append((f"after {decisions} decisions", server.memory()))
    took["next"] = [timed(lambda: server.ask(f"/question?way=after&from={drawn.randrange(5000)}")) for _ in range(200)]
    took["filter by a person"] = [
        timed(lambda: server.ask(f"/question?text={drawn.randrange(photos // 7):06d}")) for _ in range(50)
    ]
    took["filter by class"] = [timed(partial(server.ask, f"/question?class={one}")) for one in range(18)]
    took["list of photos"] = [
        timed(lambda: server.ask(f"/photos?page={drawn.randrange(photos // 60)}")) for _ in range(50)
    ]
    took["search"] = [timed(lambda: server.ask(f"/photos?text={drawn.randrange(1000)}")) for _ in range(50)]
    took["large photo"] = [timed(lambda: server.ask(f"/photo/{drawn.randrange(photos)}/large.jpg")) for _ in range(300)]
    for place in range(3):
        some = [timed(lambda: server.ask(f"/photo/{drawn.randrange(photos)}/small.jpg")) for _ in range(THUMBNAILS)]
        took.setdefault("thumbnail", []).extend(some)
        memory.append((f"after {(place + 1) * THUMBNAILS} thumbnails", server.memory()))
    return took, memory


def pressed(server: Server, keys: int) -> dict[str, list[float]]:
    """Seconds from a key to what it shows, in Chromium."""
    from playwright.sync_api import sync_playwright

    took: dict[str, list[float]] = {}
    ready = "() => !state.busy && [...document.querySelectorAll('.large img')].every((one) => one.complete)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})

        def open_page() -> None:
            page.goto(server.url)
            page.wait_for_selector(".large img")
            page.wait_for_function(ready)

        took["first page"] = [timed(open_page)]
        pressed_in_turn = ["a", "k"] * keys + ["s"] * 10 + ["u"] * 10 + ["ArrowRight"] * 10 + ["ArrowLeft"] * 10
        for key in [*pressed_in_turn, *["z", "z"] * 10, *["o", "q"] * 10, *["b", "q"] * 10]:

            def press(key: str = key) -> None:
                page.keyboard.press(key)
                page.wait_for_function(ready)

            took.setdefault(key, []).append(timed(press))
        browser.close()
    return took


def tell(
    server: Server,
    measured: dict[str, list[float]],
    in_browser: dict[str, list[float]],
    memory: list[tuple[str, float]],
    kept: int,
) -> None:
    def rows(took: dict[str, list[float]]) -> list[list[Any]]:
        return [
            [name, len(some), *(round(1000 * one, 1) for one in (statistics.median(some), max(some)))]
            for name, some in took.items()
        ]

    columns = ["", "times", "median, ms", "most, ms"]
    slow = [f"{name}: {max(some):.2f} s" for name, some in (measured | in_browser).items() if max(some) > LIMIT]
    goals = {
        "review_start_seconds": round(server.start, 2),
        "review_key_ms_most": round(1000 * max(max(some) for name, some in measured.items() if name != "page"), 1),
        "review_first_page_ms": round(1000 * measured["page"][0], 1),
        "review_growth_mb": round(memory[-1][1] - memory[-3][1], 1),
    }
    report(
        goals,
        [
            table("Over HTTP", columns, rows(measured)),
            table("In Chromium, from the key to the screen", columns, rows(in_browser)),
            table("Memory of the server", ["", "MB"], [[name, round(one, 1)] for name, one in memory]),
        ],
        [f"{kept} decisions in corrections.csv.", f"Above {LIMIT} s: {', '.join(slow) or 'none'}."],
    )


if __name__ == "__main__":
    main()
