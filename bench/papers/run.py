"""Do the losses do what their papers say? Long-tailed CIFAR-10, trained by maskcli's own commands, beside published errors.

python bench/papers/run.py --images CIFAR-10-images [--imbalance 100] [--seeds 3] [--methods ce,ldam] [--small] [--to FOLDER]

Every method is trained on all training photos (`maskcli refit`, one seed at a time) and scored on the 10,000 test photos
(`maskcli score`), as the papers do. What is done is kept in FOLDER/results.json, its answers in FOLDER/submissions/, and the
same command goes on from there. Below the table: which methods differ, paired over photos (`maskcli score --than`), or over
seeds where there are several.
--small, for a machine without a GPU: ResNet-14 for 30 epochs, which shows the order of the methods alone.
"""

import argparse
import contextlib
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import long_tail
import methods
import numpy as np
import pandas as pd
import yaml
from methods import METHODS, Method

from stages.by_hand import score
from stages.data import task_and_classes
from stages.judge.paired_difference import UNDECIDED
from stages.params.load import load

T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # 97.5 % points of Student's t by seeds
GAP = 2.0  # points of published error above which the order of two methods should show
HERE = Path(__file__).resolve().parent
Result = dict[str, Any]


def main() -> None:
    options = arguments()
    try:
        found = trained(options)
    except long_tail.NotThere as missing:
        sys.exit(f"papers: {missing}")
    print("\n".join([*table(found, options), "", *verdicts(found, options)]))


def arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--images", type=Path, required=True, help=f"a checkout of {long_tail.SOURCE}")
    made.add_argument("--imbalance", type=int, default=100, help="of the most common class to the rarest")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--methods", default="", help="names with semicolons between; all if not given")
    made.add_argument("--small", action="store_true", help="ResNet-14 and 30 epochs, for the order alone")
    made.add_argument("--model", default="", help="another model of resnet_cifar.py")
    made.add_argument("--epochs", type=int, default=0)
    made.add_argument("--to", type=Path, default=Path("papers"), help="folder of the project and of results.json")
    options = made.parse_args()
    options.model = options.model or ("cifar_resnet14" if options.small else "cifar_resnet32")
    options.epochs = options.epochs or (30 if options.small else 200)
    options.methods = [name.strip() for name in options.methods.split(";") if name.strip()] or list(METHODS)
    if unknown := [name for name in options.methods if name not in METHODS]:
        made.error(f"--methods: `{unknown[0]}` is none of {'; '.join(METHODS)}")
    return options


def trained(options: argparse.Namespace) -> dict[str, Result]:
    """Results by setting, method and seed; those that are not there yet are made, seed by seed of all methods."""
    kept = options.to / "results.json"
    found: dict[str, Result] = json.loads(kept.read_text()) if kept.is_file() else {}
    project = options.to / f"imbalance_{options.imbalance}"
    if not (project / "out/kfold/folds.csv").is_file():
        laid_out(options, project)
    for seed in range(options.seeds):
        for name in options.methods:
            if key(options, name, seed) in found:
                continue
            for one, result in of_training(options, METHODS[name], seed, project).items():
                found[key(options, one, seed)] = result
            kept.write_text(json.dumps(found, indent=1))
            print(
                f"papers: {name}, seed {seed}: error {found[key(options, name, seed)]['error']:.2f} %", file=sys.stderr
            )
    return found


def key(options: argparse.Namespace, method: str, seed: int) -> str:
    return f"imbalance {options.imbalance}, {options.model}, {options.epochs} epochs, {method}, seed {seed}"


def submission(options: argparse.Namespace, method: str, seed: int) -> Path:
    """Where the answers of a training are kept."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", key(options, method, seed))
    return Path(options.to / "submissions" / f"{name}.csv").resolve()


def laid_out(options: argparse.Namespace, project: Path) -> None:
    """The project: photos, plugin, params.yaml, and what training begins with."""
    shutil.rmtree(project, ignore_errors=True)
    kept = long_tail.make(options.images, project / "data", options.imbalance)
    print(f"papers: training photos: {', '.join(f'{name} {count}' for name, count in kept.items())}", file=sys.stderr)
    shutil.copyfile(HERE / "resnet_cifar.py", project / "resnet_cifar.py")
    write_params(options, METHODS["ce"], 0, project)
    for stage in ("prepare", "kfold", "lr-find"):
        maskcli(project, stage)


def of_training(options: argparse.Namespace, method: Method, seed: int, project: Path) -> dict[str, Result]:
    """Train a method once; its result, and those of the methods that only answer otherwise by the same training."""
    write_params(options, method, seed, project)
    began = time.perf_counter()
    maskcli(project, "refit", "--fresh")
    seconds = time.perf_counter() - began
    plain = json.loads(maskcli(project, "score", "--submission", "out/refit/submission.csv", "--json"))
    photos = sum(1 for _ in (project / "data/train").rglob("*.jp*g"))
    own = {"seconds": seconds, "photos_per_second": photos * options.epochs / seconds}
    told = {"error": plain["accuracy"], "low": plain["accuracy_high"], "high": plain["accuracy_low"]}
    result = {name: 100 * (1 - value) for name, value in told.items()} | own
    error, afterwards = adjusted_error(project)
    adjusted = error | own
    same = {name: one for name, one in METHODS.items() if one.params == method.params}
    for name, one in same.items():
        kept = submission(options, name, seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        answers = pd.read_csv(project / "out/refit/submission.csv", dtype=str)
        (answers.assign(label=answers["file"].map(afterwards)) if one.adjusted else answers).to_csv(kept, index=False)
    return {name: adjusted if one.adjusted else result for name, one in same.items()}


def adjusted_error(project: Path) -> tuple[Result, dict[str, str]]:
    """Error of answers by log p - log prior (Menon et al. 2021, section 4.1, tau 1) on the test photos, per cent, with Wilson's
    interval over photos; and these answers by photo.
    """
    held = np.load(project / "out/refit/probabilities.npz")
    counts = np.array([len(list((project / "data/train" / name).iterdir())) for name in long_tail.CLASSES])
    answers = (np.log(np.maximum(held["probabilities"], 1e-30)) - np.log(counts / counts.sum())).argmax(1)
    truth = np.array([long_tail.CLASSES.index(Path(str(image)).parent.name) for image in held["image"]])
    wrong, n, z = float((answers != truth).mean()), len(truth), 1.96
    middle = (wrong + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(wrong * (1 - wrong) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    by_photo = {str(image): long_tail.CLASSES[number] for image, number in zip(held["image"], answers, strict=True)}
    return {"error": 100 * wrong, "low": 100 * (middle - half), "high": 100 * (middle + half)}, by_photo


def table(found: dict[str, Result], options: argparse.Namespace) -> list[str]:
    """The methods in Markdown: published and ours, per cent, the mean over seeds with its interval; over photos of one seed."""
    title = f"imbalance {options.imbalance}, {options.model}, {options.epochs} epochs"
    rows = [f"{title}{' (small: for the order alone)' if options.small else ''}", ""]
    rows += ["| method | published | ours | 95 % | seeds | photos/s |", "|---|---|---|---|---|---|"]
    for name in options.methods:
        several = [
            found[key(options, name, seed)] for seed in range(options.seeds) if key(options, name, seed) in found
        ]
        errors = [one["error"] for one in several]
        if not errors:
            continue
        mean, half = over_seeds(errors)
        low, high = (mean - half, mean + half) if half else (several[0]["low"], several[0]["high"])
        published = METHODS[name].published.get(options.imbalance)
        rate = statistics.median(one["photos_per_second"] for one in several)
        shown = "" if published is None else f"{published:.2f}"
        rows.append(f"| {name} | {shown} | {mean:.2f} | {low:.2f} to {high:.2f} | {len(errors)} | {rate:,.0f} |")
    sources = dict.fromkeys(METHODS[name].source for name in options.methods if METHODS[name].source)
    return [*rows, "", *(f"Published: {source}." for source in sources)]


def over_seeds(values: list[float]) -> tuple[float, float]:
    """The mean and half of its 95 % interval; 0 of a single value."""
    count = len(values)
    half = T95.get(count, 2.0) * statistics.stdev(values) / math.sqrt(count) if count > 1 else 0.0
    return statistics.mean(values), half


def pairs(options: argparse.Namespace) -> list[tuple[str, str, float | None]]:
    """The methods whose order should show, the one of the higher published error first, and every other against ce; with the
    published difference of errors, second minus first, in points."""
    published = {name: METHODS[name].published.get(options.imbalance) for name in options.methods}
    found: list[tuple[str, str, float | None]] = []
    for one in options.methods:
        for other in options.methods:
            a, b = published[one], published[other]
            gap = None if a is None or b is None else b - a
            if other != one and (one == "ce" or (gap is not None and gap < -GAP)):
                found.append((one, other, gap))
    return found


def verdicts(found: dict[str, Result], options: argparse.Namespace) -> list[str]:
    """Pairs of methods in Markdown: differences of error in points, published and ours, with a verdict; of several seeds by the
    mean of the seeds' differences, of one by the photos that both answered."""
    rows = ["Differences of error, points; intervals over the seeds, or over the photos of a single one.", ""]
    rows += ["| methods | published | ours | 95 % | verdict |", "|---|---|---|---|---|"]
    for one, other, gap in pairs(options):
        seeds = [
            seed
            for seed in range(options.seeds)
            if key(options, one, seed) in found and key(options, other, seed) in found
        ]
        if not seeds:
            continue
        if len(seeds) == 1:
            told = by_photos(submission(options, one, seeds[0]), submission(options, other, seeds[0]), options)
        else:
            told = by_seeds(
                [found[key(options, other, seed)]["error"] - found[key(options, one, seed)]["error"] for seed in seeds]
            )
        if told is None:
            continue
        change, low, high, verdict = told
        shown = "" if gap is None else f"{gap:+.2f}"
        rows.append(f"| {other} against {one} | {shown} | {change:+.2f} | {low:+.2f} to {high:+.2f} | {verdict} |")
    return rows


def by_photos(one: Path, other: Path, options: argparse.Namespace) -> tuple[float, float, float, str] | None:
    """Error of `other` minus that of `one`, points, its 95 % interval over photos and its verdict; None where either's answers
    were not kept."""
    if not (one.is_file() and other.is_file()):
        return None
    with contextlib.chdir(options.to / f"imbalance_{options.imbalance}"):
        compared = score.against(task_and_classes.read(load()), None, other, one)
    row = next(row for row in compared.rows if row.metric == "accuracy")
    return -100 * row.difference, -100 * row.high, -100 * row.low, row.verdict


def by_seeds(differences: list[float]) -> tuple[float, float, float, str]:
    """The mean of differences of error, its 95 % interval over seeds, and what it says of the methods."""
    mean, half = over_seeds(differences)
    verdict = UNDECIDED if abs(mean) <= half else "better" if mean < 0 else "worse"
    return mean, mean - half, mean + half, verdict


def write_params(options: argparse.Namespace, method: Method, seed: int, project: Path) -> None:
    told = methods.params(method, seed, options.model, options.epochs)
    (project / "params.yaml").write_text(yaml.safe_dump(told, sort_keys=False))


def maskcli(project: Path, *words: str) -> str:
    """Run a command in the project; its stdout. Ends the program with the command's last line where it fails."""
    done = subprocess.run(["maskcli", *words], cwd=project, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"papers: maskcli {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


if __name__ == "__main__":
    main()
