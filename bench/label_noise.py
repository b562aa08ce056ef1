"""What label_noise brings: demo people with planted mistakes in the training labels, judged on clean labels of other people.

python bench/label_noise.py train FOLDER --seeds 0 1 2 3     (the demo data set once; mistakes and trainings drawn by seed)
python bench/label_noise.py table FOLDER                     (prints the tables)

Fold 0's training side of the demo set gets mistakes of a kind; its own (one person's gender, one person's two photos) stay in.
Then `none`, `drop`, `weight` and `smooth` train on the same labels with the same seed; the search is made once, and what it took
is added to each of the three. All are judged on people whom nobody has trained on, whose labels are right. A difference from
`none` is paired over people (stages/judge/paired_difference.py) and over seeds, since both sides have the same mistakes and
the same seed; its 95 % interval holds both. Cores: seconds of process time, which other programs do not lengthen much.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from people import draw
from scipy.special import stdtrit

from stages import kfold, lr_find, prepare
from stages.base import paths
from stages.base.files import read_json, write_json, write_npz
from stages.base.talk import SILENT
from stages.data import demo_faces, photos
from stages.data.fold_data import FoldData, open_fold
from stages.data.pixel_cache import open_cache
from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, paired_difference, training_noise
from stages.judge.paired_difference import Asked
from stages.judge.training_noise import Training
from stages.learn import fit, inner_models, loader, noise_robust, predict
from stages.learn.checkpoint import Keeper
from stages.learn.inner_models import Search
from stages.learn.learner import start
from stages.params.load import load
from stages.params.schema import Params

ACTIONS = ("none", "drop", "weight", "smooth")
SCORES = ("macro_f1", "f1_60plus", "accuracy", "nll")
EVAL_PEOPLE = 400
REPLICATES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    if options.what == "table":
        table(options.folder)
        return
    torch.set_num_threads(1)
    params_file, results = paths.PARAMS.resolve(), options.folder.resolve()
    project = results / "project"
    if not (results / "people.json").exists():
        project.mkdir(parents=True)
        os.chdir(project)
        write_json(results / "people.json", prepared(load(params_file)))
    os.chdir(project)
    for seed in options.seeds:
        for kind in options.kinds:
            if not (results / f"{kind}-{seed}.npz").exists():
                params = load(params_file)
                params = params.model_copy(
                    update={"seed": seed, "train": params.train.model_copy(update={"epochs": options.epochs})}
                )
                trial(params, results, kind, seed)


def prepared(params: Params) -> dict[str, str]:
    """The demo project in the working folder; the person of every eval photo."""
    known = draw(Path("eval_only"), 1000, EVAL_PEOPLE)
    demo_faces.write(Path("data"))
    for name in ("eval", "eval_truth.csv"):
        target = Path("data") / name
        if target.is_dir():
            target.rename("small_eval")
        (Path("eval_only") / name).rename(target)
    prepare.run(params, SILENT)
    kfold.run(params, SILENT)
    lr_find.run(params, SILENT, 0)
    return known


def no_more(data: FoldData, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The demo's own mistakes alone."""
    return data.train_labels


def anywhere(data: FoldData, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One photo in ten has another class, any."""
    labels = data.train_labels.copy()
    wrong = rng.choice(data.train, len(data.train) // 10, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, CONTEST.classes, len(wrong))) % CONTEST.classes
    return labels


def of_people(data: FoldData, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One person in ten has the other gender, on all photos."""
    labels = data.train_labels.copy()
    there = np.unique(group[data.train])
    wrong = np.isin(group, rng.choice(there, round(len(there) / 10), replace=False))
    mask, gender, age = CONTEST.parts(labels[wrong])
    labels[wrong] = CONTEST.numbers((mask, 1 - gender, age))
    return labels


KINDS = {"clean": no_more, "random": anywhere, "gender": of_people}


def trial(params: Params, results: Path, kind: str, seed: int) -> None:
    """All four actions on one draw of mistakes; log probabilities of the eval photos, and what the search found."""
    data = open_fold(params, 0)
    group = bootstrap.numbered(photos.read(CONTEST)["group"].to_numpy(str))
    labels = KINDS[kind](data, group, np.random.default_rng([seed, list(KINDS).index(kind)]))
    given = replace(
        data, labels=np.where(np.isin(np.arange(len(labels)), data.train), labels, data.labels), train_labels=labels
    )
    lr = float(read_json(paths.LR_CHOSEN, "lr-find")["lr"])
    seconds: dict[str, float] = {}
    arrays: dict[str, np.ndarray] = {}
    began = time.process_time()
    asked = acting(params, "drop")
    search = Search(0, lr, Keeper(f"{kind}{seed}", 0, 0, params.train.epochs, 1e9, writes=False), SILENT, fresh=True)
    found = inner_models.borne(asked, given, search)[1]
    assert found is not None
    seconds["search"] = time.process_time() - began
    for action in ACTIONS:
        if not len(found.which) and action != "none":  # nothing is done, and the same comes out
            arrays[action], seconds[action] = arrays["none"], seconds["none"]
            continue
        began = time.process_time()
        own = acting(params, action)
        side = given if action == "none" else noise_robust.borne(given, found, own.label_noise)
        arrays[action] = predicted(own, side, lr)
        seconds[action] = time.process_time() - began
    wrong, suspects = data.train[labels[data.train] != data.train_labels[data.train]], found.which
    hit = len(np.intersect1d(wrong, suspects))
    told = {
        "planted": len(wrong),
        "suspects": len(suspects),
        "hit": hit,
        "estimated": found.estimated,
        "photos": len(data.train),
    }
    write_npz(results / f"{kind}-{seed}.npz", **arrays)
    write_json(results / f"{kind}-{seed}.json", told | {"seconds": seconds})
    print(kind, seed, told, {name: round(value, 1) for name, value in seconds.items()}, flush=True)


def acting(params: Params, action: str) -> Params:
    return params.model_copy(update={"label_noise": params.label_noise.model_copy(update={"action": action})})


def predicted(params: Params, data: FoldData, lr: float) -> np.ndarray:
    """Log probabilities [n, C] of the eval photos after a training without a look at anything but its loss."""
    learner = start(params, replace(data, val=data.val[:0]), 0, lr, predict.accelerator(params), SILENT)
    fit.fit(learner)
    pixels = open_cache(paths.EVAL_PIXELS, len(photos.read_eval()), params)
    shown = loader.evaluation(pixels, np.arange(len(pixels)), params.image.margin, 256)
    learner.validated.eval()
    raw, _ = predict.raw_outputs(learner.validated, shown, learner.mean, learner.std, learner.accelerator)
    return predict.log_probabilities(raw, learner.bare.architecture)


def table(folder: Path) -> None:
    known = json.loads((folder / "people.json").read_text())
    truth = pd.read_csv(folder / "project/data/eval_truth.csv").set_index("ImageID")["ans"]
    images = pd.read_csv(folder / "project" / paths.EVAL, dtype={"ImageID": str})["ImageID"]
    labels, person = truth.loc[images].to_numpy(), bootstrap.numbered(images.map(known).to_numpy(str))
    print("| mistakes | label_noise | macro F1 | F1 of 60+ | accuracy | nll | core s |\n|---|---|---|---|---|---|---|")
    for kind in KINDS:
        files = sorted(folder.glob(f"{kind}-*.npz"))
        runs: dict[str, list[Training]] = {action: [] for action in ACTIONS}
        for file in files:
            with np.load(file) as arrays:
                for action in ACTIONS:
                    runs[action].append(scored(arrays[action], labels, person))
        told = [json.loads(file.with_suffix(".json").read_text()) for file in files]
        acted = any(one["suspects"] for one in told)
        for action in (ACTIONS if acted else ACTIONS[:1]) if files else ():
            print(f"| {kind} | {action} | {cells(runs, action)} | {cost(told, action):.1f} |")
        if files and not acted:
            print(f"| {kind} | any | no suspect: the same | | | | {cost(told, 'drop'):.1f} |")
        if files:
            print(f"<!-- {kind}: {summary(told)} -->")


def scored(logs: np.ndarray, labels: np.ndarray, person: np.ndarray) -> Training:
    own = labels, logs.argmax(1), -logs[np.arange(len(labels)), labels]
    cell, folds, _ = training_noise.of_cells(np.zeros(len(labels), int), np.zeros(len(labels), int))
    of_groups, of_cells = (
        bootstrap.pick(bootstrap.of_run(units, *own, classes=CONTEST.classes, subsets=CONTEST.subsets), SCORES)
        for units in (person, cell)
    )
    return Training(of_groups, of_cells, folds)


def cells(runs: dict[str, list[Training]], action: str) -> str:
    """The scores of none, or the differences of another action from it with their 95 % intervals."""
    scores = {name: np.array([bootstrap.estimate(one.over_groups) for one in runs[name]]) for name in ("none", action)}
    if action == "none":
        return " | ".join(f"{value:.3f}" for value in scores["none"].mean(0))
    found = paired_difference.compare(runs["none"], runs[action], Asked(REPLICATES, 0, "people", same_models=True))
    seeds = len(scores["none"])
    of_seeds = (scores[action] - scores["none"]).var(0, ddof=1) / seeds
    rows = []
    for row, own in zip(found, of_seeds, strict=True):
        variance = ((row.high - row.low) / 2 / 1.96) ** 2 + own
        freedom = (
            (seeds - 1) * (variance / own) ** 2 if own else np.inf
        )  # Satterthwaite: that of the people is well known
        half = float(np.sqrt(variance) * stdtrit(min(freedom, 1e6), 0.975))
        rows.append(f"{row.difference:+.3f} ± {half:.3f}{'*' if abs(row.difference) > half > 0 else ''}")
    return " | ".join(rows)


def cost(told: list[dict[str, Any]], action: str) -> float:
    return float(
        np.mean([one["seconds"][action] + (one["seconds"]["search"] if action != "none" else 0) for one in told])
    )


def summary(told: list[dict[str, Any]]) -> str:
    planted, suspects, hit, estimated = (
        sum(one[name] for one in told) for name in ("planted", "suspects", "hit", "estimated")
    )
    shares = f"precision {hit / max(1, suspects):.2f}" + (f", recall {hit / planted:.2f}" if planted else "")
    count = len(told)
    return (
        f"{count} seeds, of {told[0]['photos']} photos planted {planted / count:.0f}, suspects {suspects / count:.0f}, "
        f"estimated {estimated / count:.0f}, {shares}"
    )


if __name__ == "__main__":
    main()
