"""Runs the speed measurements one after the other, and writes bench/results.json and bench/RESULTS.md.

python bench/run.py [--only input,startup]      (or: make bench)

Every script prints one JSON object as its last line: {"goals": {key: number}, "tables": [{"title", "columns", "rows"}],
"notes": [text]}. A script that fails stands in the file with its last line, and the others go on. With --only, the other
scripts keep the results that bench/results.json has of them, each with its own date, commit and machine.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "bench/results.json", ROOT / "bench/RESULTS.md"
SCRIPTS = ("input", "cross_validation", "screen", "inference", "predict", "export", "scale", "startup", "serve", "gpu")
LIMIT = 3600  # seconds for one script
PACKAGES = (
    *("torch", "torchvision", "timm", "accelerate", "numpy", "pandas", "scikit-learn", "albumentations"),
    *(
        "opencv-python-headless",
        "pillow",
        "dvc",
        "typer",
        "lightning",
        "fastai",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "openvino",
    ),
)


@dataclass(frozen=True)
class Goal:
    """A bound on every key that fits a pattern of file names."""

    keys: str
    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


GOALS = (
    Goal("input_ratio_*", at_least=0.97),
    Goal("cv_ratio_to_fastest_peer", at_most=0.6),
    Goal("screen_seconds_10x5x5", at_most=120),
    Goal("inference_ratio_*", at_least=0.9),
    Goal("predict_ratio_*", at_least=0.9),
    Goal("predict_peak_gb", at_most=1),
    Goal("scale_*exponent*", at_most=1.1),
    Goal("gpu_end_to_end*_ratio", at_most=1.5),
    Goal("gpu_end_to_end*_busy", at_least=0.8),
    Goal("gpu_epoch_ratio_*", at_least=0.97),
    Goal("gpu_over_timm_*", at_least=1.3),
    Goal("gpu_jpeg_ratio", at_least=0.9),
    Goal("startup_help_seconds", at_most=0.3),
    Goal("startup_help_heavy_modules", at_most=0),
    Goal("startup_dvc_repro_ratio", at_most=1.3),
    Goal("serve_soak_errors_5xx", at_most=0),
    Goal("serve_soak_wrong_answers", at_most=0),
    Goal("serve_soak_growth_mb", at_most=10),
    Goal("serve_soak_growth_fds", at_most=0),
    Goal("serve_soak_growth_threads", at_most=0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SCRIPTS), help="scripts to run, with commas between them")
    chosen = parser.parse_args().only.split(",")
    unknown = [name for name in chosen if name not in SCRIPTS]
    if unknown:
        parser.error(f"--only: there is no {unknown[0]}; name some of {', '.join(SCRIPTS)}")
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"scripts": {}}
    here = machine()
    for name in chosen:
        print(f"== bench/{name}.py", file=sys.stderr, flush=True)
        found = joined(found, name, measure(name) | {"machine": here})
        # After each script, so that what is measured stays where a later one is interrupted.
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        PAGE.write_text(page(found))
    failed = [name for name in chosen if "error" in found["scripts"][name]]
    for row in verdicts(found["goals"]):
        print("  ".join(row))
    print(
        f"{RESULTS.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}" + (f"; failed: {', '.join(failed)}" if failed else "")
    )


def joined(found: dict[str, Any], name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Results with those of one script put in the place of its older ones; the goals of all scripts, flat."""
    scripts = found["scripts"] | {name: result}
    ordered = {script: scripts[script] for script in SCRIPTS if script in scripts}
    goals = {key: value for script in ordered.values() for key, value in script.get("goals", {}).items()}
    return {"goals": goals, "scripts": ordered}


def measure(name: str) -> dict[str, Any]:
    """Run one script: its goals, tables and notes, or `error`; with date, commit and seconds taken."""
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
    }
    began = time.monotonic()
    found = run(ROOT / "bench" / f"{name}.py")
    return result | {"seconds": round(time.monotonic() - began)} | found


def run(script: Path, limit: float = LIMIT) -> dict[str, Any]:
    """What a script reports, or {"error": one line}; its talk is passed on to stderr as it comes."""
    if not script.exists():
        return {"error": f"there is no {script.name}"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    environment.pop("OMP_NUM_THREADS", None)  # left over in a shell, it would hide cores from all that is measured
    last = ""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stderr is not None
        timer = threading.Timer(limit, process.kill)
        timer.start()
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
        process.wait()
        timed_out = not timer.is_alive()
        timer.cancel()
        out.seek(0)
        printed = out.read().strip()
    if timed_out:
        return {"error": f"took more than {limit:g} s; its last line: {shown(last)}"}
    if process.returncode:
        return {"error": shown(last) or f"ended with {process.returncode}"}
    return read(printed)


def read(printed: str) -> dict[str, Any]:
    """The JSON object in a script's last line, or {"error": why not}."""
    try:
        found = json.loads(printed.splitlines()[-1])
        return {"goals": dict(found["goals"]), "tables": list(found["tables"]), "notes": list(found["notes"])}
    except (IndexError, ValueError, KeyError, TypeError) as error:
        return {"error": f"its last line is not the JSON that is asked for ({type(error).__name__}: {error})"}


def shown(line: str) -> str:
    """A line without this folder's own place."""
    return line.replace(f"{ROOT}{os.sep}", "")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU, system and versions."""
    return {
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": memory(),
        "gpu": output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: known for name in PACKAGES if (known := installed(name))},
    }


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory() -> float | None:
    """RAM, GiB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """The git revision, short, with + where files other than the results differ from it."""
    revision = output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    results = (":(exclude)bench/results.json", ":(exclude)bench/RESULTS.md")
    changed = output("git", "-C", str(ROOT), "status", "--porcelain", "-uno", "--", ".", *results)
    return f"{revision}{'+' if changed else ''}" if revision else "unknown"


def output(*words: str) -> str:
    """What a program prints; nothing if it is not there or fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def verdicts(goals: dict[str, float]) -> list[list[str]]:
    """Rows key, measured, goal, met or not: those with a goal first, goals that nothing measured among them."""
    rows = []
    for goal in GOALS:
        keys = sorted(key for key in goals if fnmatch(key, goal.keys))
        rows += [[key, number(goals[key]), str(goal), "met" if goal.met(goals[key]) else "not met"] for key in keys]
        if not keys:
            rows.append([goal.keys, "not measured", str(goal), "unknown"])
    others = sorted(key for key in goals if not any(fnmatch(key, goal.keys) for goal in GOALS))
    return rows + [[key, number(goals[key]), "", ""] for key in others]


def page(found: dict[str, Any]) -> str:
    """RESULTS.md, whole."""
    newest = max(found["scripts"].values(), key=lambda script: script["date"])["machine"]
    parts = [
        "# Measured: speed",
        "Written by `bench/run.py` from [results.json](results.json); do not edit. `make bench` measures all of it anew,\n"
        "`.venv-bench/bin/python bench/run.py --only input,startup` some of it, and each script runs by itself too\n"
        "(`python bench/NAME.py --help`). Set `TIMM_TRAIN` to the `train.py` of a timm checkout to have it among the peers.\n"
        "[STATISTICS.md](STATISTICS.md) has what was measured about choices, kills and time limits.",
        *machine_lines(newest),
        "## Goals",
        table(["key", "measured", "goal", "verdict"], [[f"`{row[0]}`", *row[1:]] for row in verdicts(found["goals"])]),
    ]
    for name, script in found["scripts"].items():
        parts.append(f"## `bench/{name}.py`")
        parts.append(f"{script['date']}, commit {script['commit']}, {script['seconds']} s.")
        if script["machine"] != newest:
            parts.append("On another machine or with other versions than above:")
            parts += machine_lines(script["machine"])
        if "error" in script:
            parts.append(f"Failed: {script['error']}")
        for one in script.get("tables", []):
            parts += [f"{one['title']}:", table(one["columns"], one["rows"])]
        if script.get("notes"):
            parts.append("\n".join(f"- {note}" for note in script["notes"]))
    return "\n\n".join(parts) + "\n"


def machine_lines(here: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {known}" for name, known in here["versions"].items())
    memory_text = f"{here['memory_gib']} GiB" if here["memory_gib"] else "unknown memory"
    return [
        f"Machine: {here['cpu']}, {here['cores']} cores, {memory_text}, GPU: {here['gpu']}; {here['system']}; "
        f"Python {here['python']}; {versions}."
    ]


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(number(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def number(cell: Any) -> str:
    """A cell as text: floats with four significant digits, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return str(cell)


if __name__ == "__main__":
    main()
