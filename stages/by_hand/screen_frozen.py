"""screen --frozen: which losses, samplers and heads suit these features? Heads alone train, on a frozen backbone's outputs."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError, beside, nearest
from stages.base.files import write_csv
from stages.base.talk import Talk
from stages.data import photos
from stages.data.fold_data import FoldData, open_fold
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, metrics, paired_difference, training_noise
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import Asked, Difference
from stages.judge.training_noise import Training
from stages.learn import (
    backbones,
    cpu_threads,
    frozen_features,
    heads_on_features,
    learner,
    model,
    objective,
    own_losses,
    predict,
)
from stages.learn.heads_on_features import Features, Plan
from stages.learn.losses import CORRECTING
from stages.learn.model import Classifier
from stages.learn.samplers import SAMPLERS
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record
from stages.report.score_names import title

HEADS = ("linear", "mlp")
SAME_CHANCES = ("weighted", "imbalanced", "class_uniform")
LRS = (5e-4, 2e-3, 8e-3, 3e-2)  # of AdamW on standardised features
EPOCHS = 20  # of heads, where they make no more than STEPS steps; never fewer than FEWEST_EPOCHS
FEWEST_EPOCHS = 3
STEPS = 2000
REPEATS = 3
MEMORY = 4 * 2**30  # bytes of heads that are trained at once; never fewer than those of one sampler


@dataclass(frozen=True)
class Choice:
    """What is tried: losses x samplers x heads on one backbone; empty tuples mean all, for heads that of params.yaml."""

    backbone: str = "auto"  # auto, params, folds, or a path
    losses: tuple[str, ...] = ()
    samplers: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    epochs: int | None = None  # None: EPOCHS, or fewer where photos are many
    repeats: int = REPEATS  # trainings of every head, each with a seed of its own
    replicates: int | None = None  # None: ensemble.replicates


@dataclass(frozen=True)
class Tried:
    """One combination: what R repeats say of N photos out of fold, and the learning rate of each fold's heads."""

    loss: str
    sampler: str
    head: str
    classes: np.ndarray  # uint16 [R, N], the most probable one
    nll: np.ndarray  # float32 [R, N]
    lrs: tuple[float, ...]  # [folds]

    @property
    def name(self) -> str:
        return f"{self.loss} {self.sampler} {self.head}"


def run(params: Params, choice: Choice, talk: Talk) -> dict[str, Any]:
    """Write heads.csv and features.npz below out/screen; return the ranking, best macro F1 first, and what it can tell.

    Every combination is compared with params.yaml's (loss, sampler, model.head), which is trained too if it is not among
    those asked for: paired over groups, all candidates sharing one error rate.
    """
    choice = checked(params, choice)
    folds = [open_fold(params, fold) for fold in params.folds]
    task = folds[0].task
    objective.check(params, task)
    epochs = choice.epochs or default_epochs(params, folds)
    truth = Truth(task, folds[0].labels, bootstrap.numbered(photos.read(task)["group"].to_numpy(str)), _fold_of(folds))
    began = time.perf_counter()
    source, nets = backbones.choose(params, choice.backbone, folds, talk)
    features_of = run_record.of_fold(params.folds[0]) if source.startswith(backbones.OWN_MODELS) else None
    made = extract(params, nets, folds, talk)
    extracted = time.perf_counter()
    with cpu_threads.taken(min(_threads(params).values())):  # as the folds and a refit's seeds
        tried = train(params, choice, made, folds, talk)
    trained = time.perf_counter()
    base, compared = judge(params, choice, tried, truth, talk)
    rows = ranked(base, tried, compared)
    found = {
        "backbone": source,
        "base": base.name,
        **({} if task.unit == "photo" else {task.units: int(truth.group.max()) + 1}),
        "photos": len(truth.labels),
        "folds": len(folds),
        "epochs": epochs,
        "repeats": choice.repeats,
        "rows": rows,
        "titles": {f"f1_{name}": title(f"f1_{name}", task) for name in task.subsets},
        "luck_sd": luck(rows),
        "notes": notes(features_of, rows, task.units),
        "seconds": {
            "features": extracted - began,
            "heads": trained - extracted,
            "judge": time.perf_counter() - trained,
        },
    }
    with beside(found):
        write_csv(paths.SCREEN_HEADS, pd.DataFrame(rows))
    return found


def checked(params: Params, choice: Choice) -> Choice:
    """The choice with all names spelt out. Raises UserError for a name that is none."""
    named: dict[str, tuple[str, ...]] = {}
    for option, known in (
        ("losses", tuple(own_losses.known(params.plugins))),
        ("samplers", SAMPLERS),
        ("heads", HEADS),
    ):
        given: tuple[str, ...] = getattr(choice, option)
        for name in given:
            if name not in known:
                hint = nearest(name, known, otherwise=f"valid: {', '.join(known)}")
                raise UserError(f"screen: --{option}: `{name}` is not known{hint}")
        named[option] = tuple(dict.fromkeys(given)) or ((params.model.head,) if option == "heads" else known)
    return Choice(choice.backbone, **named, epochs=choice.epochs, repeats=choice.repeats, replicates=choice.replicates)


def extract(params: Params, nets: list[Classifier], folds: Sequence[FoldData], talk: Talk) -> Features:
    """Features of all photos as evaluation sees them and, where training flips photos, of their mirror images."""
    names = ("identity", "hflip") if params.augment.hflip else ("identity",)
    return frozen_features.of_backbones(nets, folds[0].pixels, names, params, predict.accelerator(params).device, talk)


def train(params: Params, choice: Choice, made: Features, folds: Sequence[FoldData], talk: Talk) -> list[Tried]:
    """All combinations asked for, and params.yaml's: one loss, head and repeat after the other, all else at once."""
    wanted = set(itertools.product(choice.losses, choice.heads, choice.samplers))
    wanted.add((params.loss, params.model.head, params.sampler))
    epochs = choice.epochs or default_epochs(params, folds)
    jobs = []
    for head, loss in itertools.product(HEADS, own_losses.known(params.plugins)):
        own = _with(params, loss, head)
        names = tuple(name for name in SAMPLERS if (loss, head, name) in wanted)
        plan = Plan(model.architecture(own, folds[0].task), names, LRS, epochs)
        jobs += [(own, part) for part in at_once(plan, made.values.shape[-1], len(folds), params.train.batch_size)]
    steps = heads_on_features.batches(folds, params.train.batch_size)[0] * epochs
    total = steps * len(jobs) * choice.repeats
    ticks = iter(talk.track(range(total), total, "heads"))
    fold_of = _fold_of(folds)
    found = []
    for own, plan in jobs:
        repeats = [
            heads_on_features.oof(learner.of_repeat(own, repeat), made, folds, plan, lambda: next(ticks, None))
            for repeat in range(choice.repeats)
        ]
        classes, nll = np.stack([one.classes for one in repeats]), np.stack([one.nll for one in repeats])
        for place, name in enumerate(plan.samplers):
            picked = chosen(classes[:, place], nll[:, place], folds[0].labels, fold_of)
            best = np.s_[:, place, picked[fold_of], np.arange(len(fold_of))]
            lrs = tuple(LRS[number] for number in picked)
            found.append(Tried(own.loss, name, own.model.head, classes[best], nll[best], lrs))
    for _ in ticks:
        pass
    return found


def _threads(params: Params) -> dict[int, int]:
    """CPU threads of each fold, by the rule of trainings; lr-find need not have run."""
    return cpu_threads.choose(params, predict.accelerator(params).device.type, cpu_threads.most(params))


def at_once(plan: Plan, width: int, folds: int, batch: int) -> list[Plan]:
    """A plan's samplers in as many plans as keep each within MEMORY, for heads on features [N, width]; none without samplers."""
    own = heads_on_features.memory(replace(plan, samplers=plan.samplers[:1]), width, folds, batch)
    size = max(1, MEMORY // max(1, own))
    return [replace(plan, samplers=plan.samplers[start : start + size]) for start in range(0, len(plan.samplers), size)]


def default_epochs(params: Params, folds: Sequence[FoldData]) -> int:
    """EPOCHS, or as many as make STEPS steps: a head on many photos needs fewer passes."""
    steps, _ = heads_on_features.batches(folds, params.train.batch_size)
    return min(EPOCHS, max(FEWEST_EPOCHS, STEPS // steps))


def _with(params: Params, loss: str, head: str) -> Params:
    return params.model_copy(update={"loss": loss, "model": params.model.model_copy(update={"head": head})})


def _fold_of(folds: Sequence[FoldData]) -> np.ndarray:
    """The fold that validates on each photo, [N]."""
    fold_of = np.zeros(len(folds[0].labels), np.int64)
    for fold, data in enumerate(folds):
        fold_of[data.val] = fold
    return fold_of


def chosen(classes: np.ndarray, nll: np.ndarray, labels: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """Which learning rate each fold takes, [folds]: that of the best macro F1 (ties by nll) on the other folds' photos.

    classes, nll: what is predicted out of fold and its loss, [R, L, N]; scores are means over the repeats. Nothing is chosen
    on the photos that are scored.
    """
    most = (
        int(max(labels.max(), classes.max())) + 1
    )  # macro F1 is over the classes that are present, whatever their number
    picked = []
    for fold in range(int(fold_of.max()) + 1):
        other = fold_of != fold
        scores = [
            (
                np.mean([metrics.macro_f1(labels[other], one[other], most) for one in classes[:, rate]]),
                -np.mean([float(one[other].mean()) for one in nll[:, rate]]),
            )
            for rate in range(classes.shape[1])
        ]
        picked.append(max(range(len(scores)), key=scores.__getitem__))
    return np.array(picked)


@dataclass(frozen=True)
class Truth:
    """What the heads are scored by."""

    task: Task
    labels: np.ndarray  # [N]
    group: np.ndarray  # [N] numbered
    fold: np.ndarray  # [N] that validates on each photo

    @property
    def scores(self) -> tuple[str, ...]:
        return ("macro_f1", *(f"f1_{name}" for name in self.task.subsets), "nll")


def judge(
    params: Params, choice: Choice, tried: list[Tried], truth: Truth, talk: Talk
) -> tuple[Tried, dict[str, list[Difference]]]:
    """params.yaml's combination, and every combination's scores against it by its name."""
    replicates = choice.replicates or params.ensemble.replicates
    own = (params.loss, params.sampler, params.model.head)
    base = next(one for one in tried if (one.loss, one.sampler, one.head) == own)
    of_base = _trainings(base, truth)
    asked = Asked(replicates, params.seed, truth.task.units, comparisons=max(1, len(tried) - 1))
    return base, {
        one.name: paired_difference.compare(of_base, _trainings(one, truth), asked)
        for one in talk.track(tried, len(tried), "compare")
    }


def _trainings(tried: Tried, truth: Truth) -> list[Training]:
    """Sums of each group and of each fold, one entry a repeat."""
    cell, folds, _ = training_noise.of_cells(truth.fold, truth.fold)

    def summed(units: np.ndarray, classes: np.ndarray, nll: np.ndarray) -> Scores:
        task = truth.task
        own = bootstrap.of_run(units, truth.labels, classes, nll, classes=task.classes, subsets=task.subsets)
        return bootstrap.pick(own, truth.scores)

    return [
        Training(summed(truth.group, *one), summed(cell, *one), folds)
        for one in zip(tried.classes, tried.nll, strict=True)
    ]


def ranked(base: Tried, tried: list[Tried], compared: dict[str, list[Difference]]) -> list[dict[str, Any]]:
    """One flat row a combination, best macro F1 first; difference, interval and verdict are of macro F1 against the base."""
    rows: list[dict[str, Any]] = []
    for one in tried:
        by_name = {row.metric: row for row in compared[one.name]}
        f1, nll = by_name["macro_f1"], by_name["nll"]
        judged: dict[str, Any] = {
            name: getattr(f1, name) for name in ("difference", "low", "high", "p_value", "detectable")
        }
        rows.append(
            {"loss": one.loss, "sampler": one.sampler, "head": one.head, "macro_f1": f1.b}
            | judged
            | {"verdict": "base" if one is base else f1.verdict}
            | _of_subsets(by_name)
            | {"val_nll": nll.b, "val_nll_difference": nll.difference, "val_nll_p_value": nll.p_value}
            | {"seed_sd": f1.seed_sd, "lrs": " ".join(f"{lr:g}" for lr in one.lrs)}
        )
    rows.sort(key=lambda row: (-row["macro_f1"], row["val_nll"]))
    return [{"rank": number, **row} for number, row in enumerate(rows, 1)]


def _of_subsets(by_name: dict[str, Difference]) -> dict[str, float]:
    """Columns f1_<subset>, f1_<subset>_difference and f1_<subset>_p_value."""
    found: dict[str, float] = {}
    for name, row in by_name.items():
        if name.startswith("f1_"):
            found |= {name: row.b, f"{name}_difference": row.difference, f"{name}_p_value": row.p_value}
    return found


def luck(rows: list[dict[str, Any]]) -> float | None:
    """Standard deviation of macro F1 by the luck of the draw: between samplers of the same chances, pooled over the rest."""
    alike: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["sampler"] in SAME_CHANCES:
            alike.setdefault((row["loss"], row["head"]), []).append(row["macro_f1"])
    several = [scores for scores in alike.values() if len(scores) > 1]
    if not several:
        return None
    squares = sum(((np.array(scores) - np.mean(scores)) ** 2).sum() for scores in several)
    return float(np.sqrt(squares / sum(len(scores) - 1 for scores in several)))


def notes(features_of: Record | None, rows: list[dict[str, Any]], units: str) -> list[str]:
    """What the ranking can tell and what it cannot, and how much of it is noise. features_of: the folds whose features."""
    widths = [(row["high"] - row["low"]) / 2 for row in rows if row["verdict"] != "base"]
    scatter = luck(rows)
    found = [
        "can tell: which losses, samplers and heads suit these features. It costs minutes; train the best few fully, and let "
        "`maskcli compare` decide",
        "cannot tell: what a loss or sampler does to the backbone itself (the features stand still), nor anything about "
        "augmentation (but the flip), mixup, label_noise, the backbone, its learning rate, the number of epochs or the epoch to "
        "stop at",
    ]
    if features_of is not None:
        found.append(
            f"the features are those of models trained with loss {features_of.loss} and sampler "
            f"{features_of.params.get('sampler', 'none')}, on the very photos that the heads learn from: there classes lie "
            f"further apart than on new {units}, so overfitting is understated and all heads look more alike than they would in "
            "full training"
        )
    if widths:
        found.append(
            f"noise: the intervals, which hold for all rows together, are +-{np.median(widths):.3f} macro F1 wide (median) by "
            f"the luck of these {units} and of the trainings; rows "
            "nearer to each other than that stand in no certain order, and the best of "
            f"{len(rows)} rows flatters itself, because it was picked on the {units} it is scored on"
        )
    if scatter is not None:
        found.append(
            f"noise: {', '.join(name for name in SAME_CHANCES if any(row['sampler'] == name for row in rows))} draw with the "
            f"same chances, so their rows differ by luck only: by {scatter:.4f} macro F1 (standard deviation)"
        )
    if any(row["loss"] in CORRECTING and row["sampler"] != "none" for row in rows):
        found.append(
            f"{', '.join(CORRECTING)} correct for imbalance themselves: with a sampler other than none rare classes count twice"
        )
    return found
