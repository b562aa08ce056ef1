"""Does `maskcli audit` find wrong labels that were planted? And how long does it take with a million photos?

python bench/audit.py PROJECT FOLDER [--kinds swap gender random] [--noise 0.01 0.05 0.1] [--seeds 0]
    [--set train.epochs=14 folds=[0,1,2]] [--known FILE]
python bench/audit.py PROJECT --draws 20                        (seconds: noise planted after training, which no model has learnt)
python bench/audit.py --scale 1000000                                                        (about two minutes)
python bench/audit.py --estimates 20                    (two minutes: does the mean score say how many labels are wrong?)

PROJECT: a project of the contest's layout with labels taken for clean, where lr-find has run. Each kind and share of noise is
planted in a copy of it below FOLDER, as rows of corrections.csv, which prepare applies; then all folds are trained and joined.
A copy that has been trained is not trained again. --known: a corrections.csv of labels that are wrong in PROJECT itself, as two
of the demo's people are on purpose: they are to be found too. Kinds: `swap`, so many of the people have incorrect_mask and normal
exchanged; `gender`, so many of the people get the other gender; `random`, so many of the labels of each axis (of photos for mask,
of people for the others) become another level at random, an age that of someone else of this level.

Rankings of the same photos from the same OOF predictions, by how likely their class is wrong: the audit's list, in which
ambiguous labels come last, and the photo's score, in which they do not; the plain loss, -log p(class given); and cleanlab
without groups, its find_label_issues first, by normalised margin. Precision is the share of wrong classes among as many photos
as have one, recall that of all of them found among twice as many. Last the audit's labels of the axis alone: people, where
they belong to people.

--estimates: drawn people with one label of two levels, 40 and 60 %, seven photos each that are alike by half, and probabilities
that are right for every photo (`planted`), or as right for the labels with their mistakes, which is what models learn that are
trained on them as long as can be (`learnt`). Mistakes are of both levels alike, or all of the rarer one (`one-sided`).
"""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scale import process
from scratch import report, run, say, table

from stages.base import paths
from stages.base.files import write_json, write_npz
from stages.base.talk import SILENT
from stages.by_hand import audit, compare
from stages.by_hand.audit import Looked
from stages.data import corrections, photos
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import CONTEST, Task
from stages.judge import bootstrap, label_suspects
from stages.judge.label_suspects import Suspects
from stages.judge.metrics import log_softmax
from stages.params.keys import flat, nested
from stages.params.load import load

KINDS = ("swap", "gender", "random")
SHARES = (0.01, 0.05, 0.1)
COPIED = (paths.PARAMS, paths.LR_CHOSEN)
MISTAKES = ((0.0, False), (0.01, False), (0.05, False), (0.1, False), (0.05, True))
PHOTOS, STRENGTH = 7, 1.5  # of a drawn person; how far its photos lie from the other level's, standard deviations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--noise", nargs="*", type=float, default=SHARES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--known", type=Path, help="corrections.csv of what is wrong in PROJECT")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes of params.yaml")
    parser.add_argument("--draws", type=int, help="plant in the labels of PROJECT's OOF predictions, so many times")
    parser.add_argument("--scale", type=int, help="photos, of 18 classes")
    parser.add_argument("--estimates", type=int, help="sets of drawn people of each kind")
    options = parser.parse_args()
    if options.scale:
        scale(options.scale)
        return
    if options.estimates:
        estimates(options.estimates)
        return
    changes = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in options.set)}
    known = corrections.read(options.known) if options.known else []
    if options.draws:
        drawn(options, known)
        return
    rows = []
    for share in options.noise:
        for kind in options.kinds:
            for seed in options.seeds:
                folder = options.folder.resolve() / f"{kind}-{share:g}-{seed}"
                train(options.project.resolve(), folder, (kind, share, seed), changes)
                rows += [[kind, share, seed, *row] for row in judged(folder, known)]
                say(json.dumps(rows[-5:]))
    columns = ["noise", "share", "seed", "ranking", "wrong", "precision", "recall at twice"]
    report({}, [table("Planted noise found", columns, rows)], [])


def train(project: Path, folder: Path, planted: tuple[str, float, int], changes: dict[str, Any]) -> None:
    """A copy of the project with noise and other params, its folds trained and joined."""
    if (folder / paths.OOF_ARRAYS).exists():
        return
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / name, folder / name)
    if not (folder / "data").exists():
        (folder / "data").symlink_to((project / "data").resolve())
    chosen = json.loads((folder / paths.LR_CHOSEN).read_text())["lr"]
    params = flat(yaml.safe_load((folder / paths.PARAMS).read_text())) | changes | {"lr": chosen}
    (folder / paths.PARAMS).write_text(yaml.safe_dump(nested(params), sort_keys=False))
    write_json(folder / paths.LR_CHOSEN, {"lr": chosen, "source": "params.yaml"})
    (folder / paths.CORRECTIONS).unlink(missing_ok=True)
    run(folder, "maskcli", "prepare")
    shutil.copy(folder / paths.PHOTOS, folder / "clean.csv")
    with contextlib.chdir(folder):
        task = tasks.read(load())
        corrections.append(noise(task, photos.read(task), planted), paths.CORRECTIONS)
    for stage in ("prepare", "kfold", "folds", "oof-ensemble"):
        say(f"{folder.name}: {stage}")
        run(folder, "maskcli", stage)


def drawn(options: argparse.Namespace, known: list[corrections.Row]) -> None:
    """Means over draws of noise in the labels of a trained project."""
    with contextlib.chdir(options.project):
        looked = audit.look(compare.load("workspace"), load(), SILENT)
    task, table_ = looked.task, looked.table
    clean = truth(task, table_, table_["label"].to_numpy(), known)
    codes = {axis.name: part for axis, part in zip(task.axes, task.parts(clean), strict=True) if not axis.numeric}
    group = bootstrap.numbered(table_["group"].to_numpy())
    values = {axis.name: table_[axis.name].to_numpy(float) for axis in task.axes if axis.numeric}
    rows = []
    for share in options.noise:
        for kind in options.kinds:
            found: dict[str, list[tuple[float, float]]] = {}
            for seed in range(options.draws):
                given = truth(task, table_, clean, noise(task, table_.assign(**codes), (kind, share, seed)))
                one = label_suspects.suspects(looked.probabilities, given, group, task, values)
                now = Looked(task, table_.assign(label=given), looked.probabilities, one)
                for name, _, *numbers in rankings(now, clean):
                    found.setdefault(name, []).append((numbers[0], numbers[1]))
            rows += [[kind, share, options.draws, name, *np.mean(each, axis=0)] for name, each in found.items()]
    columns = ["noise", "share", "draws", "ranking", "precision", "recall at twice"]
    report({}, [table("Noise planted after training found", columns, rows)], [])


def noise(task: Task, clean: pd.DataFrame, planted: tuple[str, float, int]) -> list[corrections.Row]:
    """The rows that make so many labels wrong of photos with these labels, photos.csv's columns."""
    kind, share, seed = planted
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    people = clean["group"].unique()
    some = rng.choice(people, max(1, round(share * len(people))), replace=False)
    found = []
    if kind == "swap":
        for person in some:
            own = clean[clean["group"] == person]
            one, other = (own[own["mask"] == level]["file"].iloc[0] for level in (1, 2))
            found += [row(task, "mask", one, 1, 2), row(task, "mask", other, 2, 1)]
    elif kind == "gender":
        for person, level in clean.groupby("group")["gender"].first()[some].items():
            found.append(row(task, "gender", str(person), int(level), 1 - int(level)))
    else:
        for axis in task.axes:
            name = "group" if axis.constant else "file"
            units = clean.drop_duplicates(name)
            for place in rng.choice(len(units), max(1, round(share * len(units))), replace=False):
                value = units[axis.name].iloc[place]
                level = int(axis.codes(np.array([value]))[0])
                other = (level + rng.integers(1, len(axis.levels))) % len(axis.levels)
                old, new = axis.levels[level], axis.levels[other]
                if axis.numeric:  # another's number: the nearest of that level would always be ambiguous
                    theirs = units[axis.name][axis.codes(units[axis.name].to_numpy()) == other]
                    old, new = f"{value:g}", f"{rng.choice(theirs):g}"
                found.append(changed(units[name].iloc[place], axis.name, old, new))
    return found


def row(task: Task, axis: str, name: str, old: int, new: int) -> corrections.Row:
    return changed(name, axis, task.axis(axis).levels[old], task.axis(axis).levels[new])


def changed(name: str, axis: str, old: str, new: str) -> corrections.Row:
    return corrections.Row(name, axis, old, new, "bench", corrections.now(), "planted")


def judged(folder: Path, known: list[corrections.Row]) -> list[list[Any]]:
    """The rankings of a copy with noise."""
    with contextlib.chdir(folder):
        looked = audit.look(compare.load("workspace"), load(), SILENT)
        clean = truth(looked.task, looked.table, pd.read_csv("clean.csv")["label"].to_numpy(), known)
    return rankings(looked, clean)


def rankings(looked: Looked, clean: np.ndarray) -> list[list[Any]]:
    """Of each ranking its name, wrong photos, precision and recall; last the audit's of each axis alone."""
    given = looked.table["label"].to_numpy()
    wrong = clean != given
    scores = {
        "audit": listed(looked.found),
        "audit, photo's score": looked.found.score,
        "plain loss": -looked.probabilities[np.arange(len(given)), given],
        "cleanlab": cleanlab_alone(looked.probabilities, given),
    }
    found = [[name, int(wrong.sum()), *scored(ranking, wrong)] for name, ranking in scores.items()]
    return [*found, *of_people(looked, clean, given)]


def truth(task: Task, table: pd.DataFrame, labels: np.ndarray, known: list[corrections.Row]) -> np.ndarray:
    """The classes of PROJECT's photos [N], without what is known to be wrong in them; levels by their names."""
    parts = [part.copy() for part in task.parts(labels)]
    for one in known:
        place = [axis.name for axis in task.axes].index(one.axis)
        own = (table["group"] == one.id) | (table["file"] == one.id)
        axis = task.axes[place]
        parts[place][own] = (
            axis.levels.index(one.new) if one.new in axis.levels else axis.codes(np.array([float(one.new)]))[0]
        )
    return task.numbers(tuple(parts))


def listed(found: Suspects) -> np.ndarray:
    """The photos in the order of suspects.csv: each stands where the first row on it or its group does."""
    return np.max([(one.score - one.ambiguous)[one.unit] for one in found.axes.values()], axis=0)


def of_people(looked: Looked, clean: np.ndarray, given: np.ndarray) -> list[list[Any]]:
    found = []
    for place, axis in enumerate(looked.task.axes):
        one = looked.found.axes[axis.name]
        differs = looked.task.parts(clean)[place] != looked.task.parts(given)[place]
        if differs.any():
            wrong = np.zeros(len(one.score), bool)
            wrong[one.unit[differs]] = True
            found.append([f"audit, {axis.name} alone", int(wrong.sum()), *scored(one.score, wrong)])
    return found


def scored(ranking: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Precision among as many as are wrong, and recall among twice as many; the first are the likeliest."""
    order, count = np.argsort(-ranking, kind="stable"), int(wrong.sum())
    return float(wrong[order[:count]].mean()), float(wrong[order[: 2 * count]].sum() / count)


def cleanlab_alone(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_normalized_margin_for_each_label

    named = find_label_issues(given, probabilities, n_jobs=1)
    return np.asarray(named + 1 - get_normalized_margin_for_each_label(given, probabilities))


def estimates(draws: int) -> None:
    """What share of the first 50 suspects, and of all labels, is told to be wrong and is; means over draws."""
    rows = []
    for people, (share, one_sided), learnt in itertools.product((200, 900), MISTAKES, (False, True)):
        if learnt and not share:
            continue
        found = []
        for seed in range(draws):
            logs, true, given, group = people_of_two_levels((people, share, one_sided, learnt), seed)
            axis = CONTEST.axis("gender")
            one = label_suspects.of_axis(logs, given, group, axis, constant=True, values=None)
            wrong, first = (given != true)[::PHOTOS], np.argsort(-one.score, kind="stable")[:50]
            found.append((one.score[first].mean(), wrong[first].mean(), one.score.mean(), wrong.mean()))
        kind = "one-sided" if one_sided else "both"
        rows.append([people, share, kind, "learnt" if learnt else "planted", *np.mean(found, axis=0)])
    columns = ["people", "share wrong", "kind", "models", "of the first 50, told", "wrong", "of all, told", "wrong"]
    report({}, [table("What the scores say, and what is so", columns, rows)], [])


def people_of_two_levels(
    kind: tuple[int, float, bool, bool], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Photos [N] of drawn people: log probabilities [N, 2], true and given levels, whose photo. kind: as in `estimates`."""
    people, share, one_sided, learnt = kind
    rng, prior = np.random.default_rng([seed, people]), np.array([0.4, 0.6])
    true = rng.choice(2, people, p=prior)
    some = np.flatnonzero(true == 0) if one_sided else np.arange(people)
    given = true.copy()
    given[rng.choice(some, round(share * people), replace=False)] ^= 1
    noise = np.sqrt(0.5) * (np.repeat(rng.normal(size=(people, 2)), PHOTOS, 0) + rng.normal(size=(people * PHOTOS, 2)))
    seen = np.eye(2)[np.repeat(true, PHOTOS)] * STRENGTH + noise
    probabilities = np.exp(log_softmax(np.log(prior) + STRENGTH * seen))
    if learnt:
        channel = np.bincount(2 * given + true, minlength=4).reshape(2, 2) / np.bincount(true)
        probabilities = probabilities @ channel.T
    group = np.repeat(np.arange(people), PHOTOS)
    return np.log(probabilities), true[group], given[group], group


def scale(count: int) -> None:
    """Seconds and memory of `maskcli audit` on drawn predictions of so many photos, 7 a person, 2 % of the labels wrong."""
    with tempfile.TemporaryDirectory(prefix="maskcli-audit-") as name:
        folder = Path(name)
        with contextlib.chdir(folder):
            draw(count)
        cost = process([sys.executable, "-m", "cli.main", "audit", "--json", "--first", "1"], folder)
        size = sum(path.stat().st_size for path in (folder / "out/audit").iterdir())
    rows = [[count, cost.seconds, cost.peak, cost.anonymous, cost.said["listed"], size / 1e6]]
    columns = ["photos", "seconds", "peak RSS, MB", "anonymous peak, MB", "suspects", "out/audit, MB"]
    goals = {"audit_seconds": cost.seconds, "audit_peak_rss_mb": cost.peak}
    report(goals, [table("maskcli audit, 18 classes", columns, rows)], [])


def draw(count: int) -> None:
    """In the working folder: params.yaml, prepare's tables, and OOF predictions that are right nine times in ten."""
    rng = np.random.default_rng(0)
    people = -(-count // 7)
    ages = np.repeat(rng.integers(18, 70, people), 7)[:count]
    mask, gender = np.tile([0, 0, 0, 0, 0, 1, 2], people)[:count], np.repeat(rng.integers(0, 2, people), 7)[:count]
    wrong = rng.random(count) < 0.02
    true = CONTEST.labels({"mask": mask, "gender": gender, "age": ages})
    mask = np.where(wrong, (mask + 1) % 3, mask)
    table = pd.DataFrame({"mask": mask, "gender": gender, "age": ages})
    table["label"] = CONTEST.labels(table)
    table.insert(0, "group", np.repeat([f"{person:06d}" for person in range(people)], 7)[:count])
    table.insert(
        1, "file", table["group"] + "/" + pd.Series(np.tile(np.arange(7), people)[:count]).astype(str) + ".jpg"
    )
    table["content"] = [f"{number + 1:016x}" for number in range(count)]
    paths.PARAMS.write_text("{}\n")
    tasks.write(CONTEST)
    photos.write(CONTEST, table, table.drop_duplicates("group")[["group", "gender", "age"]])
    selected = np.empty((1, count, 18), np.float32)
    for start in range(0, count, 100_000):
        logits = rng.normal(0, 2, (len(true[start : start + 100_000]), 18))
        logits[np.arange(len(logits)), true[start : start + 100_000]] += 7
        selected[0, start : start + 100_000] = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    arrays: dict[str, np.ndarray] = {"photo": table["file"].to_numpy(str), "person": table["group"].to_numpy(str)}
    arrays |= {"label": table["label"].to_numpy(), "fold": np.arange(count) // 7 % 5}
    arrays |= {"selected": selected, "last": selected, "content": photos.content_of(table)}
    arrays |= {"task": np.array(json.dumps(tasks.to_json(CONTEST) | {"subsets": {}}))}
    write_npz(paths.OOF_ARRAYS, **arrays, select=np.array("last"), seed=np.array(0))
    del selected


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
