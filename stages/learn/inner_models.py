"""Models that say which labels of a training side are wrong: the side is cut in parts by group, and each part is judged by a
training on the others, with the loop that trains everything else.

A fold's validation photos take no part in it, so they choose neither their own labels nor those that their model learns.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import load_npz, replacing
from stages.base.talk import Talk
from stages.data import photos
from stages.data.fold_data import FoldData
from stages.judge import nested_folds
from stages.learn import checkpoint, fit, learner, noise_robust, predict, short_training
from stages.learn.around_training import Around
from stages.learn.checkpoint import Keeper
from stages.learn.interrupt import Interrupt, no_interrupt
from stages.learn.noise_robust import Found, Judged
from stages.learn.progress import Progress
from stages.learn.time_limit import Clock
from stages.params.model_and_training import MOST_INNER_FOLDS
from stages.params.schema import Params

DRAWS = 10_000  # first number that draws of inner models follow from, beyond those of folds


def _no_clock(number: int, validated: int) -> Clock | None:
    return None


@dataclass(frozen=True)
class Search:
    """One training side in which wrong labels are looked for."""

    fold: int  # that it belongs to; a number beyond them where there is none
    lr: float
    keeper: Keeper  # of the training that follows
    talk: Talk
    interrupt: Interrupt = no_interrupt
    clock: Callable[[int, int], Clock | None] = _no_clock  # by the model's number and the photos that it judges
    fresh: bool = False

    @property
    def kept(self) -> Path:
        return paths.suspects_kept(-1 - self.keeper.fold, self.keeper.repeat, self.keeper.run)


def borne(params: Params, data: FoldData, search: Search) -> tuple[FoldData, Found | None]:
    """A fold as params.label_noise would have it trained, and what was found; as it is, and None, without.

    Deterministic, and kept beside the checkpoints: a training that is cut off, here or later, goes on to the same bytes.
    Raises UserError where the side has too few groups, or several processes share the batches.
    """
    noise = params.label_noise
    if noise.is_off:
        return data, None
    found = None if search.fresh else _read(search)
    if found is None:
        found = _found(params, data, search)
        if search.keeper.writes:
            _write(search.kept, found)
    else:  # as if each had been trained now, for whoever shows how far a fold is
        for _ in range(noise.folds):
            list(search.talk.track(range(1, 1), 1, f"train {search.keeper.name}", 1))
    search.talk.say(f"{search.keeper.name}: {noise_robust.in_words(found, noise.action)}")
    return noise_robust.borne(data, found, noise), found


def forget(params: Params, search: Search) -> None:
    """Remove the checkpoints of inner models, once what comes after them has ended; what they have found is small, and stays."""
    for number in range(params.label_noise.folds):
        search.keeper.inner(number, params.label_noise.folds, 1).path.unlink(missing_ok=True)


def _found(params: Params, data: FoldData, search: Search) -> Found:
    """Train the models one after the other, and look for suspects in what they say of the parts that they did not learn.

    Pseudo-labelled photos take no part: their labels come from models that have learnt these very labels.
    """
    folds = params.label_noise.folds
    group = np.unique(photos.read(data.task)["group"].to_numpy(str), return_inverse=True)[1]
    side = data.train[data.train < len(group)]
    groups = len(np.unique(group[side]))
    _check(params, f"{groups} {data.task.units}", groups, search.keeper.name)
    part = nested_folds.parts(group[side], data.train_labels[side], folds, params.seed)
    probabilities = np.empty((len(side), data.task.classes), np.float32)
    learnt, limits = np.zeros(len(side), bool), []
    for number in range(folds):
        judged = part == number
        own = replace(data, train=side[~judged], val=side[judged])
        progress = _train(short_training.inner(params), own, number, folds, search)
        probabilities[judged] = np.exp(progress.last_logits)
        learnt[judged] = (own.class_counts > 0)[data.train_labels[own.val]]
        limits.append(progress.limit)
    told = noise_robust.find(Judged(side, probabilities, group[side], learnt), data, params)
    return replace(told, limit=next(filter(None, limits), ""))


def _check(params: Params, listed: str, groups: int, name: str) -> None:
    """name: of what is trained; listed: its groups in words."""
    noise = params.label_noise
    if predict.accelerator(params).num_processes > 1:
        raise UserError(
            f"params.yaml: label_noise.action: `{noise.action}` works in one process only; set it to none or run one process"
        )
    if groups < noise.folds:
        mend = f"set {groups} or less" if groups > 1 else "add photos, or set label_noise.action: none"
        raise UserError(
            f"params.yaml: label_noise.folds: `{noise.folds}` is more than the {listed} that {name} trains on; {mend}"
        )


def _train(params: Params, data: FoldData, number: int, of: int, search: Search) -> Progress:
    """One model, on from its checkpoint where it has one."""
    keeper = search.keeper.inner(number, of, params.train.epochs)
    around = Around(search.talk, keeper, search.clock(number, len(data.val)), search.interrupt)
    around.on_epoch = lambda progress: search.talk.say(_line(keeper, progress))
    accelerator = predict.accelerator(params)
    draws = DRAWS + search.fold * MOST_INNER_FOLDS + number
    made = learner.start(params, data, draws, search.lr, accelerator, replace(search.talk, say=lambda line: None))
    with warnings.catch_warnings():  # plain cross entropy knows no counts: a class that is missing is no news
        warnings.filterwarnings("ignore", message="(classes|levels) without a training photo")
        progress = fit.fit(made, around, Progress() if search.fresh else around.resume(made))
    accelerator.free_memory()
    return progress


def _line(keeper: Keeper, progress: Progress) -> str:
    row = progress.history[-1]
    return (
        f"{keeper.name}: epoch {row['epoch']}/{keeper.epochs} val_nll {row['val_nll']:.3f} val_f1 {row['val_f1']:.3f}"
    )


def _write(path: Path, found: Found) -> None:
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            which=found.which,
            score=found.score,
            suggested=found.suggested,
            predicted=found.predicted,
            number=found.number,
            looked=np.array(found.looked),
            estimated=np.array(found.estimated),
            limit=np.array(found.limit),
        )


def _read(search: Search) -> Found | None:
    """What was found before, unless another time limit than this process's shaped it, or it is damaged."""
    if not search.kept.is_file():
        return None
    try:
        kept = load_npz(search.kept, [field.name for field in fields(Found)])
    except ValueError:
        return None
    limit = str(kept.pop("limit"))
    if limit and not checkpoint.same_limit(limit, True, search.keeper.asked):
        return None
    looked, estimated = int(kept.pop("looked")), float(kept.pop("estimated"))
    return Found(**kept, looked=looked, estimated=estimated, limit=limit)
