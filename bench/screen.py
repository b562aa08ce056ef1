"""`maskcli screen` by the clock, and whether its ranking of the losses is that of full training.

python bench/screen.py [PROJECT] [--rounds 3]      about 6 minutes on 2 cores
python bench/screen.py --rank FOLDER               the same, after training all ten losses fully: about 20 minutes more

PROJECT is a folder with trained folds (`dvc repro` of the demo); left out, one is made and its folds are trained. What is
timed is the whole command with its start: 10 losses x 5 samplers x 5 folds, once with the features to be extracted and
once with them kept. --rank trains each loss (maskcli lr-find, maskcli folds, sampler none) in a folder of its own below
FOLDER, all with the learning rate that lr-find finds for ce, because AdamW's steps do not follow a loss's scale, and writes
bench/screen_full.json, which later runs without --rank compare with. A loss that stands there already is not trained
again; remove the file to begin anew.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.stats import spearmanr
from scratch import report, say

from stages.base import environment, paths
from stages.base.talk import SILENT
from stages.by_hand import screen
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, paired_difference, training_noise
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import BETTER, WORSE, Asked
from stages.judge.training_noise import Training
from stages.learn import backbones
from stages.learn.losses import LOSSES
from stages.params.load import load

ROOT = Path(__file__).resolve().parent.parent
FULL = ROOT / "bench/screen_full.json"
RECORDED = (
    "python",
    "torch",
    "timm",
    "numpy",
    "platform",
    "cpu",
    "cpus",
    "device",
    "threads",
    "git_revision",
    "git_dirty",
)
REPLICATES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, nargs="?", help="trained demo project; made if left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rank", type=Path, metavar="FOLDER", help="train all losses fully below it")
    parser.add_argument("--epochs", type=int, help="train.epochs of projects made here, to try this script quickly")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        project = options.project or (options.rank or Path(scratch)).resolve() / "ce"
        if not options.project:
            make_project(project, options.epochs)
        if options.rank:
            train_fully(project, options.rank.resolve(), load(project / paths.PARAMS).train.epochs)
        result = measure(project.resolve(), options.rounds)
        os.chdir(ROOT)
    report(**result)


def make_project(folder: Path, epochs: int | None) -> None:
    """The demo set as `make demo` makes it, its folds trained with params.yaml as it stands; goes on where it was cut off."""
    if not (folder / paths.PIXELS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        params = yaml.safe_load((ROOT / paths.PARAMS).read_text(encoding="utf-8"))
        params["train"]["epochs"] = epochs or params["train"]["epochs"]
        (folder / paths.PARAMS).write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        shutil.copytree(ROOT / "pseudo", folder / "pseudo", dirs_exist_ok=True)
        shutil.rmtree(folder / "data", ignore_errors=True)
        maskcli(folder, "demo-data", "data")
        maskcli(folder, "prepare")
        maskcli(folder, "kfold")
    train(folder)


def train(folder: Path) -> None:
    """Learning rate, all folds and the OOF score, unless they are there."""
    if not (folder / paths.OOF_METRICS).exists():
        maskcli(folder, "lr-find")
        maskcli(folder, "folds")
        maskcli(folder, "oof-ensemble")


def train_fully(base: Path, folder: Path, epochs: int) -> None:
    """Train each loss in a copy of the project `base`, one after the other, and note its scores and answers in FULL."""
    known: dict[str, Any] = json.loads(FULL.read_text(encoding="utf-8")) if FULL.exists() else {}
    if known.setdefault("epochs", epochs) != epochs:
        sys.exit(f"{FULL.name} is of {known['epochs']} epochs; remove it, or give --epochs {known['epochs']}")
    known.setdefault("losses", {})
    for loss in LOSSES:
        if loss in known["losses"]:
            say(f"{loss}: stands in {FULL.name}")
            continue
        own, began = folder / loss, time.perf_counter()
        if own.resolve() != base.resolve():
            for place in ("pseudo", "out/prepare", "out/kfold"):
                shutil.copytree(base / place, own / place, dirs_exist_ok=True)
            params = yaml.safe_load((base / paths.PARAMS).read_text(encoding="utf-8")) | {
                "loss": loss,
                "sampler": "none",
                "lr": json.loads((base / paths.LR_CHOSEN).read_text(encoding="utf-8"))["lr"],
            }
            (own / paths.PARAMS).write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        train(own)
        scores = json.loads((own / paths.OOF_METRICS).read_text(encoding="utf-8"))
        with np.load(own / paths.OOF_ARRAYS) as arrays:
            answers = arrays["last"][0].argmax(1)
        known["losses"][loss] = {
            "macro_f1": scores["macro_f1_last"],
            "f1_60plus": scores["f1_60plus"],
            "nll": scores["nll_last"],
            "lr": json.loads((own / paths.LR_CHOSEN).read_text(encoding="utf-8"))["lr"],
            "answers": "".join(chr(97 + number) for number in answers),  # class 0 is a, one letter a photo
            "made_with": {name: value for name, value in environment.describe().items() if name in RECORDED},
        }
        FULL.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        say(f"{loss}: macro F1 {scores['macro_f1_last']:.4f}, {time.perf_counter() - began:.0f} s")


def measure(project: Path, rounds: int) -> dict[str, Any]:
    """Seconds of the whole command, new and with kept features, by rounds that take turns; then the ranks."""
    runs: dict[str, list[dict[str, float]]] = {"features to extract": [], "features kept": []}
    for number in range(rounds):
        (project / paths.SCREEN_FEATURES).unlink(missing_ok=True)
        for name in runs:
            began = time.perf_counter()
            found = json.loads(maskcli(project, "screen", "--json"))
            whole = time.perf_counter() - began
            parts = found["seconds"]
            runs[name].append({"whole": whole, **parts, "start": whole - sum(parts.values())})
            say(f"round {number + 1}, {name}: {whole:.1f} s")
    tables = [time_table(runs, found)]
    goals = {"screen_seconds_10x5x5": statistics.median(one["whole"] for one in runs["features to extract"])}
    notes = [
        f"screen: {found['backbone']}, {found['epochs']} epochs x {found['repeats']} repeats x {len(screen.LRS)} rates"
    ]
    if not FULL.exists():
        notes.append(f"{FULL.name} is not there: run bench/screen.py --rank FOLDER once to compare with full training")
        return {"goals": goals, "tables": tables, "notes": notes}
    ranks = rank(project, json.loads(FULL.read_text(encoding="utf-8")))
    goals["screen_rank_correlation"] = ranks["rho"]
    return {"goals": goals, "tables": [*tables, ranks["table"]], "notes": notes + ranks["notes"]}


def time_table(runs: dict[str, list[dict[str, float]]], found: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for name, seen in runs.items():
        whole = [one["whole"] for one in seen]
        medians = [statistics.median(one[part] for one in seen) for part in ("start", "features", "heads", "judge")]
        rows.append(
            [name, *(round(value, 1) for value in [statistics.median(whole), min(whole), max(whole), *medians])]
        )
    return {
        "title": f"maskcli screen, {len(found['rows'])} combinations x {found['folds']} folds, {found['photos']} photos: s",
        "columns": ["", "whole command", "lowest", "highest", "start", "features", "heads", "comparison"],
        "rows": rows,
    }


def rank(project: Path, full: dict[str, Any]) -> dict[str, Any]:
    """Spearman's correlation over losses (sampler none, params.yaml's head) of macro F1 by heads and by full training.

    The interval draws people again, the same for both and for all losses: it is about the people, not about other losses.
    """
    os.chdir(project)
    params = load()
    folds = [open_fold(params, fold) for fold in params.folds]
    person = pd.read_csv(paths.PHOTOS, dtype={"person": str})["person"].to_numpy(str)
    labels, fold_of = folds[0].labels, np.zeros(len(folds[0].labels), int)
    for number, data in enumerate(folds):
        fold_of[data.val] = number
    losses = [loss for loss in LOSSES if loss in full["losses"]]
    choice = screen.checked(params, screen.Choice(losses=tuple(losses), samplers=("none",)))
    _, nets = backbones.choose(params, "folds", folds, SILENT)
    tried = {
        one.loss: one
        for one in screen.train(params, choice, screen.extract(params, nets, folds, SILENT), folds, SILENT)
        if one.sampler == "none"
    }
    by_heads = {loss: [scores(person, labels, one) for one in tried[loss].classes] for loss in losses}
    answers = {loss: np.array([ord(letter) - 97 for letter in full["losses"][loss]["answers"]]) for loss in losses}
    by_full = {loss: [scores(person, labels, answers[loss])] for loss in losses}
    values = {name: [estimate(of[loss]) for loss in losses] for name, of in (("heads", by_heads), ("full", by_full))}
    drawn = {
        name: np.stack([replicates(of[loss]) for loss in losses])
        for name, of in (("heads", by_heads), ("full", by_full))
    }
    rho = float(spearmanr(values["heads"], values["full"]).statistic)
    again = [spearmanr(drawn["heads"][:, b], drawn["full"][:, b]).statistic for b in range(REPLICATES)]
    low, high = np.nanquantile(again, [0.025, 0.975])
    cell, of_cell, _ = training_noise.of_cells(fold_of, fold_of)
    trained = {
        loss: [Training(scores(person, labels, answers[loss]), scores(cell, labels, answers[loss]), of_cell)]
        for loss in losses
    }
    asked = Asked(REPLICATES, 0)
    against = [paired_difference.compare(trained["ce"], trained[loss], asked)[0] for loss in losses if loss != "ce"]
    told = sum(row.verdict in (BETTER, WORSE) for row in against)
    width = statistics.median((row.high - row.low) / 2 for row in against)
    order = sorted(range(len(losses)), key=lambda place: -values["full"][place])
    places = {name: (-np.array(found)).argsort().argsort() + 1 for name, found in values.items()}
    return {
        "rho": rho,
        "table": {
            "title": "Macro F1 of the losses (OOF, sampler none): trained fully, and as heads on frozen features of ce",
            "columns": ["loss", "full", "rank", "heads", "rank", "lr of full"],
            "rows": [
                [
                    losses[place],
                    round(values["full"][place], 4),
                    int(places["full"][place]),
                    round(values["heads"][place], 4),
                    int(places["heads"][place]),
                    round(full["losses"][losses[place]]["lr"], 5),
                ]
                for place in order
            ],
        },
        "notes": [
            f"rank correlation (Spearman) over {len(losses)} losses: {rho:.2f}, 95 % interval over people {low:.2f} to "
            f"{high:.2f}; {critical(len(losses)):.2f} or more would be needed to tell it from 0 with so few losses (p < 0.05)",
            f"full training ({full['epochs']} epochs, one seed) itself tells {told} of {len(against)} losses from ce without a "
            f"correction for several comparisons (intervals of +-{width:.3f} macro F1, median): where the losses are that near, "
            "no ranking of them can be certain, full training's own included",
        ],
    }


def critical(count: int) -> float:
    """Least rank correlation of `count` pairs that 5 % of random orders reach in size, by drawing orders."""
    rng = np.random.default_rng(0)
    drawn = [abs(spearmanr(np.arange(count), rng.permutation(count)).statistic) for _ in range(5000)]
    return float(np.quantile(drawn, 0.95))


def scores(person: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> Scores:
    return bootstrap.pick(bootstrap.of_run(person, labels, predictions, classes=CONTEST.classes), ("macro_f1",))


def estimate(runs: list[Scores]) -> float:
    """Macro F1, mean over repeats."""
    return float(np.mean([bootstrap.estimate(run)[0] for run in runs]))


def replicates(runs: list[Scores]) -> np.ndarray:
    """The same for REPLICATES draws of people, [REPLICATES]; the same draws for every loss."""
    return np.mean([bootstrap.replicate(bootstrap.plain(run), REPLICATES, 0).values[:, 0] for run in runs], axis=0)


def maskcli(folder: Path, *words: str) -> str:
    """Run a command of this checkout in a folder; its stdout. Its talk goes to stderr."""
    say(f"{folder.name}: maskcli {' '.join(words)}")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "cli.main", *words]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{folder}: maskcli {' '.join(words)} failed")
    return done.stdout


if __name__ == "__main__":
    main()
