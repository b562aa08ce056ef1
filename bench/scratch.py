"""What bench scripts share: a project folder of their own with the demo data, programs run and timed in it, tables."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# This working tree's code, and the programs that stand beside this Python.
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "NO_COLOR": "1",
    "PYTHONWARNINGS": "ignore",
}


class Failed(Exception):
    """A program that did not end well: its words and the last line that it wrote."""


def make(folder: Path, people: int, eval_people: int, changes: dict[str, Any], dvc: bool = False) -> None:
    """Lay out a project on demo data, nothing run yet. changes: keys of params.yaml; dvc: with git and DVC."""
    folder.mkdir(parents=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for group, values in changes.items():
        params[group] = params[group] | values if isinstance(values, dict) else values
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    words = ("--people", str(people), "--eval-people", str(eval_people))
    run(folder, "maskcli", "demo-data", "data", *words)
    if not dvc:
        return
    for name in ("dvc.yaml", ".gitignore", ".dvcignore", ".dvc", "stages", "pseudo"):
        copy(ROOT / name, folder / name)
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "add", "--quiet", "data")


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    else:
        shutil.copy(source, target)


def run(folder: Path, *words: object, **environment: str) -> str:
    """Run a program in a folder and return what it prints. Raises Failed."""
    try:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            timeout=3600,
        )
    except FileNotFoundError:
        raise Failed(f"{words[0]} does not stand beside {Path(sys.executable).name}; run `make install`") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise Failed(
            f"{' '.join(Path(str(word)).name for word in words[:4])} ended with {done.returncode}: {lines[-1]}"
        )
    return done.stdout


def timed(folder: Path, *words: object, **environment: str) -> float:
    """Wall time of a program, seconds. Raises Failed."""
    began = time.perf_counter()
    run(folder, *words, **environment)
    return time.perf_counter() - began


def table(title: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "columns": columns, "rows": rows}


def report(goals: dict[str, float], tables: list[dict[str, Any]], notes: list[str]) -> None:
    """Print the one line of JSON that bench/run.py reads."""
    print(json.dumps({"goals": goals, "tables": tables, "notes": notes}))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
