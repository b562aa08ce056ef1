"""screen: one short training of a candidate on one fold, kept in a file of its own by what it was made of."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import load_npz, write_npz
from stages.base.talk import SILENT, Talk
from stages.data import pseudo_labelled_photos
from stages.data.fold_data import open_fold
from stages.learn import fit, inner_models, predict
from stages.learn.around_training import Around
from stages.learn.checkpoint import Keeper
from stages.learn.inner_models import Search
from stages.learn.learner import start
from stages.learn.training_terms import Terms
from stages.parallel.training_process import Work
from stages.params.schema import Params

KEPT = ("classes", "nll", "seconds", "core_seconds", "fault")


@dataclass(frozen=True)
class Trial:
    """A training that is to be made, or has been. Its results are those of the run key and the fold, whoever asks for them."""

    name: str  # in words, as `loss=focal, fold 0`
    params: Params  # shortened
    lr: float
    fold: int
    run: str  # the run key
    threads: int

    @property
    def path(self) -> Path:
        return paths.screened(self.run, self.fold)


@dataclass(frozen=True)
class Result:
    """What a trained candidate says of the n validation photos of its fold, and what that cost."""

    classes: np.ndarray  # uint16 [n], the most probable one
    nll: np.ndarray  # float32 [n], of the true class, nats
    seconds: float
    core_seconds: float
    fault: str  # one line, where training failed, as by a loss that is no number; empty else


def read(trial: Trial) -> Result | None:
    """What is kept of a training; None where it has not been made, or its file is damaged."""
    if not trial.path.is_file():
        return None
    try:
        found = load_npz(trial.path, KEPT)
    except ValueError:
        return None
    return Result(
        found["classes"],
        found["nll"],
        float(found["seconds"]),
        float(found["core_seconds"]),
        str(found["fault"]),
    )


def work(trials: Sequence[Trial], until: float | None) -> Work:
    """What processes of their own are to do; `until`: time.monotonic() of this machine after which none trains on."""
    names: Mapping[int, str] = {number: trial.name for number, trial in enumerate(trials)}
    own = {number: trial.params for number, trial in enumerate(trials)}
    return Work(partial(train, tuple(trials), until), names, "short trainings", "screen", own)


def train(trials: Sequence[Trial], until: float | None, params: Params, talk: Talk, number: int, terms: Terms) -> None:
    """Make a training and keep its result. When the time is up a checkpoint is left, as after an interrupt."""
    trial = trials[number]

    def up() -> bool:
        return until is not None and time.monotonic() >= until

    if up():
        return
    torch.set_num_threads(trial.threads)
    began, cores = time.perf_counter(), time.process_time()
    around = Around(replace(SILENT, track=talk.track), _keeper(trial), interrupt=lambda: terms.stop() or up())
    try:
        classes, nll, fault = _fitted(trial, around)
    except KeyboardInterrupt:
        if terms.stop():
            raise
        return
    write_npz(
        trial.path,
        classes=classes,
        nll=nll,
        seconds=np.array(time.perf_counter() - began),
        core_seconds=np.array(time.process_time() - cores),
        fault=np.array(fault),
    )
    search = _search(trial, around)
    inner_models.forget(trial.params, search)
    for path in (_keeper(trial).path, search.kept):
        path.unlink(missing_ok=True)


def forget_checkpoints(params: Params) -> None:
    """Remove what trainings left that were cut off, once none is to go on; also those of earlier candidates."""
    place = len(params.folds) + 1
    for name in (f"{place}-*.ckpt", f"{-1 - place}-*"):
        for path in paths.CHECKPOINTS.glob(name):
            path.unlink(missing_ok=True)


def _keeper(trial: Trial) -> Keeper:
    """Its checkpoint has a place beside those of the folds and of a refit, which prune only their own."""
    of_screen = len(trial.params.folds) + 1
    every = trial.params.checkpoint.minutes * 60
    return Keeper(
        trial.run, of_screen, trial.fold, trial.params.train.epochs, every, title=trial.name, command="screen"
    )


def _search(trial: Trial, around: Around) -> Search:
    """For wrong labels, in silence: the display counts the epochs of the training that follows."""
    return Search(trial.fold, trial.lr, _keeper(trial), SILENT, around.interrupt)


def _fitted(trial: Trial, around: Around) -> tuple[np.ndarray, np.ndarray, str]:
    """Classes [n] and losses [n] of the validation photos after the last epoch; where training fails, none, and why."""
    params, fold = trial.params, trial.fold
    data = pseudo_labelled_photos.join(params, open_fold(params, fold), str(fold), SILENT)
    labels = data.labels[data.val]
    try:
        data, _ = inner_models.borne(params, data, _search(trial, around))
        learner = start(params, data, fold, trial.lr, predict.accelerator(params), SILENT)
        progress = around.resume(learner)
        if not progress.finished:
            progress = fit.fit(learner, around, progress)
    except UserError as error:
        return np.empty(0, np.uint16), np.empty(0, np.float32), str(error)
    logits = progress.last_logits
    return logits.argmax(1).astype(np.uint16), -logits[np.arange(len(labels)), labels].astype(np.float32), ""
