"""The commands from photos to a submission, one after the other: wall time, how busy the GPU was, when its work began."""

import csv
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import scratch
import yaml
from scratch import ROOT, Failed, say

COMMANDS = ("prepare", "kfold", "lr-find", "folds", "oof-ensemble", "tta-predict")
DRAWN, EVAL_DRAWN = 60, 30  # people that are drawn; the rest are their photos under other names
PHOTOS = 7  # of a person
SAMPLES = 200  # ms between two looks at the GPU
PROGRESS = re.compile(r": \d+/\d+")

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Project:
    """What is trained: params over params.yaml's (or a preset's), people, and people to predict."""

    changes: dict[str, Any]
    people: int
    eval_people: int
    preset: Path = ROOT / "params.yaml"


def measure(project: Project, folder: Path, log: Path, limit: float, environment: dict[str, str], tell: Tell) -> None:
    """Run COMMANDS in a new folder and tell of each as it ends. Raises Failed for one that fails or has no time left."""
    ends = time.monotonic() + limit
    params = make(project, folder)
    result: dict[str, Any] = counted(project, params) | {"commands": []}
    environment = scratch.ENVIRONMENT | environment
    with log.open("w") as lines, Sampler() as sampler:
        for name in COMMANDS:
            words = [sys.executable, "-m", "cli.main", name]
            found = run(words, folder, environment, lines, ends - time.monotonic())
            seen = sampler.between(found["began"], found["ended"])
            command = {"name": name, "seconds": round(found["ended"] - found["began"], 2), "busy": share(seen)}
            command["first_work"] = first_work(seen, found["began"])
            command["first_progress"] = found["first_progress"]
            result["commands"].append(command)
            tell(result)
            say(f"gpu: {name}: {command['seconds']} s, GPU busy {command['busy']}, first at {command['first_work']} s")
    result["imports"] = imports(folder, environment, ends - time.monotonic())
    tell(result)


def make(project: Project, folder: Path) -> dict[str, Any]:
    """Lay out the project; its params."""
    folder.mkdir(parents=True)
    params: dict[str, Any] = yaml.safe_load(project.preset.read_text())
    for group, values in project.changes.items():
        params[group] = params[group] | values if isinstance(values, dict) else values
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    photos(folder / "data", project.people, project.eval_people)
    return params


def photos(folder: Path, people: int, eval_people: int) -> None:
    """The demo's data set of so many people: some are drawn, and linked again under other names, which costs no time."""
    from stages.data import demo_faces

    drawn = folder.parent / "drawn"
    demo_faces.write(drawn, people=min(DRAWN, people), eval_people=min(EVAL_DRAWN, eval_people))
    rows = table(drawn / "train" / "train.csv")
    made = []
    for number in range(people):
        row = dict(rows[number % len(rows)])
        source = drawn / "train" / "images" / row["path"]
        row["id"] = f"{number + 1:06d}"
        row["path"] = "_".join([row["id"], row["gender"], row["race"], row["age"]])
        target = folder / "train" / "images" / row["path"]
        target.mkdir(parents=True)
        for photo in source.iterdir():
            os.link(photo, target / photo.name)
        made.append(row)
    write_table(folder / "train" / "train.csv", made)
    rows, made = table(drawn / "eval" / "info.csv"), []
    (folder / "eval" / "images").mkdir(parents=True)
    for number in range(eval_people * PHOTOS):
        row = dict(rows[number % len(rows)])
        source = drawn / "eval" / "images" / row["ImageID"]
        row["ImageID"] = f"{number:06d}{row['ImageID']}"
        os.link(source, folder / "eval" / "images" / row["ImageID"])
        made.append(row)
    write_table(folder / "eval" / "info.csv", made)
    shutil.rmtree(drawn)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def counted(project: Project, params: dict[str, Any]) -> dict[str, int]:
    """Photos trained and passes predicted: each photo is in the training side of all folds but one, and is validated once an
    epoch, the last or best of which is its OOF prediction. lr-find's steps are not counted: they are overhead here.
    """
    folds, epochs, number = len(params["folds"]), params["train"]["epochs"], project.people * PHOTOS
    asked = project.eval_people * PHOTOS * folds * len(params["tta"]["views"])
    return {"photos": number, "trained": (folds - 1) * number * epochs, "predicted": number * epochs + asked}


def run(
    words: list[str], folder: Path, environment: dict[str, str], log: IO[str], limit: float, fails: bool = False
) -> dict[str, Any]:
    """Run a program; every line that it writes goes to the log with the seconds since its start.

    Raises Failed where it has no time left, and where it fails, unless it may (fails).
    """
    began = time.monotonic()
    print(f"== {' '.join(words[1:])}", file=log, flush=True)
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    timer = threading.Timer(max(0.0, limit), end, [process])
    timer.start()
    last, progress = "no output", -1.0
    try:
        for line in process.stdout:
            at = time.monotonic() - began
            print(f"{at:8.2f} {line.rstrip()}", file=log, flush=True)
            last = line.strip() or last
            if progress < 0 and PROGRESS.search(line):
                progress = round(at, 2)
        code = process.wait()
    except BaseException:  # also where a person or a time limit ends this run
        end(process)
        raise
    late = not timer.is_alive()
    timer.cancel()
    if late:
        raise Failed(f"{words[-1]} had no time left: {last}"[:200])
    if code and not fails:
        raise Failed(f"{words[-1]} ended with {code}: {last}"[:200])
    return {"began": began, "ended": time.monotonic(), "first_progress": progress, "last": last, "code": code}


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a program and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Sampler:
    """How busy the GPU is, by nvidia-smi beside what runs: (time.monotonic(), percent); nothing where there is none."""

    seen: list[tuple[float, float]] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Sampler":
        which = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
        words = ["nvidia-smi", "-i", which, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        here, there = pty.openpty()  # a terminal is written to line by line, a pipe perhaps not
        try:
            self.process = subprocess.Popen([*words, "-lms", str(SAMPLES)], stdout=there, stderr=subprocess.DEVNULL)
        except OSError:
            os.close(here)
        else:
            threading.Thread(target=self._read, args=(here,), daemon=True).start()
        os.close(there)
        return self

    def _read(self, terminal: int) -> None:
        with suppress(OSError), os.fdopen(terminal) as lines:  # its end is an error
            for line in lines:
                with suppress(ValueError):  # of a card, or a part of one, that does not tell
                    self.seen.append((time.monotonic(), float(line)))

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def between(self, began: float, ended: float) -> list[tuple[float, float]]:
        return [(at, busy) for at, busy in self.seen if began <= at <= ended]


def share(seen: list[tuple[float, float]]) -> float:
    """Of the time, in which the GPU was busy; -1 where nothing is known."""
    return round(sum(busy for _, busy in seen) / len(seen) / 100, 3) if seen else -1.0


def first_work(seen: list[tuple[float, float]], began: float) -> float:
    """Seconds until the GPU was first seen busy; -1: never."""
    return next((round(at - began, 1) for at, busy in seen if busy > 0), -1.0)


def imports(folder: Path, environment: dict[str, str], limit: float) -> dict[str, float]:
    """Seconds that a training process's imports take, and the largest packages' share of it."""
    words = [sys.executable, "-X", "importtime", "-c", "import stages.parallel.preloaded"]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=max(1.0, limit), check=True
    )
    return import_seconds(done.stderr)


def import_seconds(printed: str) -> dict[str, float]:
    """What -X importtime printed, as seconds: `all`, and of what each of the five slowest packages runs itself."""
    own: dict[str, float] = {}
    for line in printed.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(parts) == 3 and parts[0].strip().isdecimal():
            package = parts[2].strip().partition(".")[0]
            own[package] = own.get(package, 0.0) + int(parts[0]) / 1e6
    slowest = sorted(own, key=lambda name: own[name], reverse=True)[:5]
    return {"all": round(sum(own.values()), 2)} | {name: round(own[name], 2) for name in slowest}
