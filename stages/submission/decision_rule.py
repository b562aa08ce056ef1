"""The decision rule for macro F1: fitted and judged by oof-ensemble, used by tta-predict where `decision: adjusted`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_json
from stages.base.talk import Talk
from stages.data.layout import CLASSES
from stages.judge import bootstrap, class_offsets, metrics, nested_folds, paired_difference
from stages.judge.paired_difference import Difference
from stages.params.schema import Params

SCORES = ("macro_f1", "f1_60plus", "accuracy")


@dataclass(frozen=True)
class Settled:
    """How the answers are decided: argmax, or adjusted by offsets [18]."""

    decision: str
    offsets: np.ndarray | None
    reason: str


def judge(log_probabilities: np.ndarray, labels: np.ndarray, person: np.ndarray, params: Params) -> dict[str, Any]:
    """Fit each rule of stages.judge.class_offsets on OOF predictions [N, 18], nested over people; all of decision.json.

    Every photo is decided by a rule that was chosen and fitted on other people. `offered` says whether macro F1 is better
    than argmax's with a 95 % interval above zero; `offsets` are those of the chosen rule fitted on all people.
    """

    def method(fit: class_offsets.Rule) -> nested_folds.Method:
        return nested_folds.Method(
            fit=lambda rows: fit(log_probabilities[rows], labels[rows]),
            apply=lambda offsets, rows: class_offsets.adjusted(log_probabilities[rows], offsets),
        )

    methods = {name: method(fit) for name, fit in class_offsets.RULES.items()}
    group = nested_folds.groups(person, labels, seed=params.seed)
    found = nested_folds.cross_fit(
        methods, group, lambda rows, scores: metrics.macro_f1(labels[rows], scores.argmax(1))
    )

    def against_argmax(scores: np.ndarray) -> list[Difference]:
        both = [
            bootstrap.pick(bootstrap.of_run(person, labels, one.argmax(1)), SCORES)
            for one in (log_probabilities, scores)
        ]
        return paired_difference.compare([both[0]], [both[1]], {}, params.ensemble.replicates, params.seed)

    macro, old, accuracy = against_argmax(found.chosen)
    offsets = found.fitted[found.choice]
    return {
        "offered": macro.verdict == "better",
        "rule": found.choice,
        "offsets": [float(value) for value in offsets],
        "macro_f1_argmax": macro.a,
        "macro_f1_nested": macro.b,
        "difference": macro.difference,
        "low": macro.low,
        "high": macro.high,
        "p_value": macro.p_value,
        "verdict": macro.verdict,
        "f1_60plus_difference": old.difference,
        "accuracy_difference": accuracy.difference,
        "macro_f1_fitted": metrics.macro_f1(labels, class_offsets.adjusted(log_probabilities, offsets).argmax(1)),
        "rule_of_each_group": found.choices,
        "rules": {name: against_argmax(scores)[0].b for name, scores in found.scores.items()},
        "people": len(np.unique(person)),
        "groups": int(group.max()) + 1,
    }


def in_words(found: dict[str, Any]) -> str:
    """The verdict on adjusting, in one line."""
    gain = (
        f"{found['difference']:+.4f} macro F1 on people it was not fitted on (95 % interval {found['low']:+.4f} to "
        f"{found['high']:+.4f}; {found['macro_f1_fitted'] - found['macro_f1_argmax']:+.4f} where it was fitted, which flatters)"
    )
    if found["offered"]:
        return f"decision: adjusted ({found['rule']}) is offered: {gain}"
    return f"decision: adjusted ({found['rule']}) is not offered: {gain}"


def settle(params: Params, talk: Talk, run: str) -> Settled:
    """What params.decision comes to. Without evidence for offsets it is argmax, and one line says so.

    Raises UserError if `adjusted` is asked for and decision.json is missing, damaged, or of other folds than those of the
    run whose models answer.
    """
    if params.decision == "argmax":
        return Settled("argmax", None, "params.yaml asks for argmax")
    found = read_json(paths.DECISION, "oof-ensemble")
    try:
        offsets, reason = np.asarray(found["offsets"], float), in_words(found)
        if offsets.shape != (CLASSES,) or not np.isfinite(offsets).all():
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{paths.DECISION}: is damaged; run `maskcli oof-ensemble` again") from None
    if found.get("run") != run:
        raise UserError(
            f"{paths.DECISION}: was fitted on the OOF predictions of another run than the folds that answer; run `maskcli "
            "oof-ensemble` (or `dvc repro`) again"
        )
    if found["offered"]:
        return Settled("adjusted", offsets, reason)
    talk.say(f"warning: {reason}; argmax is kept")
    return Settled("argmax", None, reason)
