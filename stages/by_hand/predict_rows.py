"""What predict says of each photo: its class, calibrated probability, axes, further classes, and a set that holds its class."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.bundle import predictor as predictors
from stages.bundle.new_photos import Unreadable
from stages.bundle.predictor import Predictor
from stages.by_hand.predict_file import Row
from stages.data.csv_rows import shown
from stages.data.task_and_classes import Task
from stages.judge import abstention, conformal, nested_folds
from stages.judge.abstention import Share
from stages.judge.conformal import Photos, Thresholds

JOIN = "|"  # between the classes of a set in a CSV
LISTED = 5  # classes that a note names


@dataclass(frozen=True)
class Form:
    """What each row has beside the answer."""

    top: int = 0  # most probable classes
    abstain: float | None = None  # least probability of an answer
    level: float | None = None  # of the set
    maps: Path | None = None  # folder of heat maps


def check(form: Form, predictor: Predictor) -> None:
    """Raise UserError for what these models cannot be asked."""
    for name, value in (("--abstain", form.abstain), ("--set", form.level)):
        if value is None:
            continue
        if not 0 < value < 1:
            raise UserError(f"{name} {value:g}: is no probability between 0 and 1; write 0.9, say")
        if not predictor.contents.calibrates:
            raise UserError(
                f"{name}: ensemble.vote: hard gives shares of ballots, which are no probabilities; it takes models joined by "
                "soft or geometric"
            )
    groups = len(np.unique(predictor.oof.group))
    if form.level is not None and groups < conformal.fewest(form.level):
        raise UserError(
            f"--set {form.level:g}: takes {conformal.fewest(form.level)} {predictor.task.units} in training, and there were "
            f"{groups}; ask for less, as --set {_reached(groups):.2f}"
        )
    if form.top > predictor.task.classes:
        raise UserError(f"--top {form.top}: there are {predictor.task.classes} classes; ask for as many at most")


def _reached(groups: int) -> float:
    """The highest level in hundredths that so many groups give sets of."""
    return int(100 * groups / (groups + 1)) / 100


def columns(form: Form, task: Task) -> tuple[str, ...]:
    """Of a CSV."""
    axes = (
        [name for axis in task.axes for name in (axis.name, f"{axis.name}_probability")] if len(task.axes) > 1 else []
    )
    top = [name for place in range(1, form.top + 1) for name in (f"top{place}", f"top{place}_probability")]
    return (
        *("file", "class", "label", "probability", *axes, *top),
        *(("abstained",) if form.abstain is not None else ()),
        *(("set",) if form.level is not None else ()),
        *(("heat_map",) if form.maps is not None else ()),
        "error",
    )


def check_csv(form: Form, task: Task) -> None:
    """Raise UserError for what a CSV would say in two ways, where JSON lines do not: axes and classes may have any name."""
    names = columns(form, task)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(
            f"--out: a CSV would have two columns `{twice}`, as an axis is called; write JSON lines, as --out answers.jsonl"
        )
    parted = next((name for name in task.class_names if JOIN in name), None) if form.level is not None else None
    if parted:
        raise UserError(
            f"--set: the class {shown(parted)} holds `{JOIN}`, which parts the classes of a set in a CSV; write JSON lines, as "
            "--out answers.jsonl"
        )


def thresholds(form: Form, predictor: Predictor) -> Thresholds | None:
    """Of the sets that are asked for, if any."""
    if form.level is None:
        return None
    oof = predictor.oof
    return conformal.thresholds(oof.true, oof.label, oof.group, predictor.task.classes, form.level)


@dataclass(frozen=True)
class Said:
    """Answers to n photos."""

    answer: np.ndarray  # [n]
    probability: np.ndarray  # calibrated, [n, C]
    marginal: tuple[np.ndarray, ...]  # of each axis's levels, [n, levels]
    inside: np.ndarray | None  # which classes are in the set, [n, C]


def said(predictor: Predictor, voted: np.ndarray, known: Thresholds | None) -> Said:
    """From voted probabilities [n, C]."""
    answer, probability = predictors.answers(predictor, voted), predictors.calibrated(predictor, voted)
    cube = probability.reshape(len(voted), *predictor.task.sizes)
    axes = range(1, cube.ndim)
    marginal = tuple(cube.sum(tuple(other for other in axes if other != axis)) for axis in axes)
    return Said(
        answer, probability, marginal, None if known is None else conformal.sets(probability, answer, known.lowest)
    )


def row(name: str, place: int, found: Said, form: Form, task: Task) -> Row:
    """One photo's answer: the keys of JSON lines. Levels of axes are those of the answered class, with their own probability."""
    answer, probability = int(found.answer[place]), found.probability[place]
    own = float(probability[answer])
    abstained = form.abstain is not None and own < form.abstain
    made: Row = {
        "file": name,
        "class": None if abstained else answer,
        "label": None if abstained else task.class_names[answer],
        "probability": own,
    }
    if len(task.axes) > 1:
        levels = [int(code) for code in task.parts(np.array(answer))]
        made["axes"] = {
            axis.name: {"label": None if abstained else axis.levels[level], "probability": float(share[place][level])}
            for axis, level, share in zip(task.axes, levels, found.marginal, strict=True)
        }
    if form.top:
        order = np.argsort(-probability, kind="stable")[: form.top]
        made["top"] = [
            {"label": task.class_names[number], "probability": float(probability[number])} for number in order
        ]
    if form.abstain is not None:
        made["abstained"] = abstained
    if found.inside is not None:
        made["set"] = [task.class_names[number] for number in np.flatnonzero(found.inside[place])]
    return made


def failed(fault: Unreadable) -> Row:
    """The row of a photo that has no answer."""
    return {"file": fault.name, "error": f"{fault.problem}; {fault.mend}"}


def flat(made: Row) -> Row:
    """A row in the columns of a CSV."""
    found = {name: "" if value is None else value for name, value in made.items() if not isinstance(value, dict | list)}
    for axis, told in made.get("axes", {}).items():
        found |= {axis: told["label"] or "", f"{axis}_probability": told["probability"]}
    for place, told in enumerate(made.get("top", []), 1):
        found |= {f"top{place}": told["label"], f"top{place}_probability": told["probability"]}
    if "set" in made:
        found["set"] = JOIN.join(made["set"])
    if "abstained" in made:
        found["abstained"] = int(made["abstained"])
    return found


def made_by(form: Form, predictor: Predictor) -> dict[str, Any]:
    """What must be the same for a file of answers to be gone on with."""
    content = predictor.contents.model_dump_json()
    return {
        "model": hashlib.sha256(content.encode()).hexdigest()[:16],
        "--top": form.top,
        "--abstain": form.abstain,
        "--set": form.level,
        "--explain": None if form.maps is None else str(form.maps),
    }


def measured(form: Form, predictor: Predictor) -> dict[str, Any]:
    """What abstaining and sets came to on the training photos, by models that had not seen their people (groups)."""
    oof, task, params = predictor.oof, predictor.task, predictor.params
    how = params.ensemble.replicates, params.seed
    found: dict[str, Any] = {}
    right = oof.answer == oof.label
    if form.abstain is not None:
        known = abstention.measured(oof.confidence, right, oof.group, form.abstain, how)
        found["abstain"] = {
            "least": form.abstain,
            **_ends("coverage", known.coverage),
            **_ends("accuracy", known.accuracy),
            "accuracy_of_all": float(right.mean()),
            "photos": known.photos,
        }
    if form.level is not None:
        photos = Photos(oof.true, oof.label, oof.group, oof.answer)
        part = nested_folds.parts(oof.group, oof.label, seed=params.seed)
        held = conformal.held(photos, task.classes, form.level, part)
        of_classes = conformal.thresholds(oof.true, oof.label, oof.group, task.classes, form.level)
        found["set"] = {
            "level": form.level,
            "units": task.units,
            **_ends("held", abstention.share(held, np.ones(len(held), bool), oof.group, how)),
            "fewest": conformal.fewest(form.level),
            "own_threshold": int((of_classes.source == conformal.OWN).sum()),
            "shared_threshold": _named(task, of_classes, conformal.POOLED),
            "threshold_of_all": _named(task, of_classes, conformal.ALL),
        }
    return found


def _ends(name: str, share: Share) -> dict[str, float]:
    return {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}


def _named(task: Task, found: Thresholds, source: int) -> list[str]:
    return [task.class_names[number] for number in np.flatnonzero(found.source == source)]
