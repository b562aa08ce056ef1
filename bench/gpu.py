"""One prepared run for whoever has a CUDA GPU: tests, end to end, steps, JPEG, prediction, memory; at most 8 minutes.

python bench/gpu.py --out gpu.json               (prints tables; writes gpu.json after every part, and logs beside it)
python bench/gpu.py --only steps,jpeg --minutes 3 --models efficientnet_b0
python bench/gpu.py --device cpu --tiny          (tries the script: its figures mean nothing)

  tests       pytest -m gpu, first: figures of code that is wrong are worth nothing.
  end_to_end  prepare, kfold, lr-find, folds, oof-ensemble and tta-predict on drawn faces (mobilenetv2_100 160x120, batch
              64, 6 epochs, five folds): wall time over the photos trained and predicted at the rates of `steps`; how busy
              the GPU was; when each command first worked on it. --contest: the contest's preset too (12 epochs).
  steps       each model, bf16 and channels_last: a step on a resident batch (the ceiling), as CUDA graphs and eager; an
              epoch from the pixel cache; what the memory's bandwidth allows (bench/gpu_floor.py). --compile: with
              torch.compile too, for the first model; minutes. Beside it what the processor takes to give the GPU a step.
  together    one, two and four trainings at once: processes; under NVIDIA's MPS where it is there; in one process on
              streams (bench/gpu_together.py): the papers' ResNet-32, and mobilenetv2_100.
  timm        timm's own step beside it, each model in a process of its own, with the algorithms that cudnn.benchmark finds
              there; and ours with these.
  jpeg        an epoch of photos decoded on the fly, over the ceiling; the decoder alone.
  prediction  five folds x two views over the same models' forward passes.
  memory      of a training, captured and eager, and of two processes.

A part that fails or takes too long says so in one line, and the others go on. Without --out the last line of stdout is the
JSON that bench/run.py reads.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gpu_end_to_end
import gpu_mps
import gpu_table
import scratch
from scratch import ROOT, say

KINDS = ("tests", "end_to_end", "steps", "together", "timm", "jpeg", "prediction", "memory")
# Seconds that a part may take on a GPU.
LIMITS = {
    "tests": 150,
    "end_to_end": 150,
    "steps": 90,
    "together": 60,
    "timm": 75,
    "jpeg": 60,
    "prediction": 45,
    "memory": 75,
}
APART = ("together", "timm")  # each in a process of its own
COMPILING = 240  # more, for --compile
CONTEST = 300  # of end to end with the contest's preset
SLOW = 10  # times as long on a CPU
MODELS = (("efficientnet_b0", 224, 224, 128), ("mobilenetv2_100", 160, 120, 64), ("convnext_tiny", 224, 224, 128))
CONTEST_MODEL = ("efficientnet_b0", 224, 168, 64)
TINY_MODEL = ("test_resnet", 32, 32, 8)
PAPERS_MODEL, TINY_PAPERS_MODEL = ("cifar_resnet32", 32, 32, 128), ("cifar_resnet8", 32, 32, 8)
PRESET = ROOT / "presets/contest.yaml"


@dataclass
class Book:
    """What was measured, written to a file whenever something is added."""

    path: Path
    ends: float  # time.monotonic()
    machine: dict[str, Any]
    slow: int = 1
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def plan(self, name: str, kind: str, limit: float, setting: dict[str, Any] | None = None, **more: Any) -> None:
        self.parts[name] = {"kind": kind, "limit": limit * self.slow, "setting": setting, "result": {}, **more}

    def limit(self, name: str) -> float:
        """Seconds that a part has left."""
        return max(0.0, min(float(self.parts[name]["limit"]), self.ends - time.monotonic()))

    def note(self, name: str, **values: Any) -> None:
        self.parts[name] |= values
        scratch_file = self.path.with_suffix(".tmp")
        scratch_file.write_text(
            json.dumps({"machine": self.machine, "parts": self.parts} | self.shown(), indent=1) + "\n"
        )
        scratch_file.replace(self.path)

    def fail(self, name: str, why: str) -> None:
        say(f"gpu: {name}: {why}")
        self.note(name, error=why)

    def shown(self) -> dict[str, Any]:
        on_gpu = bool(self.machine["gpu"])
        noted = [
            ", ".join(f"{key} {value or 'none'}" for key, value in self.machine.items()),
            *gpu_table.notes(self.parts),
        ]
        return {
            "goals": gpu_table.goals(self.parts) if on_gpu else {},
            "tables": gpu_table.tables(self.parts),
            "notes": noted,
        }


def main() -> None:
    options = _options()
    machine = _machine(options.device)
    if options.device == "cuda" and not machine["gpu"]:
        note = "no CUDA GPU here: nothing is measured (python bench/gpu.py on a machine that has one)"
        say(note)
        scratch.report({}, [], [note])
        return
    with tempfile.TemporaryDirectory(prefix="maskcli-bench-", ignore_cleanup_errors=True) as folder:
        path = Path(options.out).resolve() if options.out else Path(folder) / "gpu.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        slow = SLOW if options.device == "cpu" else 1
        book = Book(path, time.monotonic() + 60 * options.minutes * slow, machine, slow)
        _plan(book, options)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            measure(book, options, Path(folder))
        except KeyboardInterrupt:
            say("gpu: cut off; what was measured until now follows")
        shown = book.shown()
    print("\n".join(as_text(shown)))
    if not options.out:
        scratch.report(**shown)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", help="file to write after every part, JSON; logs come beside it")
    parser.add_argument("--only", default=",".join(KINDS), help=f"kinds of parts, of {', '.join(KINDS)}")
    parser.add_argument("--models", default=",".join(model[0] for model in MODELS), help="of the steps")
    parser.add_argument("--minutes", type=float, default=8, help="for all; what has no time left is not begun")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--people", type=int, default=900, help="7 photos each, end to end")
    parser.add_argument("--eval-people", type=int, default=400)
    parser.add_argument("--compile", action="store_true", help="torch.compile too, of the first model")
    parser.add_argument("--contest", action="store_true", help="the contest's preset too, end to end")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few photos: only to try the script")
    options = parser.parse_args()
    options.only = options.only.split(",")
    for name in options.only:
        if name not in KINDS:
            parser.error(f"--only: there is no {name}; name some of {', '.join(KINDS)}")
    named = options.models.split(",")
    options.models = [model for name in named for model in MODELS if model[0] == name]
    if len(options.models) < len(named):
        parser.error(f"--models: name some of {', '.join(model[0] for model in MODELS)}")
    if options.tiny:
        options.models, options.people, options.eval_people = [TINY_MODEL], 12, 6
        options.seconds, options.rounds = 0.02, 1
    return options


def _machine(device: str) -> dict[str, Any]:
    """Asked in a process of its own: this one would keep memory of the GPU, and folds would take it for another's."""
    code = (
        "import torch; gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ''\n"
        "print(gpu); print(torch.__version__); print(torch.backends.cudnn.version())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    gpu, version, cudnn = done.stdout.split("\n")[:3]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"gpu": gpu if device == "cuda" else "", "cores": cores, "torch": version, "cudnn": cudnn}
    return found | {"python": platform.python_version()}


def _plan(book: Book, options: argparse.Namespace) -> None:
    """Name all parts in their order."""
    largest, small = options.models[0], TINY_MODEL if options.tiny else MODELS[1]
    for kind in KINDS:
        if kind not in options.only:
            continue
        if kind == "end_to_end":
            commands = len(gpu_end_to_end.COMMANDS)
            book.plan("end to end", kind, LIMITS[kind], _setting(small), commands=commands)
            if options.contest:
                book.plan("end to end, contest", kind, CONTEST, _setting(CONTEST_MODEL), commands=commands)
        elif kind == "together":
            for model in (TINY_PAPERS_MODEL if options.tiny else PAPERS_MODEL, small):
                book.plan(f"{kind} {model[0]} {model[1]}x{model[2]}", kind, LIMITS[kind], _setting(model))
        elif kind in ("steps", "timm"):
            models = [*options.models, CONTEST_MODEL] if options.contest else options.models
            for model in models:
                more = COMPILING if options.compile and model == largest else 0
                book.plan(f"{kind} {model[0]} {model[1]}x{model[2]}", kind, LIMITS[kind] + more, _setting(model))
        else:
            book.plan(kind, kind, LIMITS[kind], None if kind == "tests" else _setting(largest))


def _setting(model: tuple[str, int, int, int]) -> dict[str, Any]:
    return dict(zip(("model", "height", "width", "batch"), model, strict=True))


def measure(book: Book, options: argparse.Namespace, folder: Path) -> None:
    """All parts in order; those that compute in one process have it together."""
    environment = {"ACCELERATE_USE_CPU": "true"} if options.device == "cpu" else {}
    names = [name for name, part in book.parts.items() if part["kind"] not in ("end_to_end", "tests")]
    if "tests" in book.parts:
        _tests(book, options, environment)
    for name, part in book.parts.items():
        if part["kind"] == "end_to_end":
            _end_to_end(book, name, options, folder / name.replace(" ", "_"), environment)
    left = [name for name in names if book.parts[name]["kind"] not in APART]
    while left:
        left = _learning(book, left, options, folder, environment)
    for name in names:
        if book.parts[name]["kind"] == "timm":
            _learning(book, [name], options, folder, environment)
        elif book.parts[name]["kind"] == "together":
            _together(book, name, options, folder, environment)


def _end_to_end(book: Book, name: str, options: argparse.Namespace, folder: Path, environment: dict[str, str]) -> None:
    setting = book.parts[name]["setting"]
    say(f"gpu: {name}: {setting['model']}")
    train = {"batch_size": setting["batch"], "mixed_precision": "bf16", "epochs": 6}
    changes: dict[str, Any] = {"image": {"height": setting["height"], "width": setting["width"]}, "train": train}
    changes["model"] = {"name": setting["model"], "pretrained": False}
    if "contest" in name:
        train["epochs"] = 12
    if options.tiny:
        changes |= {"folds": [0, 1], "lr": 0.003, "lr_find": {"steps": 12}, "ensemble": {"replicates": 100}}
        train["epochs"] = 1
    project = gpu_end_to_end.Project(changes, options.people, options.eval_people)
    if "contest" in name:
        project = gpu_end_to_end.Project(changes, options.people, options.eval_people, PRESET)
    log = book.path.with_name(f"{book.path.stem}_{name.replace(', ', '_').replace(' ', '_')}.log")
    began = time.monotonic()

    def tell(result: dict[str, Any]) -> None:
        book.note(name, result=dict(result), seconds=round(time.monotonic() - began, 1))

    try:
        gpu_end_to_end.measure(project, folder, log, book.limit(name), environment, tell)
    except Exception as error:
        book.fail(name, f"{type(error).__name__}: {error}")


def _together(book: Book, name: str, options: argparse.Namespace, folder: Path, environment: dict[str, str]) -> None:
    """A part that MPS serves where it is there; its daemon ends here, whatever becomes of the part's process."""
    if options.device == "cpu":
        _learning(book, [name], options, folder, environment)
        return
    with gpu_mps.running(folder / f"mps_{time.monotonic_ns()}") as mps:
        if mps.why:
            book.note(name, mps=f"not measured under MPS: {mps.why}")
        _learning(book, [name], options, folder, environment, mps.environment)


def _learning(
    book: Book,
    names: list[str],
    options: argparse.Namespace,
    folder: Path,
    environment: dict[str, str],
    mps: dict[str, str] | None = None,
) -> list[str]:
    """Measure parts in a process of their own; those that are left where it died or had to be ended."""
    begun = [name for name in names if book.limit(name) > 0]
    for name in names:
        if name not in begun:
            book.fail(name, "no time was left for it")
    if not begun:
        return []
    plan = {
        "parts": [(name, book.parts[name]["kind"], book.parts[name]["setting"]) for name in begun],
        "seconds": options.seconds,
        "rounds": options.rounds,
        "photos": 64 if options.tiny else 2048,
        "compiled": options.models[0][0] if options.compile else "",
        "mps": mps or {},
    }
    events = folder / f"events_{time.monotonic_ns()}.jsonl"
    events.touch()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bench/gpu_learning.py"), json.dumps(plan), str(events)],
        env=scratch.ENVIRONMENT | environment,
        cwd=folder,
        start_new_session=True,
    )
    try:
        return _watched(book, begun, process, events)
    finally:
        gpu_end_to_end.end(process)
        process.wait()


def _watched(book: Book, names: list[str], process: subprocess.Popen[bytes], events: Path) -> list[str]:
    """Take down what a process tells until it ends, or until a part has had its time; the parts that it did not come to."""
    current, since = names[0], time.monotonic()
    left, limit = list(names), book.limit(current) + 30  # its imports
    with events.open() as file:
        while True:
            running = process.poll() is None
            for line in file:
                event = json.loads(line)
                current = event["part"]
                if event["state"] == "begun":
                    say(f"gpu: {current}")
                    left.remove(current)
                    since, limit = time.monotonic(), book.limit(current)
                elif event["state"] == "measured":
                    book.note(current, result=event["result"], seconds=round(time.monotonic() - since, 1))
                elif event["state"] == "failed":
                    book.fail(current, event["error"])
                else:
                    book.note(current, seconds=round(time.monotonic() - since, 1), done=True)
            if not running:
                break
            if time.monotonic() - since > limit:
                book.fail(current, f"took more than {limit:.0f} s; what it had measured by then stands")
                return [name for name in left if name != current]
            time.sleep(0.1)
    if process.returncode:
        book.fail(current, f"its process ended with {process.returncode}")
    return [name for name in left if name != current] if process.returncode else []


def _tests(book: Book, options: argparse.Namespace, environment: dict[str, str]) -> None:
    """The tests marked gpu; on a CPU they are only collected."""
    files = sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()
    )
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *files]
    words += ["--collect-only"] if options.device == "cpu" else ["-rfE", "-vv"]  # each by name: time may cut them off
    log = book.path.with_name(f"{book.path.stem}_tests.log")
    say("gpu: tests")
    try:
        with log.open("w") as lines:
            found = gpu_end_to_end.run(
                words, ROOT, scratch.ENVIRONMENT | environment, lines, book.limit("tests"), fails=True
            )
        book.note("tests", result={"summary": found["last"]}, seconds=round(found["ended"] - found["began"], 1))
        if found["code"]:
            book.fail("tests", f"pytest ended with {found['code']}; {log.name} has all lines")
    except Exception as error:
        book.fail("tests", f"{type(error).__name__}: {error}")


def as_text(shown: dict[str, Any], width: int = 80) -> list[str]:
    """Tables and notes in lines of at most `width` columns."""
    from cli import lines

    found = []
    for table in shown["tables"]:
        columns = [lines.Column(name, "number" if place else "text") for place, name in enumerate(table["columns"])]
        rows = [[_cell(cell) for cell in row] for row in table["rows"]]
        found += [text for text, _ in lines.table(lines.Table(columns, rows, table["title"]), width)] + [""]
    return found + [line for note in shown["notes"] for line in lines.paragraph(note, width)]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
