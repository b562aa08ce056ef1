"""The same seed gives the same bytes twice on a CPU, in a process of its own and in one that has done other things before."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from accelerate.state import AcceleratorState

from stages import kfold, lr_find, oof_ensemble, prepare, train, tta_predict
from stages.base.talk import SILENT
from stages.params.load import load
from tests.conftest import ROOT, SMALL

TIMED = ("seconds", "photos_per_second")  # columns of history.csv that measure the machine
ELSEWHERE = ("events.out.tfevents", "environment.json", "0-0-", "1-0-")  # hold times, or the state of the machine


def all_stages() -> None:
    params = load()
    prepare.run(params, SILENT)
    kfold.run(params, SILENT)
    lr_find.run(params, SILENT)
    for fold in params.folds:
        train.run(params, SILENT, fold)
    oof_ensemble.run(params, SILENT)
    tta_predict.run(params, SILENT)


def contents(folder: Path) -> dict[str, bytes]:
    """Every output below out/ by its name, histories without their timings."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        if path.is_file() and not path.name.startswith(ELSEWHERE) and not path.name.endswith(".times.npz"):
            name = str(path.relative_to(folder))
            found[name] = path.read_bytes()
            if path.name == "history.csv":
                found[name] = pd.read_csv(path).drop(columns=list(TIMED)).to_csv().encode()
    return found


@pytest.mark.filterwarnings("ignore")
def test_the_same_seed_gives_the_same_bytes_twice(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("1", "2"):
        shutil.copytree(prepared / "data", tmp_path / number / "data")
        value = SMALL | {"train": {"epochs": 1, "batch_size": 32}, "lr": "auto", "model": {"dropout": 0.1}}
        (tmp_path / number / "params.yaml").write_text(yaml.safe_dump(value))
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # another than this process has
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
    code = "from tests.test_reproducible import all_stages; all_stages()"
    command = [sys.executable, "-W", "ignore", "-c", code]
    with subprocess.Popen(command, cwd=tmp_path / "1", env=environment) as other:
        monkeypatch.chdir(tmp_path / "2")
        AcceleratorState._reset_state()  # accelerate keeps the precision of whichever test came first
        all_stages()
        assert other.wait() == 0
    first, second = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert list(first) == list(second)
    for name in (
        *("prepare/pixels.npy", "lr-find/lr.json", "lr-find/curve.png", "train/1/models/0.safetensors"),
        *("train/0/oof_logits.npz", "train/0/metrics.json", "oof-ensemble/oof.npz", "oof-ensemble/metrics.json"),
        *("tta-predict/probabilities.npz", "tta-predict/submission.csv"),
    ):
        assert f"out/{name}" in first
    assert [name for name in first if first[name] != second[name]] == []
