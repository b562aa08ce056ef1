"""The decision rule for macro F1: fitted and judged by oof-ensemble, used by tta-predict where `decision: adjusted`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.base import large_arrays, paths
from stages.base.errors import UserError
from stages.base.files import read_json
from stages.base.talk import Talk
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, class_offsets, metrics, nested_folds, paired_difference
from stages.judge.paired_difference import BETTER, Asked, Difference
from stages.judge.training_noise import Training
from stages.params.schema import Params
from stages.report.verdicts import in_brackets


@dataclass(frozen=True)
class Settled:
    """How the answers are decided: argmax, or adjusted by offsets [C]."""

    decision: str
    offsets: np.ndarray | None
    reason: str


@dataclass(frozen=True)
class Judgement:
    """What offsets are worth on N photos."""

    told: dict[str, Any]  # decision.json, but for the run
    answers: np.ndarray  # [N], each by offsets that were chosen and fitted on other groups


def judge(
    log_probabilities: np.ndarray, labels: np.ndarray, group: np.ndarray, task: Task, params: Params
) -> Judgement:
    """Fit each rule of stages.judge.class_offsets on OOF predictions [N, C], nested over groups.

    Every photo is decided by a rule that was chosen and fitted on other groups. `offered` says whether macro F1 is better
    than argmax's with a 95 % interval above zero; `offsets` are those of the chosen rule fitted on all groups.
    """
    group = bootstrap.numbered(group)
    part = nested_folds.parts(group, labels, seed=params.seed)
    methods = {name: _method(fit, log_probabilities, labels) for name, fit in _rules(part, task).items()}

    def score(rows: np.ndarray, answers: np.ndarray) -> float:
        return metrics.macro_f1(labels[rows], answers, task.classes)

    found = nested_folds.cross_fit(methods, part, score)
    names = ("macro_f1", *(f"f1_{name}" for name in task.subsets), "accuracy")

    def scored(answers: np.ndarray) -> bootstrap.Scores:
        own = bootstrap.of_run(group, labels, answers, classes=task.classes, subsets=task.subsets)
        return bootstrap.pick(own, names)

    def against_argmax(answers: np.ndarray) -> list[Difference]:
        a, b = ([Training(scored(one))] for one in (log_probabilities.argmax(1), answers))
        return paired_difference.compare(a, b, asked)

    # The rule is for these trained models: whoever trains again has it fitted and judged again.
    asked = Asked(params.ensemble.replicates, params.seed, task.units, same_models=True)
    macro, *of_subsets, accuracy = against_argmax(found.chosen)
    offsets = found.fitted[found.choice]
    parts = int(part.max()) + 1
    told = {
        "offered": macro.verdict == BETTER,
        "rule": found.choice,
        "offsets": [float(value) for value in offsets],
        "macro_f1_argmax": macro.a,
        "macro_f1_nested": macro.b,
        "difference": macro.difference,
        "low": macro.low,
        "high": macro.high,
        "p_value": macro.p_value,
        "verdict": macro.verdict,
        **{f"{row.metric}_difference": row.difference for row in of_subsets},
        "accuracy_difference": accuracy.difference,
        "macro_f1_fitted": score(np.arange(len(labels)), _adjusted(log_probabilities, offsets)),
        "rule_of_each_group": found.choices,
        "rules": {name: against_argmax(answers)[0].b for name, answers in found.scores.items()},
        task.units: int(group.max()) + 1,
        # The parts that the rule was judged on; of a task whose units are groups, the choices tell how many.
        **({} if task.unit == "group" else {"groups": parts}),
    }
    return Judgement(told, found.chosen)


def _rules(part: np.ndarray, task: Task) -> dict[str, class_offsets.Rule]:
    """Those to fit; of too few groups none, which leaves argmax."""
    if part.max() + 1 < nested_folds.FEWEST:
        return {"argmax": lambda log_probabilities, labels: np.zeros(task.classes)}
    return class_offsets.rules(len(part), task.classes)


def _method(fit: class_offsets.Rule, log_probabilities: np.ndarray, labels: np.ndarray) -> nested_folds.Method:
    return nested_folds.Method(
        fit=lambda rows: fit(large_arrays.taken(log_probabilities, rows), labels[rows]),
        apply=lambda offsets, rows: _adjusted(large_arrays.taken(log_probabilities, rows), offsets),
    )


def _adjusted(log_probabilities: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The answers [N] of log probabilities [N, C] with offsets [C]."""
    return large_arrays.by_rows(
        lambda which: class_offsets.adjusted(log_probabilities[which], offsets).argmax(1), *log_probabilities.shape
    )


def in_words(found: dict[str, Any], units: str) -> str:
    """The verdict on adjusting, in one line; units: what the groups are called."""
    gain = (
        f"{found['difference']:+.4f} macro F1 on {units} it was not fitted on{in_brackets(found['low'], found['high'], 4)}, "
        f"{found['macro_f1_fitted'] - found['macro_f1_argmax']:+.4f} where it was fitted, which flatters"
    )
    if found["rule"] == "argmax":
        few = f"fewer than {nested_folds.FEWEST} {units}"
        return f"decision: argmax: {few}, so no rule can be fitted on some and judged on others"
    left_out = "" if len(found["rules"]) > 1 else "; offsets class by class are left out: too many photos x classes"
    if found["offered"]:
        return f"decision: adjusted ({found['rule']}) is offered: {gain}{left_out}"
    return f"decision: adjusted ({found['rule']}) is not offered: {gain}{left_out}"


def settle(params: Params, task: Task, talk: Talk, run: str) -> Settled:
    """What params.decision comes to. Without evidence for offsets it is argmax, and one line says so.

    Raises UserError if `adjusted` is asked for and decision.json is missing, damaged, or of other folds than those of the
    run whose models answer.
    """
    if params.decision == "argmax":
        return Settled("argmax", None, "params.yaml asks for argmax")
    found = read_json(paths.DECISION, "oof-ensemble")
    try:
        offsets, reason, offered = np.asarray(found["offsets"], float), in_words(found, task.units), found["offered"]
        if offsets.shape != (task.classes,) or not np.isfinite(offsets).all():
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{paths.DECISION}: is damaged; run `maskcli oof-ensemble` again") from None
    if found.get("run") != run:
        raise UserError(
            f"{paths.DECISION}: was fitted on the OOF predictions of another run than the folds that answer; run `maskcli "
            "oof-ensemble` (or `dvc repro`) again"
        )
    if offered:
        return Settled("adjusted", offsets, reason)
    talk.say(f"warning: {reason}; argmax is kept")
    return Settled("argmax", None, reason)
