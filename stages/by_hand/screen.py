"""screen: which losses, samplers and heads suit these features? Heads alone are trained, on a frozen backbone's outputs."""

import difflib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import load_npz, read_csv, write_csv
from stages.base.talk import Talk
from stages.by_hand.compare import corrected
from stages.data import layout
from stages.data.fold_data import FoldData, open_fold
from stages.judge import bootstrap, metrics, paired_difference
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import Comparison, Difference
from stages.learn import frozen_features, heads_on_features, learner, model, predict, starting_weights
from stages.learn.heads_on_features import Features, Plan
from stages.learn.losses import CORRECTING, LOSSES
from stages.learn.model import Classifier
from stages.learn.samplers import SAMPLERS
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record

HEADS = ("linear", "mlp")
SAME_CHANCES = ("weighted", "imbalanced", "class_uniform")
LRS = (5e-4, 2e-3, 8e-3, 3e-2)  # of AdamW on standardised features
EPOCHS = 20  # of heads, where they make no more than STEPS steps; never fewer than FEWEST_EPOCHS
FEWEST_EPOCHS = 3
STEPS = 2000
REPEATS = 3
OWN_MODELS = "each fold's own model"
# Groups of params.yaml that may say otherwise than what the folds were trained with, whose backbones are taken.
OF_HEADS = (
    "loss",
    "losses.",
    "sampler",
    "lr",
    "optimizer.",
    "schedule.",
    "train.",
    "augment.",
    "regression.",
    "model.head",
)
SCORES = ("macro_f1", "f1_60plus", "nll")


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
    """One combination: OOF log probabilities of N photos by R repeats, and the learning rate of each fold's heads."""

    loss: str
    sampler: str
    head: str
    log_probabilities: np.ndarray  # float32 [R, N, 18]
    lrs: tuple[float, ...]  # [folds]

    @property
    def name(self) -> str:
        return f"{self.loss} {self.sampler} {self.head}"


def run(params: Params, choice: Choice, talk: Talk) -> dict[str, Any]:
    """Write ranking.csv and features.npz below out/screen; return the ranking, best macro F1 first, and what it can tell.

    Every combination is compared with params.yaml's (loss, sampler, model.head), which is trained too if it is not among
    those asked for: paired over people, p-values by Holm over all candidates.
    """
    choice = checked(params, choice)
    folds = [open_fold(params, fold) for fold in params.folds]
    epochs = choice.epochs or default_epochs(params, folds)
    person = read_csv(paths.PHOTOS, "prepare", layout.PHOTO_TYPES)["person"].to_numpy(str)
    began = time.perf_counter()
    source, nets = backbones(params, choice.backbone, folds, talk)
    features_of = run_record.of_fold(params.folds[0]) if source.startswith(OWN_MODELS) else None
    made = extract(params, nets, folds, talk)
    extracted = time.perf_counter()
    tried = train(params, choice, made, folds, talk)
    trained = time.perf_counter()
    base, compared = judge(params, choice, tried, folds[0].labels, person, talk)
    rows = ranked(base, tried, compared)
    write_csv(paths.SCREEN_RANKING, pd.DataFrame(rows))
    return {
        "backbone": source,
        "base": base.name,
        "people": len(np.unique(person)),
        "photos": len(person),
        "folds": len(folds),
        "epochs": epochs,
        "repeats": choice.repeats,
        "rows": rows,
        "luck_sd": luck(rows),
        "notes": notes(features_of, rows, choice.repeats),
        "seconds": {
            "features": extracted - began,
            "heads": trained - extracted,
            "judge": time.perf_counter() - trained,
        },
    }


def checked(params: Params, choice: Choice) -> Choice:
    """The choice with all names spelt out. Raises UserError for a name that is none."""
    named: dict[str, tuple[str, ...]] = {}
    for option, known in (("losses", tuple(LOSSES)), ("samplers", SAMPLERS), ("heads", HEADS)):
        given: tuple[str, ...] = getattr(choice, option)
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean `{close[0]}`?" if close else f"valid: {', '.join(known)}"
                raise UserError(f"screen: --{option}: `{name}` is not known; {hint}")
        named[option] = tuple(dict.fromkeys(given)) or ((params.model.head,) if option == "heads" else known)
    return Choice(choice.backbone, **named, epochs=choice.epochs, repeats=choice.repeats, replicates=choice.replicates)


def backbones(params: Params, asked: str, folds: Sequence[FoldData], talk: Talk) -> tuple[str, list[Classifier]]:
    """What the features come from, in words, and the models: one for all folds, or one a fold.

    `auto` is params where model.pretrained or model.weights is set, else folds where all are trained. Raises UserError where
    neither is, and for weights that have seen these people, in whose OOF scores that would show as skill.
    """
    trained = all(paths.weights(fold).is_file() for fold in params.folds)
    starts = params.model.pretrained or not params.model.begins_without_file
    if asked == "auto":
        asked = "params" if starts else "folds"
        if asked == "folds" and not trained:
            raise UserError(
                "screen: there is no backbone: random features tell nothing about losses; set model.pretrained or "
                "model.weights in params.yaml, give --backbone WEIGHTS.safetensors, or train the folds first (`maskcli folds`)"
            )
    if asked == "folds":
        # The features need the folds' backbones alone: what else params.yaml says by now is no matter.
        run_record.joined(params, talk, "screen", told=OF_HEADS)
        return f"{OWN_MODELS} ({paths.weights(0)} ...)", [
            _of_fold(params, fold, data) for fold, data in enumerate(folds)
        ]
    if asked == "params" and not starts:
        raise UserError(
            "screen: --backbone params: model.pretrained in params.yaml is false and model.weights names no file, and random "
            "features tell nothing about losses; set one of them, or take --backbone folds"
        )
    if asked == "params":
        weights = None if params.model.begins_without_file else Path(params.model.weights)
    else:
        weights = Path(asked)
    if weights and not weights.is_file():
        raise UserError(
            f"screen: --backbone {weights}: no such file; give auto, params, folds, or the path of a .safetensors or .pth file"
        )
    if weights:
        refuse_leak(weights)
    torch.manual_seed(params.seed)
    net = model.build(model.architecture(params), weights is None)
    if weights:
        talk.say(model.load_backbone(net, weights))
    return f"{params.model.name}, {weights or 'published weights'}", [net]


def refuse_leak(path: Path) -> None:
    """Raise UserError for weights of models that were trained on these people."""
    if starting_weights.knows_these_people(path):
        raise UserError(
            f"screen: {path}: was trained on these people, whom it would be scored on; take --backbone folds, which uses each "
            "fold's model for that fold alone, or weights from elsewhere"
        )


def _of_fold(params: Params, fold: int, data: FoldData) -> Classifier:
    """A fold's first model, checked to have left out the people that the fold validates on today."""
    net = model.load(paths.weights(fold))
    own, wanted = net.architecture, model.architecture(params)
    if (own.name, own.options) != (wanted.name, wanted.options):
        raise UserError(
            f"{paths.weights(fold)}: is {own.name} with model.options {own.options}, params.yaml has {wanted.name} with "
            f"{wanted.options}; train the folds again (`dvc repro`)"
        )
    model.check_image(own, params, str(paths.weights(fold)))
    try:
        left_out = load_npz(paths.oof_logits(fold), ("photo",))["photo"]
    except ValueError:
        left_out = np.empty(0)
    if not np.array_equal(left_out, data.val):
        raise UserError(
            f"{paths.oof_logits(fold)}: this fold's model was not trained with the folds of {paths.FOLDS}, so it may have seen "
            "the people it would be scored on; train the folds again (`dvc repro`)"
        )
    return net


def extract(params: Params, nets: list[Classifier], folds: Sequence[FoldData], talk: Talk) -> Features:
    """Features of all photos as evaluation sees them and, where training flips photos, of their mirror images."""
    names = ("identity", "hflip") if params.augment.hflip else ("identity",)
    return frozen_features.of_backbones(nets, folds[0].pixels, names, params, predict.accelerator(params).device, talk)


def train(params: Params, choice: Choice, made: Features, folds: Sequence[FoldData], talk: Talk) -> list[Tried]:
    """All combinations asked for, and params.yaml's: one loss, head and repeat after the other, all else at once."""
    wanted = set(itertools.product(choice.losses, choice.heads, choice.samplers))
    wanted.add((params.loss, params.model.head, params.sampler))
    jobs = [
        (loss, head, tuple(name for name in SAMPLERS if (loss, head, name) in wanted))
        for head, loss in itertools.product(HEADS, LOSSES)
    ]
    jobs = [job for job in jobs if job[2]]
    epochs = choice.epochs or default_epochs(params, folds)
    steps = heads_on_features.batches(folds, params.train.batch_size)[0] * epochs
    total = steps * len(jobs) * choice.repeats
    ticks = iter(talk.track(range(total), total, "heads"))
    fold_of = _fold_of(folds)
    found = []
    for loss, head, names in jobs:
        own = _with(params, loss, head)
        plan = Plan(model.architecture(own), names, LRS, epochs)
        logs = np.stack(
            [
                heads_on_features.oof(learner.of_repeat(own, repeat), made, folds, plan, lambda: next(ticks, None))
                for repeat in range(choice.repeats)
            ]
        )
        for place, name in enumerate(names):
            picked = chosen(logs[:, place], folds[0].labels, fold_of)
            best = logs[:, place, picked[fold_of], np.arange(len(fold_of))]
            found.append(Tried(loss, name, head, best, tuple(LRS[number] for number in picked)))
    for _ in ticks:
        pass
    return found


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


def chosen(logs: np.ndarray, labels: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """Which learning rate each fold takes, [folds]: that of the best macro F1 (ties by nll) on the other folds' photos.

    logs: OOF log probabilities [R, L, N, 18]; scores are means over the repeats. Nothing is chosen on the photos that are
    scored.
    """
    picked = []
    for fold in range(int(fold_of.max()) + 1):
        other = fold_of != fold
        scores = [
            (
                np.mean([metrics.macro_f1(labels[other], one[other].argmax(1)) for one in repeats]),
                -np.mean([metrics.nll(one[other], labels[other]) for one in repeats]),
            )
            for repeats in logs.swapaxes(0, 1)
        ]
        picked.append(max(range(len(scores)), key=scores.__getitem__))
    return np.array(picked)


def judge(
    params: Params, choice: Choice, tried: list[Tried], labels: np.ndarray, person: np.ndarray, talk: Talk
) -> tuple[Tried, dict[str, list[Difference]]]:
    """params.yaml's combination, and every combination's scores against it by its name, p-values by Holm over the others."""
    replicates = choice.replicates or params.ensemble.replicates
    own = (params.loss, params.sampler, params.model.head)
    base = next(one for one in tried if (one.loss, one.sampler, one.head) == own)
    of_base = _scores(base, labels, person)

    def against(other: Tried) -> Comparison:
        of_other = _scores(other, labels, person)
        return Comparison(
            base.name, other.name, paired_difference.compare(of_base, of_other, {}, replicates, params.seed), []
        )

    others = [one for one in tried if one is not base]
    found = [against(one) for one in talk.track(others, len(others), "compare")]
    return base, {one.run_b: one.rows for one in [against(base), *(corrected(found) if found else [])]}


def _scores(tried: Tried, labels: np.ndarray, person: np.ndarray) -> list[Scores]:
    """Per person sums of each repeat, one entry a repeat."""
    rows = np.arange(len(labels))
    return [
        bootstrap.pick(bootstrap.of_run(person, labels, logs.argmax(1), -logs[rows, labels]), SCORES)
        for logs in tried.log_probabilities
    ]


def ranked(base: Tried, tried: list[Tried], compared: dict[str, list[Difference]]) -> list[dict[str, Any]]:
    """One flat row a combination, best macro F1 first; difference, interval and verdict are of macro F1 against the base."""
    rows: list[dict[str, Any]] = []
    for one in tried:
        by_name = {row.metric: row for row in compared[one.name]}
        f1, old, nll = (by_name[name] for name in SCORES)
        judged: dict[str, Any] = {
            name: getattr(f1, name) for name in ("difference", "low", "high", "p_improved", "p_value")
        }
        rows.append(
            {"loss": one.loss, "sampler": one.sampler, "head": one.head, "macro_f1": f1.b}
            | judged
            | {"verdict": "base" if one is base else f1.verdict}
            | {"f1_60plus": old.b, "f1_60plus_difference": old.difference, "f1_60plus_p_value": old.p_value}
            | {"val_nll": nll.b, "val_nll_difference": nll.difference, "val_nll_p_value": nll.p_value}
            | {"seed_sd": f1.seed_sd, "lrs": " ".join(f"{lr:g}" for lr in one.lrs)}
        )
    rows.sort(key=lambda row: (-row["macro_f1"], row["val_nll"]))
    return [{"rank": number, **row} for number, row in enumerate(rows, 1)]


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


def notes(features_of: Record | None, rows: list[dict[str, Any]], repeats: int) -> list[str]:
    """What the ranking can tell and what it cannot, and how much of it is noise. features_of: the folds whose features."""
    widths = [(row["high"] - row["low"]) / 2 for row in rows if row["verdict"] != "base"]
    scatter = luck(rows)
    found = [
        "can tell: which losses, samplers and heads suit these features. It costs minutes; train the best few fully, and let "
        "`maskcli compare` decide",
        "cannot tell: what a loss or sampler does to the backbone itself (the features stand still), nor anything about "
        "augmentation (but the flip), mixup, the backbone, its learning rate, the number of epochs or the epoch to stop at",
    ]
    if features_of is not None:
        found.append(
            f"the features are those of models trained with loss {features_of.loss} and sampler "
            f"{features_of.params.get('sampler', 'none')}, on the very photos that the heads learn from: there classes lie "
            "further apart than on new people, so overfitting is understated and all heads look more alike than they would in "
            "full training"
        )
    if widths:
        found.append(
            f"noise: the 95 % intervals are +-{np.median(widths):.3f} macro F1 wide (median) by the luck of these people"
            f"{' and of the seeds' if repeats > 1 else ''}; rows "
            "nearer to each other than that stand in no certain order, and the best of "
            f"{len(rows)} rows flatters itself, because it was picked on the people it is scored on"
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
