"""make versions: the fast tests beside every Python found here, with the lowest and the newest libraries that are allowed.

An environment's name says what it is made of:
  3.12-lowest   the lowest version of each direct dependency that pyproject.toml allows and that has a wheel for this Python
  3.12-newest   the newest of all; torch as the package index gives it, which on Linux is a CUDA build
  3.12-newest-cpu, 3.12-lowest-cpu   the same with torch's CPU build, from torch's own index
  3.12-pinned   constraints.txt by pip, as `make install` does; a CPU build of torch where pip knows of one
A Python that is not found is skipped by name; an environment that stands already is used again. With DEMO=1 each runs
`make demo` too, in a copy. Every session leaves what it found for .ci/versions_table.py, which tells of it in a line.
"""

import datetime
import json
import os
import platform
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import nox
from nox.command import CommandFailed

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
KINDS = ("lowest", "newest", "lowest-cpu", "newest-cpu", "pinned")
# Wheels only, so that "lowest" means what an installer would take; this one has never had a wheel.
WHEELS = ("--only-binary", ":all:", "--no-binary", "antlr4-python3-runtime")
TELL = (
    "import json, platform, importlib.metadata as m; from stages.base.environment import installed; "
    "print(json.dumps({'python': platform.python_version(), 'torch': installed('torch'), 'numpy': m.version('numpy')}))"
)
ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / ".versions/results"

nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"


def interpreter(version: str) -> str:
    """A Python of this version that runs, on PATH or under pyenv; its plain name, which nox skips, if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True),
    ]
    for candidate in filter(
        None, candidates
    ):  # pyenv's own python3.x on PATH fails where that version is not switched on
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    return version


def install(session: nox.Session, kind: str) -> None:
    """Dependencies of one kind, then this project over them."""
    if kind == "pinned":
        session.run("uv", "pip", "install", "--quiet", "pip", silent=True)
        session.run("python", "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", ".[test]", silent=True)
        return
    resolution, _, build = kind.partition("-")
    backend = ("--torch-backend", build) if build else ()
    words = ("--resolution", RESOLUTIONS[resolution], *WHEELS, *backend, "-r", "pyproject.toml", "--extra", "test")
    session.run("uv", "pip", "install", "--quiet", *words, silent=True)
    session.run("uv", "pip", "install", "--quiet", "--no-deps", "-e", ".", silent=True)


def tests(session: nox.Session, report: Path) -> dict[str, object]:
    """Run the fast tests, or those that words behind `--` name: how many passed, and the names of those that failed."""
    report.unlink(missing_ok=True)
    split = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
    began = time.monotonic()
    session.run(
        *("python", "-m", "pytest", *split, "-p", "no:cacheprovider", f"--junitxml={report}", *session.posargs),
        success_codes=range(256),
        env={"COLUMNS": "160"},
    )
    cases = list(ET.parse(report).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    return {
        "passed": len(cases) - len(failed) - len(skipped),
        "skipped": len(skipped),
        "failed": sorted({f"{case.get('classname')}::{case.get('name')}" for case in failed}),
        "chosen": list(session.posargs),
        "seconds": round(time.monotonic() - began),
    }


def demo(session: nox.Session) -> dict[str, float]:
    """`make demo` in a copy of what git knows of: the OOF macro F1 it ends with."""
    place = Path(session.create_tmp()) / "demo"
    shutil.rmtree(place, ignore_errors=True)
    for name in subprocess.check_output(["git", "ls-files", "-z"], text=True).split("\0"):
        if name and name != "data.dvc":
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, place / name)
    with session.chdir(place):
        session.run("git", "init", "-q", external=True)
        session.run("make", "-o", "install", "demo", external=True)
    return {"macro_f1": json.loads((place / "out/oof-ensemble/metrics.json").read_text())["macro_f1"]}


def look(session: nox.Session, kind: str) -> None:
    """One environment: fill it, run what is asked, leave what was found."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = RESULTS / f"{session.name}.json"
    system = f"{platform.system()} {platform.machine()}"
    record.unlink(missing_ok=True)
    found: dict[str, object] = {"environment": session.name, "system": system, "date": f"{datetime.date.today()}"}
    try:
        install(session, kind)
    except CommandFailed:
        record.write_text(json.dumps(found | {"built": False}))
        session.error("could not be filled")
    found |= {"built": True} | json.loads(str(session.run("python", "-c", TELL, silent=True)))
    found |= tests(session, RESULTS / f"{session.name}.xml")
    record.write_text(json.dumps(found))
    if os.environ.get("DEMO"):
        record.write_text(json.dumps(found | {"macro_f1": None}))  # what stands where the demo breaks off
        record.write_text(json.dumps(found | demo(session)))
    if found["failed"]:
        session.error(f"{len(found['failed'])} failed")


for version in PYTHONS:
    for kind in KINDS:

        def session(session: nox.Session, kind: str = kind) -> None:
            look(session, kind)

        nox.session(session, name=f"{version}-{kind}", python=interpreter(version), venv_backend="uv")
