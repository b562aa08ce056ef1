"""A Predictor of the project at hand: the models below out/, and what oof-ensemble found of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.base import environment, paths
from stages.base.errors import UserError
from stages.base.files import read_json, read_npz, require
from stages.base.talk import SILENT, Talk
from stages.bundle import out_of_fold, predictor
from stages.bundle.contents import Contents, Decision, Network, Origin, Plugin, Preprocessing, params_without_places
from stages.bundle.out_of_fold import OutOfFold
from stages.bundle.predictor import Predictor
from stages.data import photos, pixel_cache_record
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, metrics, votes
from stages.learn import model, predict
from stages.learn.model import Classifier
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record
from stages.submission import decision_rule
from stages.submission.decision_rule import Settled

WHO = "an answer to new photos"
ENDS = "_low", "", "_high"
ROUNDING = 1e-6  # nats, F1: between a score and the same computed again


@dataclass(frozen=True)
class Models:
    """Which of the project's trained models answer: each one's weights file, folder in a bundle, and training."""

    kind: Literal["folds", "fold", "refit"]
    weights: tuple[Path, ...]
    folders: tuple[str, ...]
    trained_as: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """OOF predictions of N photos and what oof-ensemble scored them with."""

    log_probabilities: np.ndarray  # [N, C], mean over repeats
    label: np.ndarray  # [N]
    group: np.ndarray  # [N], numbered
    answer: np.ndarray  # [N], by the decision rule: where it adjusts, by offsets that other groups fitted
    scores: dict[str, Any]  # metrics.json


@dataclass(frozen=True)
class Run:
    """A training that is done, judged and chosen from."""

    task: Task
    record: Record
    settled: Settled
    judged: Judged
    models: Models


def open_project(params: Params, talk: Talk = SILENT, fold: int | None = None, refit: bool = False) -> Predictor:
    """The folds' models, all or those of one fold, or the refit's, ready to answer as tta-predict does.

    Raises UserError where they are missing, of several runs, or of another run than params.yaml's or oof-ensemble's.
    """
    run = found(params, talk, fold, refit)
    networks = [loaded(path, params, run.task) for path in run.models.weights]
    return predictor.made(described(params, run, networks[0]), params, networks, out_of_fold_of(run), talk)


def found(params: Params, talk: Talk, fold: int | None = None, refit: bool = False) -> Run:
    """The run whose models `open_project` opens, without them. Raises UserError as it does."""
    predictor.check_vote(params)
    task = tasks.read(params)
    record = run_record.joined(params, talk, WHO)
    settled = decision_rule.settle(params, task, talk, record.run)
    models = of_refit(params, record) if refit else of_folds(params, fold)
    return Run(task, record, settled, read_judged(task, record, settled), models)


def out_of_fold_of(run: Run) -> OutOfFold:
    """What the run's OOF predictions say of its probabilities."""
    judged = run.judged
    return out_of_fold.of(
        judged.log_probabilities, judged.label, judged.group, judged.scores["temperature"], judged.answer
    )


def of_folds(params: Params, fold: int | None = None) -> Models:
    """Every fold's and repeat's model, in tta-predict's order; or those of one fold."""
    if fold is not None and fold not in params.folds:
        raise UserError(f"--fold {fold}: params.yaml has folds {list(params.folds)}; name one of them")
    repeats = params.train.repeats
    pairs = [(number, repeat) for number in (params.folds if fold is None else (fold,)) for repeat in range(repeats)]
    for number, repeat in pairs:
        require(paths.weights(number, repeat), f"train --fold {number}")
    several = repeats > 1
    return Models(
        "folds" if fold is None else "fold",
        tuple(paths.weights(*pair) for pair in pairs),
        tuple(f"fold{number}" + f"-repeat{repeat}" * several for number, repeat in pairs),
        tuple(f"fold {number}" + f" repeat {repeat}" * several for number, repeat in pairs),
    )


def of_refit(params: Params, record: Record) -> Models:
    """The refit's models. Raises UserError unless they are all there, and learnt what the folds (`record`) learnt."""
    summary = read_json(paths.REFIT_SUMMARY, "refit", "lr", "seeds")
    weights = [paths.refit_weights(seed) for seed in range(params.refit.seeds)]
    for path in weights:
        require(path, "refit")
    marks = {run_record.mark_of(path) for path in weights}
    same_photos = {run_record.trained_in(path).get("photos") for path in weights} == {record.data.get("photos")}
    if len(marks) != 1 or summary["seeds"] != params.refit.seeds or summary["lr"] != record.lr or not same_photos:
        raise UserError(
            f"{paths.REFIT}: was trained with other seeds, photos or another learning rate than params.yaml and the folds have; "
            "run `maskcli refit` again"
        )
    return Models(
        "refit",
        tuple(weights),
        tuple(f"seed{seed}" for seed in range(len(weights))),
        tuple(f"refit seed {seed}" for seed in range(len(weights))),
    )


def loaded(path: Path, params: Params, task: Task) -> Classifier:
    """A trained model, which is of this task and these params. Raises UserError."""
    net = model.load(path, params.plugins)
    predict.check(net, task, params, str(path))
    if net.architecture != model.architecture(params, task):
        raise UserError(
            f"{path}: is another model than params.yaml describes; train it again, or put back what was trained"
        )
    return net


def read_judged(task: Task, record: Record, settled: Settled) -> Judged:
    """What oof-ensemble left of the folds of this run. Raises UserError where it is missing, or of another run."""
    unit, adjusts = photos.unit_column(task), settled.offsets is not None
    numbers = ("temperature", "temperature_low", "temperature_high", "nll", *(("macro_f1_adjusted",) * adjusts))
    scores = read_json(paths.OOF_METRICS, "oof-ensemble", *numbers)
    arrays = read_npz(paths.OOF_ARRAYS, "oof-ensemble", ("label", unit, "selected", "run"), ("adjusted",) * adjusts)
    logs = votes.of_repeats(arrays["selected"])
    if adjusts and "adjusted" not in arrays:
        raise UserError(
            f"{paths.OOF_ARRAYS}: is of an earlier version, which did not keep the answers by offsets fitted on other "
            f"{task.units}; run `maskcli oof-ensemble` again"
        )
    answer = arrays["adjusted"] if adjusts else logs.argmax(1)
    judged = Judged(logs, arrays["label"], bootstrap.numbered(arrays[unit]), answer, scores)
    if str(arrays["run"]) != record.run or not _as_scored(judged, task.classes, adjusts):
        raise UserError(
            f"{paths.OOF_METRICS.parent}: is of another run than the folds that answer; run `maskcli oof-ensemble` (or `dvc "
            "repro`) again"
        )
    return judged


def _as_scored(judged: Judged, classes: int, adjusts: bool) -> bool:
    """Whether OOF predictions, and the answers by offsets if they are, have the scores that oof-ensemble gave them."""
    logs, labels, answer, scores = judged.log_probabilities, judged.label, judged.answer, judged.scores
    if logs.shape != (len(labels), classes) or abs(metrics.nll(logs, labels) - scores["nll"]) > ROUNDING:
        return False
    if not adjusts:
        return True
    whole = answer.shape == labels.shape and answer.max() < classes
    return bool(whole and abs(metrics.macro_f1(labels, answer, classes) - scores["macro_f1_adjusted"]) <= ROUNDING)


def described(params: Params, run: Run, net: Classifier) -> Contents:
    """maskcli.json of a run, of whose networks `net` is one."""
    task, scores, models = run.task, run.judged.scores, run.models
    # Shares of ballots are no probabilities that a temperature could calibrate.
    low, fitted, high = (scores[f"temperature{end}"] if params.ensemble.vote != "hard" else 1.0 for end in ENDS)
    offsets = run.settled.offsets
    return Contents(
        maskcli=environment.installed("maskcli") or "",
        kind=models.kind,
        networks=tuple(
            Network(folder=folder, trained_as=name)
            for folder, name in zip(models.folders, models.trained_as, strict=True)
        ),
        task=tasks.to_json(task) | {"subsets": {name: list(numbers) for name, numbers in task.subsets.items()}},
        params=params_without_places(params),
        preprocessing=_preprocessing(params, net),
        views=params.tta.views,
        vote=params.ensemble.vote,  # rank is refused
        temperature=fitted,
        temperature_low=low,
        temperature_high=high,
        decision=Decision(
            asked=params.decision,
            rule="argmax" if offsets is None else "adjusted",
            offsets=None if offsets is None else tuple(map(float, offsets)),
            reason=run.settled.reason,
        ),
        scores=scores,
        classes=_classes(task, run.judged),
        origin=_origin(run.record),
        plugin=Plugin(**net.architecture.plugin) if net.architecture.plugin else None,
        licence=None,
    )


def _preprocessing(params: Params, net: Classifier) -> Preprocessing:
    config: Any = net.backbone.pretrained_cfg
    return Preprocessing(
        **params.image.model_dump(),
        max_pixels=params.data.max_pixels,
        mean=config["mean"],
        std=config["std"],
        decoder=pixel_cache_record.decoder(),
    )


def _origin(record: Record) -> Origin:
    setting = read_json(paths.OOF_ENVIRONMENT, "oof-ensemble")
    return Origin(
        run=record.run,
        commit=setting.get("git_revision"),
        commit_dirty=setting.get("git_dirty"),
        data=record.data,
        lr=record.lr,
        setting=record.setting,
        device=setting.get("device"),
        python=setting.get("python"),
    )


def _classes(task: Task, judged: Judged) -> tuple[dict[str, Any], ...]:
    """Each class's name, F1 of OOF predictions (argmax), photos, and people or groups where there are any."""
    f1 = metrics.f1_per_class(judged.label, judged.log_probabilities.argmax(1), task.classes)
    photos_of = np.bincount(judged.label, minlength=task.classes)
    units = bootstrap.groups_per_class(judged.group, judged.label, task.classes)
    return tuple(
        {"class": name, "f1": float(f1[number]), "photos": int(photos_of[number])}
        | ({} if task.unit == "photo" else {task.units: int(units[number])})
        for number, name in enumerate(task.class_names)
    )
