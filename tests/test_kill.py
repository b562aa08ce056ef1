"""Real `dvc repro` processes are killed at random moments; the same command goes on, and ends bit-identical.

Moments are told by how far a run has come, never by seconds, so that a busy machine changes nothing.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages import lr_find, train
from stages.base.talk import SILENT
from stages.learn import checkpoint
from tests.conftest import ENVIRONMENT, HANGS, ROOT, command, lay_out, small

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills process groups")

# Long enough to be hit in the middle, with everything on that has a state; checkpoints within epochs too.
CHANGES: dict[str, dict[str, Any]] = {
    "train": {"epochs": 8, "batch_size": 16, "ema_decay": 0.9, "select": "best_nll"},
    "augment": {"pipeline": "medium", "mixup": 0.2},
    "checkpoint": {"minutes": 0.001},
}
TIMES = ["seconds", "photos_per_second"]  # no two runs share them
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TRAIN = ("train",)
ALL = ("oof-ensemble", "tta-predict")
# Files that DVC writes in place, and what it says where it was killed in that moment.
CUT = {"dvc.lock": r"dvc\.lock' (is invalid|validation failed)", ".dvc/tmp/rwlock": "Unable to read RWLock-file"}
Moment = Callable[[], bool]  # whether it has come


def start(folder: Path, targets: tuple[str, ...]) -> subprocess.Popen[bytes]:
    log = (folder / "log.txt").open("ab")
    return subprocess.Popen(
        ["dvc", "repro", *targets],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes], how: signal.Signals, alone: bool) -> None:
    """Kill DVC with all that it started, as Ctrl-C and a power loss do, or DVC alone, which leaves its stage running."""
    try:
        (os.kill if alone else os.killpg)(process.pid, how)
    except ProcessLookupError:
        return
    process.wait(HANGS)


def assert_same(folder: Path, reference: Path) -> None:
    for fold in ("0", "1"):
        for name in ("models/0.safetensors", "oof_logits.npz"):
            path = Path("out/train") / fold / name
            assert (folder / path).read_bytes() == (reference / path).read_bytes(), path
        histories = [pd.read_csv(place / f"out/train/{fold}/history.csv") for place in (folder, reference)]
        pd.testing.assert_frame_equal(*(table.drop(columns=TIMES) for table in histories))
    for path in (*reference.glob("out/tta-predict/submission.csv"), *reference.glob("out/oof-ensemble/metrics.json")):
        assert (folder / path.relative_to(reference)).read_bytes() == path.read_bytes(), path
    assert not list(folder.glob("out/**/.*.tmp*"))
    unrun = {"eda", "oof-ensemble", "tta-predict"}
    assert set(json.loads(command(folder, "dvc", "status", "--json").stdout)) <= unrun


def epochs_trained(number: int) -> Moment:
    """All folds together have trained so many epochs, as the checkpoints in the working folder say."""

    def come() -> bool:
        trained: dict[int, int] = {}
        for header in checkpoint.headers():
            trained[header.fold] = max(header.epoch, trained.get(header.fold, 0))
        return sum(trained.values()) >= number

    return come


def lines_logged(folder: Path, number: int, seconds: float) -> Moment:
    """The log has grown by so many lines since the first look; a little later, so that lines are not all that is hit."""
    looks: list[int] = []

    def come() -> bool:
        looks.append((folder / "log.txt").read_bytes().count(b"\n"))
        if looks[-1] - looks[0] < number:
            return False
        time.sleep(seconds)
        return True

    return come


def killed_at(moment: Moment, process: subprocess.Popen[bytes], how: signal.Signals, alone: bool) -> bool:
    """Kill the process once the moment has come; whether it still ran then."""
    began = time.monotonic()
    while not moment():
        assert time.monotonic() - began < HANGS
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    running = process.poll() is None
    kill(process, how, alone)
    return running


def come_to_the_end(folder: Path, targets: tuple[str, ...]) -> list[str]:
    """Let `dvc repro` end, removing files of its own that it says were cut off, as docs/last_night.md has it; these files."""
    log, cut = folder / "log.txt", list[str]()
    log.touch()
    while True:
        before = log.stat().st_size
        if start(folder, targets).wait(HANGS) == 0:
            return cut
        said = log.read_bytes()[before:].decode()
        now = [name for name, words in CUT.items() if re.search(words, said) and name not in cut]
        assert now, said[-3000:]
        for name in now:
            print(f"DVC was killed while it wrote {name}: removed")
            (folder / name).unlink()
        cut += now


def survive(reference: Path, folder: Path, targets: tuple[str, ...], moments: list[Moment]) -> int:
    """Kill `dvc repro` at a moment after each start, then let it end; how many of the kills hit it running."""
    hit = 0
    for number, moment in enumerate(moments):
        process = start(folder, targets)
        if not killed_at(moment, process, SIGNALS[number % len(SIGNALS)], alone=number % 4 == 3):
            break  # it was done
        hit += 1
    come_to_the_end(folder, targets)
    assert_same(folder, reference)
    return hit


def test_two_kills_cost_nothing_but_minutes(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The undisturbed run is in this process, by hand: its results are those of DVC's processes too."""
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    shutil.copytree(prepared, reference)
    monkeypatch.chdir(reference)
    params = small(**CHANGES)
    lr_find.run(params, SILENT)
    train.run(params, SILENT, None)
    killed.mkdir()
    lay_out(killed, prepared, **CHANGES)
    monkeypatch.chdir(killed)
    each, draw = CHANGES["train"]["epochs"], random.Random(0)
    moments = [epochs_trained(fold * each + draw.randint(2, each - 2)) for fold in (0, 1)]
    assert survive(reference, killed, TRAIN, moments) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_where_dvc_was_killed_as_it_wrote_a_file_of_its_own_the_page_says_what_to_remove(
    name: str, tmp_path: Path, prepared: Path
) -> None:
    lay_out(tmp_path, prepared)
    assert not come_to_the_end(tmp_path, ("kfold",))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: max(1, whole.rfind(b":"))])
    assert come_to_the_end(tmp_path, ("kfold",)) == [name]
    assert f"`rm {name}`" in (ROOT / "docs/last_night.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_kills_at_random_moments(tmp_path: Path, prepared: Path, jobs: int) -> None:
    """With two jobs, the other fold is trained ahead; the undisturbed run has one."""
    reference = tmp_path / "reference"
    reference.mkdir()
    lay_out(reference, prepared, **CHANGES)
    assert start(reference, ALL).wait(HANGS) == 0
    lines = (reference / "log.txt").read_bytes().count(b"\n")
    draw = random.Random(time.time_ns())
    hit, tried = 0, 0
    while hit < 10:
        tried += 1
        folder = tmp_path / str(tried)
        folder.mkdir()
        lay_out(folder, prepared, **CHANGES, parallel={"jobs": jobs})
        moments = [lines_logged(folder, draw.randint(0, lines), draw.uniform(0, 1)) for _ in range(6)]
        hit += survive(reference, folder, ALL, moments)
        shutil.rmtree(folder)
    print(f"{hit} kills survived in {tried} runs")
