"""Do the losses do what their papers say? Long-tailed CIFAR-10, trained by maskcli's own commands, beside published errors.

python bench/papers/run.py --images CIFAR-10-images [--imbalance 100] [--seeds 3] [--methods ce,ldam] [--small] [--to FOLDER]

Every method is trained on all training photos (`maskcli refit`, one seed at a time) and scored on the 10,000 test photos
(`maskcli score`), as the papers do. What is done is kept in FOLDER/results.json, and the same command goes on from there.
--small, for a machine without a GPU: ResNet-14 for 30 epochs, which shows the order of the methods alone.
"""

import argparse
import json
import math
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
import yaml
from methods import METHODS, Method

T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # 97.5 % points of Student's t by seeds
HERE = Path(__file__).resolve().parent
Result = dict[str, Any]


def main() -> None:
    options = arguments()
    try:
        found = trained(options)
    except long_tail.NotThere as missing:
        sys.exit(f"papers: {missing}")
    print("\n".join(table(found, options)))


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
    adjusted = adjusted_error(project) | own
    same = {name: one for name, one in METHODS.items() if one.params == method.params}
    return {name: adjusted if one.adjusted else result for name, one in same.items()}


def adjusted_error(project: Path) -> Result:
    """Error of answers by log p - log prior (Menon et al. 2021, section 4.1, tau 1) on the test photos, per cent, with Wilson's
    interval over photos.
    """
    held = np.load(project / "out/refit/probabilities.npz")
    counts = np.array([len(list((project / "data/train" / name).iterdir())) for name in long_tail.CLASSES])
    answers = (np.log(np.maximum(held["probabilities"], 1e-30)) - np.log(counts / counts.sum())).argmax(1)
    truth = np.array([long_tail.CLASSES.index(Path(str(image)).parent.name) for image in held["image"]])
    wrong, n, z = float((answers != truth).mean()), len(truth), 1.96
    middle = (wrong + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(wrong * (1 - wrong) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {"error": 100 * wrong, "low": 100 * (middle - half), "high": 100 * (middle + half)}


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
        mean = statistics.mean(errors)
        half = T95.get(len(errors), 2.0) * statistics.stdev(errors) / math.sqrt(len(errors)) if len(errors) > 1 else 0.0
        low, high = (mean - half, mean + half) if half else (several[0]["low"], several[0]["high"])
        published = METHODS[name].published.get(options.imbalance)
        rate = statistics.median(one["photos_per_second"] for one in several)
        shown = "" if published is None else f"{published:.2f}"
        rows.append(f"| {name} | {shown} | {mean:.2f} | {low:.2f} to {high:.2f} | {len(errors)} | {rate:,.0f} |")
    sources = dict.fromkeys(METHODS[name].source for name in options.methods if METHODS[name].source)
    return [*rows, "", *(f"Published: {source}." for source in sources)]


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
