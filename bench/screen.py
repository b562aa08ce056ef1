"""`maskcli screen` against full training: whether its order is theirs; and `maskcli screen --frozen` by the clock.

python bench/screen.py [PROJECT] [--rounds 3]         the clock, about 6 minutes on 2 cores
python bench/screen.py --rank PROJECT FULL            the order; writes bench/screen_ranks.json

--rank: PROJECT is a folder where `maskcli kfold` has run, with a number for lr; CANDIDATES are screened there, on from what
out/screen/ has of them. FULL is the folder of bench/trials.py, with full trainings of the same settings (told by their changes
of PROJECT's params.yaml and their rate) on PROJECT's people, judged on others. The order of the screening, and that of the
frozen heads, is compared with that of full training's mean over its seeds, and full training's seeds with each other:
no short training can be expected to agree better with full training than full training with itself.

The clock: PROJECT is a folder with trained folds (`dvc repro` of the demo); left out, one is made and its folds are trained.
What is timed is the whole command with its start: 10 losses x 5 samplers x 5 folds, once with the features to be extracted and
once with them kept.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scratch
from scipy.stats import spearmanr
from scratch import report, say

from stages.base import paths
from stages.by_hand import screen_candidates, screen_frozen
from stages.data import task_and_classes
from stages.judge import metrics
from stages.params.keys import flat, nested
from stages.params.load import load, parse
from stages.params.schema import Params
from stages.records import run_record

ROOT = Path(__file__).resolve().parent.parent
RANKS = ROOT / "bench/screen_ranks.json"
# Settled before anything was screened or trained.
CANDIDATES = (
    "loss=focal,ldam,balanced_softmax,logit_adjust,label_smoothing,f1",
    "sampler=weighted,sqrt",
    "model.head=mlp",
    "targets=factored",
    "lr=4.6e-4,1e-3,4.6e-3,1e-2",
)
FIRST = 3  # among which the best of full training should be


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, nargs="?", help="trained demo project; made if left out")
    parser.add_argument("full", type=Path, nargs="?", help="--rank: folder of bench/trials.py")
    parser.add_argument("--rank", action="store_true")
    parser.add_argument("--minutes", type=float, help="--rank: of the screening; left out, until it is done")
    parser.add_argument("--heads", action="store_true", help="--rank: also the order of heads on frozen features")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.rank:
        if options.full is None:
            parser.error("--rank takes two folders")
        found = rank(options.project.resolve(), options.full.resolve(), options.minutes, options.heads)
        RANKS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        report(**found)
        return
    with tempfile.TemporaryDirectory() as folder:
        project = options.project or Path(folder) / "demo"
        if not options.project:
            scratch.make(project, 132, 40, {})
            for words in (("prepare",), ("kfold",), ("lr-find",), ("folds",), ("oof-ensemble",)):
                maskcli(project, *words)
        report(**clock(project.resolve(), options.rounds))


@dataclass(frozen=True)
class Full:
    """Full trainings of one setting, a value a seed."""

    macro_f1: list[float]
    nll: list[float]
    core_seconds: list[float]


def rank(project: Path, folder: Path, minutes: float | None, with_heads: bool) -> dict[str, Any]:
    """Rank correlations of the screening, of frozen heads and of single seeds with full training, and the costs."""
    words = [word for text in CANDIDATES for word in ("--try", text)]
    words += [] if minutes is None else ["--minutes", str(minutes)]
    found = json.loads(maskcli(project, "screen", *words, "--json"))
    heads = ("screen", "--frozen", "--backbone", "params", "--samplers", "none", "--json")
    of_heads = json.loads(maskcli(project, *heads))["rows"] if with_heads else []
    os.chdir(project)
    params = load()
    full = full_trainings(params, folder, found["people"])
    rows = [row for row in found["rows"] if screened_key(params, row["change"]) in full]
    missing = [row["change"] or "params.yaml" for row in found["rows"] if row not in rows]
    by_full = [full[screened_key(params, row["change"])] for row in rows]
    mean = np.array([np.mean(own.macro_f1) for own in by_full])
    order = -np.arange(len(rows))
    rho = correlation(order, mean)
    place_of_best = int(mean.argmax()) + 1
    seeds = min(len(own.macro_f1) for own in by_full)
    needed = critical(len(rows))
    notes = [
        f"rank correlation (Spearman) of the screening's order with full training's macro F1 (mean of {seeds} or more seeds) "
        f"over {len(rows)} settings: {rho:.2f}; {needed:.2f} or more would be needed to tell it from 0 (p < 0.05)",
        f"the best of full training stands at place {place_of_best} of the screening",
    ]
    if seeds > 1:
        one, two = (np.array([own.macro_f1[seed] for own in by_full]) for seed in (0, 1))
        losses = [np.array([own.nll[seed] for own in by_full]) for seed in (0, 1)]
        notes.append(
            f"full training's first seed with its second: {correlation(one, two):.2f} (by nll {correlation(*losses):.2f}), the "
            f"most that one training can be expected to agree; the screening with either: {correlation(order, one):.2f} and "
            f"{correlation(order, two):.2f}"
        )
    elif noise := seed_sd(list(full.values())):
        notes.append(
            f"another seed moves full training's macro F1 by {noise:.3f} (standard deviation, of the settings with several "
            f"seeds), and the settings lie {mean.std(ddof=1):.3f} apart: full trainings with other seeds would agree by "
            f"about {ceiling(mean, noise):.2f}, which is the most to expect"
        )
    of_nll = [-float(np.mean(own.nll)) for own in by_full]
    notes.append(f"full training's order by macro F1 with its own by nll: {correlation(mean, of_nll):.2f}")
    notes += frozen(params, of_heads, full)
    if not found["whole"]:
        done = "; ".join(f"{one['candidates']} candidates on {one['folds']} folds" for one in found["rungs"])
        notes.append(f"the screening was cut off by --minutes: {done}")
    spent = sum(one["core_seconds"] for one in found["rungs"])
    whole = len(found["rows"]) * float(np.mean([np.mean(own.core_seconds) for own in by_full]))
    notes.append(
        f"core seconds: {spent:.0f} for the screening, {whole:.0f} for one full training of each on all these people, so about "
        f"{whole * (found['folds'] - 1):.0f} for {found['folds']} folds of each"
    )
    if missing:
        notes.append(f"not among the full trainings: {', '.join(missing)}")
    table = {
        "title": "Order of the screening beside full training's macro F1 on other people",
        "columns": ["screened", "epochs x folds", "macro F1", "difference", "full, mean", "rank", "seeds"],
        "rows": [
            [
                row["change"] or "params.yaml",
                f"{row['epochs']} x {row['folds']}",
                round(row["macro_f1"], 4),
                round(row["difference"], 4),
                round(float(value), 4),
                int((mean > value).sum()) + 1,
                " ".join(f"{one:.3f}" for one in own.macro_f1),
            ]
            for row, own, value in zip(rows, by_full, mean, strict=True)
        ],
    }
    goals = {"screen_rank_correlation": rho, "screen_place_of_best": float(place_of_best)}
    return {"goals": goals, "tables": [table], "notes": notes}


def frozen(params: Params, rows: list[dict[str, Any]], full: dict[str, Full]) -> list[str]:
    """How the order of heads on frozen features agrees with full training's, over the losses that were trained fully."""
    pairs = []
    for row in rows:
        change = "" if row["loss"] == params.loss else f"loss={row['loss']}"
        if row["sampler"] == params.sampler and screened_key(params, change) in full:
            pairs.append((row["macro_f1"], float(np.mean(full[screened_key(params, change)].macro_f1))))
    if len(pairs) < 3:
        return []
    rho = correlation(*np.array(pairs).T)
    return [f"heads on frozen features (--frozen) with full training, over {len(pairs)} losses: {rho:.2f}"]


def full_trainings(params: Params, folder: Path, people: int) -> dict[str, Full]:
    """What bench/trials.py has trained on so many people, by `key_of`; seeds in order."""
    found = dict[str, Full]()
    entries = [(json.loads(path.read_text(encoding="utf-8")), path) for path in folder.glob("*.json")]
    for told, path in sorted(entries, key=lambda pair: pair[0]["entry"]["seed"]):
        entry = told["entry"]
        if entry.get("average", 1) > 1 or entry["groups"] != people:
            continue
        before = flat(load(Path(entry["project"]) / paths.PARAMS).model_dump(mode="json"))
        own = found.setdefault(key_of(parse(nested(before | entry["changes"])), entry["lr"]), Full([], [], []))
        with np.load(path.with_name(path.name.removesuffix(".json") + ".npz")) as arrays:
            probabilities, labels = arrays["probabilities"].mean(0), arrays["labels"]
        answers = probabilities.argmax(1)
        own.macro_f1.append(metrics.macro_f1(labels, answers, probabilities.shape[1]))
        own.nll.append(float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean()))
        own.core_seconds.append(told["core_seconds"])
    return found


def key_of(params: Params, lr: float) -> str:
    """All that shapes a training but the folds, the seed and where its photos lie."""
    own = run_record.training(params) | {"seed": None, "folds": None, "lr": float(lr)}
    return json.dumps(own, sort_keys=True)


def screened_key(params: Params, change: str) -> str:
    lr = float(params.lr)
    if not change:
        return key_of(params, lr)
    (one,) = screen_candidates.made(params, lr, task_and_classes.read(params), [change], None)
    return key_of(one.params, one.lr)


def correlation(a: Any, b: Any) -> float:
    return float(spearmanr(a, b).statistic)


def seed_sd(full: list[Full]) -> float:
    """Standard deviation of full training's macro F1 over seeds, pooled over the settings with several; 0 where none has."""
    several = [own.macro_f1 for own in full if len(own.macro_f1) > 1]
    squares = sum(float(np.square(np.subtract(seeds, np.mean(seeds))).sum()) for seeds in several)
    return float(np.sqrt(squares / sum(len(seeds) - 1 for seeds in several))) if several else 0.0


def ceiling(values: np.ndarray, noise: float) -> float:
    """Mean rank correlation of two draws of noise on the values, which stand for the settings' true ones."""
    rng = np.random.default_rng(0)
    drawn = values + noise * rng.standard_normal((2, 2000, len(values)))
    return float(np.mean([correlation(one, two) for one, two in zip(*drawn, strict=True)]))


def critical(count: int) -> float:
    """Least rank correlation of `count` pairs that 5 % of random orders reach in size, by drawing orders."""
    rng = np.random.default_rng(0)
    drawn = [abs(spearmanr(np.arange(count), rng.permutation(count)).statistic) for _ in range(5000)]
    return float(np.quantile(drawn, 0.95))


def clock(project: Path, rounds: int) -> dict[str, Any]:
    """Seconds of the whole command, new and with kept features, by rounds that take turns."""
    runs: dict[str, list[dict[str, float]]] = {"features to extract": [], "features kept": []}
    for number in range(rounds):
        (project / paths.SCREEN_FEATURES).unlink(missing_ok=True)
        for name in runs:
            began = time.perf_counter()
            found = json.loads(maskcli(project, "screen", "--frozen", "--json"))
            whole = time.perf_counter() - began
            parts = found["seconds"]
            runs[name].append({"whole": whole, **parts, "start": whole - sum(parts.values())})
            say(f"round {number + 1}, {name}: {whole:.1f} s")
    goals = {"screen_seconds_10x5x5": statistics.median(one["whole"] for one in runs["features to extract"])}
    note = (
        f"{found['backbone']}, {found['epochs']} epochs x {found['repeats']} repeats x {len(screen_frozen.LRS)} rates"
    )
    return {"goals": goals, "tables": [time_table(runs, found)], "notes": [note]}


def time_table(runs: dict[str, list[dict[str, float]]], found: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for name, seen in runs.items():
        whole = [one["whole"] for one in seen]
        medians = [statistics.median(one[part] for one in seen) for part in ("start", "features", "heads", "judge")]
        rows.append(
            [name, *(round(value, 1) for value in [statistics.median(whole), min(whole), max(whole), *medians])]
        )
    return {
        "title": f"maskcli screen --frozen, {len(found['rows'])} combinations x {found['folds']} folds, {found['photos']} "
        "photos: s",
        "columns": ["", "whole command", "lowest", "highest", "start", "features", "heads", "comparison"],
        "rows": rows,
    }


def maskcli(folder: Path, *words: str) -> str:
    """Run a command of this checkout in a folder; its stdout. Its talk goes to stderr."""
    say(f"{folder.name}: maskcli {' '.join(words)}")
    command = [sys.executable, "-m", "cli.main", *words]
    done = subprocess.run(command, cwd=folder, env=scratch.ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{folder}: maskcli {' '.join(words)} failed")
    return done.stdout


if __name__ == "__main__":
    main()
