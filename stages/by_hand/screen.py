"""screen: which change of params.yaml deserves a full training next? Short real trainings, the best of them longer.

Successive halving (stages/judge/successive_halving.py): losses, samplers, heads, targets, rates and whatever else one tries
train on some folds for a share of the epochs, each a full training in small; the best third for longer, on more folds.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import cores, git, paths
from stages.base.errors import UserError, beside
from stages.base.files import write_csv
from stages.base.talk import Talk
from stages.by_hand import screen_candidates, screen_training
from stages.by_hand.screen_candidates import Candidate
from stages.by_hand.screen_training import Result, Trial
from stages.data import photos
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, paired_difference, successive_halving, training_noise
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import Asked, Difference
from stages.judge.successive_halving import Rung, Score
from stages.judge.training_noise import Training
from stages.learn import (
    captured_step,
    checkpoint,
    cpu_threads,
    learner,
    objective,
    predict,
    run_key,
    short_training,
)
from stages.parallel import gpus, side_by_side
from stages.parallel.side_by_side import Plan
from stages.params import typed_changes
from stages.params.schema import Params
from stages.records import lr_json, run_record

BASE = 0  # its number; the candidates' count from 1
RESERVE = 5.0  # seconds of --minutes for the answer


@dataclass(frozen=True)
class Choice:
    """What is tried, and for how long."""

    typed: tuple[str, ...] = ()  # --try
    file: Path | None = None  # --from
    minutes: float | None = None  # None: until all rungs are trained
    replicates: int | None = None  # None: ensemble.replicates


@dataclass(frozen=True)
class Screening:
    """What is screened: the base (number 0) and the candidates, on which photos, with what."""

    params: Params
    tried: list[Candidate]  # the base first
    task: Task
    labels: np.ndarray  # [N]
    group: np.ndarray  # [N] numbered
    val: list[np.ndarray]  # of each fold, positions of its validation photos
    setting: dict[str, Any]  # of the trainings' run keys
    threads: int
    on_gpu: bool
    gpus: tuple[str, ...]

    @property
    def jobs(self) -> int:
        """Trainings side by side; on a GPU one, until its memory use is known."""
        if self.params.parallel.jobs != "auto":
            return self.params.parallel.jobs
        return max(1, len(self.gpus)) if self.on_gpu else max(1, cores.available() // self.threads)

    def epochs(self, number: int, rung: Rung) -> int:
        return rung.epochs(self.tried[number].params.train.epochs)

    def trial(self, number: int, rung: Rung, fold: int) -> Trial:
        one = self.tried[number]
        full, epochs = one.params.train.epochs, self.epochs(number, rung)
        own = short_training.shortened(one.params, epochs / full, epochs)
        run = run_record.made(own, one.lr, self.setting | {"code": run_key.code_digest(own)}).run
        words = f"{one.name or 'params.yaml'}, fold {fold}, {epochs} of {full} epochs"
        return Trial(words, own, one.lr, fold, run, self.threads)


@dataclass(frozen=True)
class Reached:
    """A rung as far as it was trained: results of each number, one a fold, and what they score."""

    rung: Rung
    folds: int
    results: dict[int, list[Result]]
    scores: dict[int, Score]


def run(params: Params, choice: Choice, talk: Talk) -> dict[str, Any]:
    """Write ranking.csv and trainings/ below out/screen; return the ranking, the best first, and what to train next.

    A training that is kept is not made again, so a screening that was cut off goes on. Every candidate is compared with the
    base as it is after the same epochs on the same folds: paired over groups, all candidates sharing one error rate.
    """
    began = time.monotonic()
    until = None if choice.minutes is None else began + choice.minutes * 60 - RESERVE
    made = screening(params, choice)
    plan = successive_halving.rungs(len(made.tried) - 1, len(params.folds))
    _say_plan(made, plan, talk)
    with checkpoint.alone("screen", "", talk, wait=False):
        reached = train(made, plan, until, talk)
    whole = len(reached) == len(plan) and reached[-1].folds == plan[-1].folds
    if whole:
        screen_training.forget_checkpoints(params)
    rows = ranked(made, reached, choice)
    found = {
        **({} if made.task.unit == "photo" else {made.task.units: int(made.group.max()) + 1}),
        "photos": len(made.labels),
        "tried": len(made.tried) - 1,
        "lr": made.tried[BASE].lr,
        "folds": len(params.folds),
        "epochs": params.train.epochs,
        "rungs": [_told(one) for one in reached],
        "whole": whole,
        "rows": rows,
        "next": following(made, plan, reached, rows),
        "seconds": time.monotonic() - began,
    }
    with beside(found):
        write_csv(paths.SCREEN_RANKING, pd.DataFrame(rows, columns=None if rows else ["change", "verdict"]))
    return found


def screening(params: Params, choice: Choice) -> Screening:
    """Check all that is tried before anything is trained. Raises UserError."""
    folds = [open_fold(params, fold) for fold in params.folds]
    task = folds[0].task
    objective.check(params, task)
    lr = lr_json.read(params).lr if params.lr == "auto" else float(params.lr)
    tried = [screen_candidates.base(params, lr)]
    tried += screen_candidates.made(params, lr, task, list(choice.typed), choice.file)
    for one in tried:
        learner.check(one.params)
    device = predict.accelerator(params).device.type
    threads = min(cpu_threads.choose(params, device, cpu_threads.most(params)).values())
    setting = run_key.record(params, lr, threads=dict.fromkeys(params.folds, threads)).setting
    group = bootstrap.numbered(photos.read(task)["group"].to_numpy(str))
    val = [fold.val for fold in folds]
    on_gpu = device != "cpu"
    here = gpus.listed() if on_gpu else ()
    return Screening(params, tried, task, folds[0].labels, group, val, setting, threads, on_gpu, here)


def train(made: Screening, plan: list[Rung], until: float | None, talk: Talk) -> list[Reached]:
    """Rung by rung; when the time is up, those that are known, the last perhaps on fewer folds than planned."""
    reached: list[Reached] = []
    numbers = list(range(len(made.tried)))
    for place, rung in enumerate(plan, 1):
        _train_rung(made, rung, numbers, until, talk)
        known = _known(made, rung, numbers, first=not reached)
        if known is None:
            break
        reached.append(known)
        if known.folds < rung.folds or len(known.scores) < len(numbers) or place == len(plan):
            break
        numbers = [BASE, *successive_halving.kept(known.scores, plan[place].candidates, BASE)]
        _say_left(made, known, plan[place:], talk)
    return reached


def _say_left(made: Screening, known: Reached, later: Sequence[Rung], talk: Talk) -> None:
    """Who goes on, and about how long the rungs take that are left, by what an epoch took so far."""
    full = made.params.train.epochs
    an_epoch = sum(result.seconds for found in known.results.values() for result in found) / known.rung.cost(full)
    seconds = an_epoch * sum(rung.cost(full) for rung in later) / made.jobs
    talk.say(
        f"screen: {known.rung.candidates} candidates are trained for {_epochs(known.rung, full)}; the best "
        f"{later[0].candidates} go on, which takes about {max(1, round(seconds / 60))} min"
    )


def _epochs(rung: Rung, full: int) -> str:
    return f"{rung.epochs(full)} epoch{'s' if rung.epochs(full) > 1 else ''}"


def _train_rung(made: Screening, rung: Rung, numbers: Sequence[int], until: float | None, talk: Talk) -> None:
    """Make the trainings of a rung that are not kept yet, fold by fold, the base first."""
    trials = [made.trial(number, rung, fold) for fold in range(rung.folds) for number in numbers]
    left = [trial for trial in trials if screen_training.read(trial) is None]
    if not left or (until is not None and time.monotonic() >= until):
        return
    params, several = left[0].params, range(len(left))
    grows = made.on_gpu and params.parallel.jobs == "auto" and not captured_step.wanted(params)
    threads = dict.fromkeys(several, made.threads)
    work = screen_training.work(left, until)
    plan = Plan(list(several), min(made.jobs, len(left)), threads, work=work, gpus=made.gpus, grows=grows)
    side_by_side.run(params, talk, plan)


def _known(made: Screening, rung: Rung, numbers: Sequence[int], first: bool) -> Reached | None:
    """What a rung came to: the folds that all of its candidates have, all alike; in the first rung, where the time may be up
    before the first fold is done, those that have it. None where nothing is to be told, not even of the base.
    """
    results: dict[int, list[Result]] = {}
    for number in numbers:
        found = []
        for fold in range(rung.folds):
            result = screen_training.read(made.trial(number, rung, fold))
            if result is None:
                break
            found.append(result)
        results[number] = found
    folds = min(map(len, results.values()))
    if folds == 0 and first:
        folds, results = 1, {number: found for number, found in results.items() if found}
    if folds == 0 or BASE not in results:
        return None
    results = {number: found[:folds] for number, found in results.items()}
    return Reached(rung, folds, results, {number: _score(made, found) for number, found in results.items()})


def _score(made: Screening, results: Sequence[Result]) -> Score:
    """Macro F1 over all folds' photos, then less nll; below all others where a training failed."""
    if any(result.fault for result in results):
        return (-1.0, 0.0)
    training = _training(made, results)
    f1, nll = bootstrap.estimate(bootstrap.pick(training.over_groups, ("macro_f1", "nll")))
    return float(f1), -float(nll)


def _training(made: Screening, results: Sequence[Result]) -> Training:
    """Sums of each group and each fold, of the photos of the folds that there are."""
    which = np.concatenate(made.val[: len(results)])
    fold = np.repeat(np.arange(len(results)), [len(result.nll) for result in results])
    classes = np.concatenate([result.classes for result in results])
    nll = np.concatenate([result.nll for result in results])
    cell, folds, _ = training_noise.of_cells(fold, fold)
    task, labels = made.task, made.labels[which]

    def summed(units: np.ndarray) -> Scores:
        own = bootstrap.of_run(units, labels, classes, nll, classes=task.classes, subsets=task.subsets)
        return bootstrap.pick(own, ("macro_f1", *(f"f1_{name}" for name in task.subsets), "nll"))

    return Training(summed(bootstrap.numbered(made.group[which])), summed(cell), folds)


def ranked(made: Screening, reached: Sequence[Reached], choice: Choice) -> list[dict[str, Any]]:
    """One flat row a candidate and the base, the best first; each compared with the base where both were trained longest."""
    replicates = choice.replicates or made.params.ensemble.replicates
    asked = Asked(replicates, made.params.seed, made.task.units, comparisons=max(1, len(made.tried) - 1))
    rows: list[dict[str, Any]] = []
    for number in successive_halving.order([one.scores for one in reached], BASE):
        at = [one for one in reached if number in one.scores][-1]
        fault = next((result.fault for result in at.results[number] if result.fault), "")
        seen: dict[str, Any] = {} if fault else _compared(made, at, number, asked)
        base = {"verdict": "base"} if number == BASE else {}
        rows.append(
            {"rank": len(rows) + 1, "change": made.tried[number].name, "verdict": "failed"}
            | {"epochs": made.epochs(number, at.rung), "folds": at.folds, "rung": reached.index(at) + 1}
            | seen
            | base
            | {"seconds": sum(result.seconds for result in at.results[number]), "fault": fault}
        )
    return rows


def _compared(made: Screening, at: Reached, number: int, asked: Asked) -> dict[str, Any]:
    """Scores of a candidate beside the base's, after the same share of their epochs on the same folds."""
    of_base, own = (_training(made, at.results[one]) for one in (BASE, number))
    found: dict[str, Difference] = {row.metric: row for row in paired_difference.compare([of_base], [own], asked)}
    f1, nll = found["macro_f1"], found["nll"]
    return (
        {"macro_f1": f1.b}
        | {name: getattr(f1, name) for name in ("difference", "low", "high", "models_low", "models_high", "p_value")}
        | {"verdict": f1.verdict}
        | {name: row.b for name, row in found.items() if name.startswith("f1_")}
        | {"val_nll": nll.b, "val_nll_difference": nll.difference}
    )


def following(made: Screening, plan: Sequence[Rung], reached: Sequence[Reached], rows: list[dict[str, Any]]) -> Any:
    """What to train next: the best candidate's changes, as `dvc exp run` takes them, and about how many seconds that takes; and
    whether HEAD is what it was compared with.

    None where the base stands first, or nothing but it is known.
    """
    if not rows or rows[0]["verdict"] in ("base", "failed"):
        return None
    first = next(one for one in made.tried if one.name == rows[0]["change"])
    at = reached[rows[0]["rung"] - 1]
    number = made.tried.index(first)
    an_epoch = float(np.mean([result.seconds for result in at.results[number]])) / made.epochs(number, at.rung)
    rounds = -(-len(made.params.folds) // made.jobs) * made.params.train.repeats
    changes = first.changes | ({"lr": first.lr} if made.params.lr == "auto" else {})
    return {
        "change": first.name,
        "name": typed_changes.experiment(first.changes),
        "switches": typed_changes.switches(changes),
        "seconds": an_epoch * first.params.train.epochs * rounds,
        "base_is_committed": base_is_committed(),
    }


def base_is_committed() -> bool:
    """Whether params.yaml, against which all were judged, is the last commit's."""
    with suppress(UserError, OSError):  # there is no git, or no file
        return git.read("HEAD", paths.PARAMS) == paths.PARAMS.read_bytes()
    return False


def _told(one: Reached) -> dict[str, Any]:
    known = [result for results in one.results.values() for result in results]
    return {
        "candidates": len(one.scores) - 1,
        "share": one.rung.share,
        "folds": one.folds,
        "trainings": len(known),
        "core_seconds": sum(result.core_seconds for result in known),
    }


def _say_plan(made: Screening, plan: Sequence[Rung], talk: Talk) -> None:
    """How many train for how long, and what share of training all of them fully that is."""
    full = made.params.train.epochs
    steps = [
        f"{rung.candidates} for {_epochs(rung, full)} on {rung.folds} of {len(made.params.folds)} folds"
        for rung in plan
    ]
    cost = sum(rung.cost(full) for rung in plan) / (len(made.tried) * full * len(made.params.folds))
    talk.say(
        f"screen: candidates beside params.yaml: {', then '.join(steps)}; {100 * cost:.0f} % of what training all of them fully "
        "takes"
    )
