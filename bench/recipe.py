"""What each ingredient of a recipe brings: a table from the trainings that bench/trials.py keeps.

python bench/recipe.py FOLDER r.base~0.0022         every setting whose name begins as the base's does, against the base

A difference is the mean over a setting's seeds less that of the base's, on the same judged people; its 95 % interval holds
people (paired bootstrap-t, as `maskcli compare`) and seeds, whose variance is put together from all settings with two seeds
or more. Rows below the line need no training of their own: they are made of the base's predictions. Seconds are of one core,
prediction of the judged photos included, as a share of the base's.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stages.base import paths
from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, class_offsets, nested_folds, paired_difference, training_noise
from stages.judge.paired_difference import Asked
from stages.judge.training_noise import Training
from stages.params.keys import flat

NAMES = ("macro_f1", "f1_60plus", "accuracy", "nll")
REPLICATES = 2000
ODD = 1.0  # nats: settings further from the base than this in nll swing more over seeds, too, and do not speak for the others
OTHER = "r.lite0"  # the setting that is blended with the base


@dataclass(frozen=True)
class Trial:
    """One training's say on the judged photos."""

    seed: int
    probabilities: np.ndarray  # [views, n, C]
    labels: np.ndarray  # [n]
    groups: np.ndarray  # [n]
    core_seconds: float
    entry: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("base", help="NAME~LR of what all are compared with")
    options = parser.parse_args()
    settings = read(options.folder, options.base.split(".")[0] + ".")
    base = settings[options.base]
    runs = {name: [training(trial, soft(trial)) for trial in trials] for name, trials in settings.items()}
    usual = [run for run in runs.values() if abs(means(run)[-1] - means(runs[options.base])[-1]) < ODD]
    seeds = variance_of_seeds(usual)
    spread = ", ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, np.sqrt(seeds), strict=True))
    own = ", ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, means(runs[options.base]), strict=True))
    cost = np.mean([trial.core_seconds for trial in base])
    print(f"base: {own}; {len(base)} seeds, {cost:.0f} core s each. Standard deviation over seeds: {spread}\n")
    print("| what differs | seeds | macro F1 | F1 of 60+ | accuracy | nll | time |\n|---|---|---|---|---|---|---|")
    rows = []
    for name, trials in settings.items():
        if name == options.base:
            continue
        told = differences(runs[options.base], runs[name], seeds)
        share = np.mean([trial.core_seconds for trial in trials]) / cost
        words = in_words(trials[0].entry, base[0].entry)
        rows.append((told[0][0], row(words, len(trials), told) + f" {share:.2f} |"))
    print("\n".join(text for _, text in sorted(rows, reverse=True)))
    for name, (count, answer) in derived(settings, options.base).items():
        print(row(name, count, answer) + " |")


def in_words(entry: dict[str, Any], base: dict[str, Any]) -> str:
    """What an entry of the plan has otherwise than the base, as in params.yaml."""
    own, others = (every_key(one) for one in (entry, base))
    told = [f"{key}: {value}" for key, value in own.items() if others.get(key) != value and key != "model.weights"]
    if entry.get("average"):
        told.append(f"weights of the last {entry['average']} epochs averaged")
    return ", ".join(f"`{one}`" if ":" in one else one for one in told) or entry["name"]


def every_key(entry: dict[str, Any]) -> dict[str, Any]:
    params = flat(yaml.safe_load((Path(entry["project"]) / paths.PARAMS).read_text()))
    return params | flat(entry["changes"]) | {"lr": entry["lr"]}


def read(folder: Path, prefix: str) -> dict[str, list[Trial]]:
    """Trials by NAME~LR, in the order of their seeds."""
    found: dict[str, list[Trial]] = defaultdict(list)
    for path in sorted(folder.glob(f"{prefix}*.json")):
        told = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz")) as arrays:
            trial = Trial(
                told["entry"]["seed"],
                arrays["probabilities"],
                arrays["labels"],
                arrays["groups"],
                told["core_seconds"],
                told["entry"],
            )
        found[path.name.rsplit("~", 1)[0]].append(trial)
    return {name: sorted(trials, key=lambda trial: trial.seed) for name, trials in found.items()}


def soft(trial: Trial) -> np.ndarray:
    """Log of the mean over views, [n, C]."""
    return np.asarray(np.log(np.maximum(trial.probabilities.mean(0), 1e-12)))


def training(trial: Trial, logs: np.ndarray, answers: np.ndarray | None = None) -> Training:
    """A training of one fold whose log probabilities are [n, C]; answers [n]: argmax if None."""
    labels = trial.labels
    own = labels, logs.argmax(1) if answers is None else answers, -logs[np.arange(len(labels)), labels]
    cell, folds, _ = training_noise.of_cells(np.zeros(len(labels), int), np.zeros(len(labels), int))
    of_people, of_cells = (
        bootstrap.pick(bootstrap.of_run(units, *own, classes=CONTEST.classes, subsets=CONTEST.subsets), NAMES)
        for units in (bootstrap.numbered(trial.groups), cell)
    )
    return Training(of_people, of_cells, folds)


def variance_of_seeds(runs: list[list[Training]]) -> np.ndarray:
    """Of one training's scores, [scores]: the mean over all settings with several seeds."""
    found = [(len(run), training_noise.between_repeats([run])) for run in runs if len(run) > 1]
    return np.average(
        [noise.variance * count for count, noise in found if noise],
        axis=0,
        weights=[noise.freedom for _, noise in found if noise],
    )


def means(run: list[Training]) -> np.ndarray:
    return np.asarray(np.mean([bootstrap.estimate(one.over_groups) for one in run], axis=0))


def differences(a: list[Training], b: list[Training], seeds: np.ndarray) -> list[tuple[float, float]]:
    """Of each score: b less a, and half of its 95 % interval."""
    found = paired_difference.compare(a, b, Asked(REPLICATES, 0, same_models=True))
    of_seeds = seeds * (1 / len(a) + 1 / len(b))
    halves = [(one.high - one.low) / 2 for one in found]
    return [
        (one.difference, float(paired_difference.MARGIN * np.hypot(half, 1.96 * np.sqrt(own))))
        for one, half, own in zip(found, halves, of_seeds, strict=True)
    ]


def row(name: str, seeds: int, told: list[tuple[float, float]]) -> str:
    cells = " | ".join(f"{value:+.3f} ± {half:.3f}{'*' if abs(value) > half else ''}" for value, half in told)
    return f"| {name} | {seeds} | {cells} |"


def derived(settings: dict[str, list[Trial]], base: str) -> dict[str, tuple[int, list[tuple[float, float]]]]:
    """What the base's own trainings give in other ways, and from how many; people alone count in the intervals."""
    trials = settings[base]
    plain = [training(trial, soft(trial)) for trial in trials]
    none = np.zeros(len(NAMES))
    found = {"one view": differences(plain, [training(t, np.log(t.probabilities[0])) for t in trials], none)}
    for name, rule in class_offsets.RULES.items():
        ruled = [training(t, soft(t), cross_fitted(t, rule)) for t in trials]
        found[f"decision rule, {name}, fitted on other people"] = differences(plain, ruled, none)
    pairs = list(zip(trials, trials[1:] + trials[:1], strict=True))
    found["mean of two seeds"] = differences(plain, [training(a, joined(a, b)) for a, b in pairs], none)
    counted = {name: (len(trials), told) for name, told in found.items()}
    for others in (trials for name, trials in settings.items() if name.split("~")[0] == OTHER):
        blended = [training(a, joined(a, b)) for a, b in zip(trials, others, strict=False)]
        two = [training(a, joined(a, b)) for a, b in pairs[: len(blended)]]
        told = differences(two, blended, none)
        counted["mean of two backbones, against that of two seeds"] = len(blended), told
    return counted


def joined(a: Trial, b: Trial) -> np.ndarray:
    return np.asarray(np.log(np.maximum((a.probabilities.mean(0) + b.probabilities.mean(0)) / 2, 1e-12)))


def cross_fitted(trial: Trial, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Answers [n] by a decision rule that was fitted on other judged people each time."""
    logs, answers = soft(trial), np.zeros(len(trial.labels), int)
    part = nested_folds.parts(trial.groups, trial.labels)
    for number in np.unique(part):
        own = part == number
        answers[own] = (logs[own] + rule(logs[~own], trial.labels[~own])).argmax(1)
    return answers


if __name__ == "__main__":
    main()
