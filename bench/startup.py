"""What it costs to start: `maskcli --help`, every stage on almost no data, and `dvc repro` with nothing to do.

python bench/startup.py [--rounds 5]

startup_help_seconds: median wall time of `maskcli --help`; `python -c pass` stands beside it. Heavy modules: which of them
are in sys.modules after `maskcli [command] --help`. A stage's fixed cost: its command on 24 people and two folds,
with one epoch; beside it what the interpreter and the imports take of it, as a process that imports what the command
imported, in the same order, and does nothing. startup_dvc_repro_ratio: `dvc repro` with nothing to do in a finished project
over the same in its twin, a project with the same stages, deps, outs, params and files, where every command is `true`. A
third project, of one stage with one dependency, shows what DVC costs at least. All in turn, so that a busy machine slows
all.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import scratch
import yaml
from scratch import say

HEAVY = (
    "torch",
    "pandas",
    "sklearn",
    "dvc",
    "numpy",
    "scipy",
    "timm",
    "albumentations",
    "matplotlib",
    "cv2",
)
# Ends as `maskcli WORDS` does, and prints which modules were imported, in their order.
IMPORTED = """
import json, sys
sys.argv = ["maskcli", *sys.argv[1:]]
from cli.main import run
try:
    run()
except SystemExit as end:
    if end.code:
        raise
print(json.dumps([name for name in sys.modules if name != "__main__"]))
"""
IMPORT = """
import importlib, json, sys
from stages.base.garbage import collect_seldom
collect_seldom()
for name in json.load(open(sys.argv[1])):
    try:
        importlib.import_module(name)
    except Exception:
        pass  # parts that only their package can import
"""
SHORT: dict[str, Any] = {"train": {"epochs": 1}, "ensemble": {"replicates": 100}, "lr_find": {"steps": 10}}
DEMO = (132, 40)  # people and eval people of the demo, five folds
FEWEST, FEWEST_FOLDS = (24, 6), [0, 1]
STAGES = (
    ("prepare",),
    ("kfold",),
    ("lr-find",),
    ("train", "--fold", "0"),
    ("oof-ensemble",),
    ("tta-predict",),
    ("report",),
    ("compare", "HEAD", "workspace"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stage-rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-startup-") as name:
        folder = Path(name)
        helps = help_times(folder, options.rounds)
        heavy = heavy_modules(folder)
        finished, bare, smallest = folder / "finished", folder / "bare", folder / "smallest"
        finish(finished, DEMO, SHORT)
        twin(finished, bare)
        one_stage(folder / "least")
        repros = repro_times(finished, bare, folder / "least", options.rounds)
        finish(smallest, FEWEST, SHORT | {"folds": FEWEST_FOLDS})
        stages = stage_times(smallest, folder, options.stage_rounds)
    report(helps, heavy, repros, stages)


def help_times(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Wall times of each program, in turn."""
    programs: dict[str, tuple[str, ...]] = {
        "maskcli --help": ("maskcli", "--help"),
        "maskcli train --help": ("maskcli", "train", "--help"),
        "python -c 'import typer, rich.console'": (sys.executable, "-c", "import typer, rich.console"),
        "python -c pass": (sys.executable, "-c", "pass"),
    }
    for words in programs.values():
        scratch.run(folder, *words)  # the first time reads from the disk and compiles
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(2 * rounds):
        for name, words in programs.items():
            found[name].append(scratch.timed(folder, *words))
    for name, times in found.items():
        say(f"{name}: {statistics.median(times):.3f} s")
    return found


def heavy_modules(folder: Path) -> list[list[str]]:
    """For `maskcli --help` and each command's: its heavy modules."""
    from typer.main import get_command

    sys.path.insert(0, str(scratch.ROOT))
    from cli.main import app

    rows = []
    for name in ["", *sorted(get_command(app).commands)]:  # type: ignore[attr-defined]
        words = [name, "--help"] if name else ["--help"]
        modules = set(imported(folder, *words))
        found = [heavy for heavy in HEAVY if heavy in modules]
        rows.append([f"maskcli {' '.join(words)}", ", ".join(found) or "none"])
    return rows


def imported(folder: Path, *words: str) -> list[str]:
    """Names of all modules that a command imports, in order."""
    return json.loads(scratch.run(folder, sys.executable, "-c", IMPORTED, *words).strip().splitlines()[-1])


def finish(folder: Path, people: tuple[int, int], changes: dict[str, Any]) -> None:
    """A project after `dvc repro`, committed."""
    scratch.make(folder, *people, changes, dvc=True)
    say(f"dvc repro with {people[0]} people")
    scratch.run(folder, "dvc", "repro", "--quiet")
    commit(folder)


def commit(folder: Path) -> None:
    scratch.run(folder, "git", "add", "-A")
    scratch.run(
        folder, "git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "-qm", "finished"
    )


def twin(finished: Path, bare: Path) -> None:
    """The same project with `true` for every command, its outs taken as they are by `dvc commit`."""
    shutil.copytree(finished, bare, symlinks=True)
    stages = yaml.safe_load((bare / "dvc.yaml").read_text())
    for stage in stages["stages"].values():
        stage["cmd"] = "true"
    (bare / "dvc.yaml").write_text(yaml.safe_dump(stages, sort_keys=False))
    scratch.run(bare, "dvc", "commit", "--force", "--quiet")
    commit(bare)


def one_stage(folder: Path) -> None:
    """A finished project of one stage, which copies a file."""
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "dvc.yaml").write_text("stages: {copy: {cmd: cp a b, deps: [a], outs: [b]}}")
    scratch.run(folder, "git", "init", "--quiet")
    scratch.run(folder, "dvc", "init", "--quiet")
    scratch.run(folder, "dvc", "repro", "--quiet")
    commit(folder)


def repro_times(finished: Path, bare: Path, least: Path, rounds: int) -> dict[str, list[float]]:
    """Wall times of `dvc repro` with nothing to do, in turn, after one that warms up DVC's state."""
    folders = {"maskcli's project": finished, "its twin with `true`": bare, "a project of one stage": least}
    found: dict[str, list[float]] = {name: [] for name in folders}
    for folder in folders.values():
        if "Running stage" in scratch.run(folder, "dvc", "repro"):
            raise scratch.Failed(f"dvc repro in {folder.name} had something to do")
    for number in range(rounds):
        for name in list(folders)[:: 1 if number % 2 else -1]:
            found[name].append(scratch.timed(folders[name], "dvc", "repro"))
    for name, times in found.items():
        say(f"dvc repro with nothing to do, {name}: {statistics.median(times):.2f} s")
    return found


def stage_times(project: Path, folder: Path, rounds: int) -> list[list[Any]]:
    """For each stage: median wall time, and how much of it the interpreter and the imports are, seconds."""
    rows = []
    for words in STAGES:
        listed = folder / "modules.json"
        listed.write_text(json.dumps(imported(project, *words)))
        whole, imports = [], []
        for _ in range(rounds):
            shutil.rmtree(project / "out/checkpoints", ignore_errors=True)
            whole.append(scratch.timed(project, "maskcli", *words))
            imports.append(scratch.timed(project, sys.executable, "-c", IMPORT, listed))
        total, part = statistics.median(whole), statistics.median(imports)
        say(f"maskcli {' '.join(words)}: {total:.2f} s, imports {part:.2f} s")
        rows.append([f"maskcli {' '.join(words)}", round(total, 2), round(part, 2), round(max(0.0, total - part), 2)])
    return rows


def report(
    helps: dict[str, list[float]], heavy: list[list[str]], repros: dict[str, list[float]], stages: list[list[Any]]
) -> None:
    ours, bare, least = repros.values()
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    goals = {
        "startup_help_seconds": statistics.median(helps["maskcli --help"]),
        "startup_python_seconds": statistics.median(helps["python -c pass"]),
        "startup_help_heavy_modules": float(sum(row[1] != "none" for row in heavy)),
        "startup_dvc_repro_ratio": statistics.median(ours) / statistics.median(bare),
        "startup_dvc_repro_over_one_stage": statistics.median(ours) / statistics.median(least),
    }
    goals |= {f"startup_{row[0].split()[1].replace('-', '_')}_seconds": row[1] for row in stages}
    columns = ["program", "median, s", "lowest", "highest"]

    def rows(found: dict[str, list[float]]) -> list[list[Any]]:
        return [[name, *(round(of(times), 3) for of in (statistics.median, min, max))] for name, times in found.items()]

    tables = [
        scratch.table("Help", columns, rows(helps)),
        scratch.table("Heavy modules that are imported", ["command", "modules"], heavy),
        scratch.table("`dvc repro` with nothing to do", columns, rows(repros)),
        scratch.table(
            f"Fixed cost of each stage ({FEWEST[0]} people, {len(FEWEST_FOLDS)} folds, one epoch)",
            ["command", "all, s", "interpreter and imports, s", "the rest, s"],
            stages,
        ),
    ]
    notes = [
        f"Heavy modules looked for: {', '.join(HEAVY)}. (A command's --help imports pydantic: typer reads options with it.)",
        "The twin of the finished project has the same dvc.yaml (stages, deps, outs, params, plots), files and cache; only "
        "its commands are `true`. With nothing to do no command runs, so that what is compared is all that the files of the "
        f"project and their hashes cost. Ratio, lowest and highest round: {min(ratios):.3f}, {max(ratios):.3f}.",
        "Wall times, the files read before and so in the page cache.",
    ]
    scratch.report(goals, tables, notes)


if __name__ == "__main__":
    main()
