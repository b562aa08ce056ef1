"""README.md of a bundle: what it answers, how well, for whom that was measured, and what is not known (Mitchell et al. 2019,
Model cards for model reporting, arXiv:1810.03993).
"""

import html
import json
from typing import Any

from stages.bundle.contents import NAME, Contents
from stages.data.task_and_classes import Task
from stages.judge.bootstrap import FEWEST_PEOPLE

WHOLE = 100  # classes that are listed one by one
NAMED = 12  # in a sentence
RARE = 10  # people (groups, photos) of a class, below which its score says next to nothing
SCORES = {
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "ece_calibrated": "calibration error (ECE), calibrated",
}
# What the scores are of, and what that says of these models.
OF_THESE = {
    "folds": "These scores are of single folds' models; the ensemble of all folds, which answers here, was measured on no photo "
    "with a known truth. Ensembles are usually as good or better.",
    "fold": "These scores are of all folds' models, of which this bundle holds one: its own score lies near.",
    "refit": "These scores are of the folds' models. The models here were trained again on all photos, so nothing is left to "
    "score them on: their own score, calibration and decision rule were not measured.",
}


def text(contents: Contents) -> str:
    """The model card of a bundle, Markdown with a head of YAML as model hubs read it."""
    task = contents.own_task
    parts = [
        _head(contents),
        f"# {_plain(' x '.join(axis.name for axis in task.axes))}: {task.classes} classes",
        _what(contents, task),
        "## How good it is",
        *_scores(contents, task),
        "## Its classes",
        *_classes(contents, task),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(contents, task)),
        "## Use",
        *_use(contents),
        "## Made of",
        _made_of(contents),
    ]
    return "\n\n".join(parts) + "\n"


def _head(contents: Contents) -> str:
    licence = [f"license: {json.dumps(contents.licence)}"] if contents.licence else []
    lines = [
        *licence,
        "library_name: timm",
        "pipeline_tag: image-classification",
        "tags: [image-classification, maskcli]",
    ]
    return "\n".join(["---", *lines, "---"])


def _what(contents: Contents, task: Task) -> str:
    axes = "; ".join(f"{_plain(axis.name)} ({_listed([_plain(level) for level in axis.levels])})" for axis in task.axes)
    count, seen = len(contents.networks), contents.preprocessing
    many = f"{count} networks, joined by a {contents.vote} vote" if count > 1 else "one network"
    return (
        f"Answers of a photo: {axes}. By {many}, {_plain(contents.params['model']['name'])} at {seen.height}x{seen.width} px, "
        f"over {len(contents.views)} views ({_listed(list(contents.views))}). Written by maskcli {contents.maskcli}."
    )


def _scores(contents: Contents, task: Task) -> list[str]:
    scores = contents.scores
    subsets = {f"f1_{name}": f"macro F1 of {_plain(name)}" for name in task.subsets}
    axes = {f"f1_{axis.name}": f"macro F1 of {_plain(axis.name)}" for axis in task.axes} if len(task.axes) > 1 else {}
    rows = [
        f"| {label} | {_number(scores.get(key))} | {_interval(scores, key)} |"
        for key, label in (SCORES | subsets | axes).items()
        if scores.get(key) is not None
    ]
    photos, units = scores.get("photos"), scores.get(task.units)
    of = f"{photos} photos" + (f" of {units} {task.units}" if task.unit != "photo" else "")
    unseen = f"that saw no photo of the same {task.unit}" if task.unit != "photo" else "that did not see it"
    return [
        "\n".join([f"| | score | 95 % interval over {task.units} |", "|---|---|---|", *rows]),
        f"Measured out of fold on the {of} of the training data: each is answered by a model {unseen}, by the largest "
        f"probability. {OF_THESE[contents.kind]}",
    ]


def _classes(contents: Contents, task: Task) -> list[str]:
    rows: list[dict[str, Any]] = list(contents.classes)
    shown = rows if len(rows) <= WHOLE else sorted(rows, key=lambda row: row["photos"])[:WHOLE]
    units = [] if task.unit == "photo" else [task.units]
    head = ["class", "photos", *units, "F1", "95 % interval"]
    lines = [
        [
            _plain(row["class"]),
            str(row["photos"]),
            *(str(row[unit]) for unit in units),
            _number(row["f1"]),
            _interval(row),
        ]
        for row in shown
    ]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines))
    note = f"No interval: fewer than {FEWEST_PEOPLE} {task.units} have the class, or there are too many classes for one each."
    rest = f" The {WHOLE} rarest of {len(rows)}; {NAME} has all." if len(shown) < len(rows) else ""
    return [table, note + rest]


def _limits(contents: Contents, task: Task) -> list[str]:
    scores, units = contents.scores, task.units
    rare = [row for row in contents.classes if 0 < row.get(units, row["photos"]) < RARE]
    none = [row["class"] for row in contents.classes if not row["photos"]]
    decision = contents.decision
    lines = [
        f"Judged on the {units} of its own training data alone. Of other {'cameras, places and ' * (units != 'photos')}"
        f"{'people' if units == 'people' else 'photos'} nothing was measured.",
        "It always answers one of its classes, also for a photo that shows nothing of the kind.",
    ]
    if task.unit == "photo":
        lines.append(
            "No groups are known: if several photos show the same subject, some were on both sides of a fold, and the scores "
            "read too high."
        )
    if rare:
        names = _listed([_plain(row["class"]) for row in rare])
        lines.append(f"Rare: fewer than {RARE} {units} have {names}. Their scores say next to nothing.")
    select = contents.params["train"]["select"]
    if select != "last":
        last = _number(scores.get("macro_f1_last"))
        lines.append(
            f"Epochs were chosen on the photos that are scored (train.select: {select}), so all scores above read too high"
            + (f"; after the last epochs, which nothing chose, macro F1 was {last}." if last else ".")
        )
    if none:
        lines.append(
            f"No photo was seen of {_listed([_plain(name) for name in none])}: expect no such answer to be right."
        )
    lines.append(_calibration(contents, task))
    if decision.rule == "adjusted":
        gain = (
            f"{_number(scores.get('macro_f1_adjusted'))}" if scores.get("macro_f1_adjusted") is not None else "unknown"
        )
        lines.append(
            f"Answers are not always the most probable class: offsets favour macro F1, at the cost of accuracy ({gain} macro F1 "
            f"on {units} that they were not fitted on)."
        )
    if contents.origin.commit_dirty:
        lines.append("The project's files differed from the commit below when its scores were written.")
    return lines


def _calibration(contents: Contents, task: Task) -> str:
    if not contents.calibrates:
        return "Its numbers are shares of the networks' votes, no probabilities."
    ends = f"{contents.temperature_low:.2f} to {contents.temperature_high:.2f}"
    return (
        f"Logarithms of its probabilities are divided by a temperature, {contents.temperature:.2f} (95 % interval {ends} over "
        f"{task.units}), fitted on the out-of-fold predictions of single networks under one view. An ensemble is less sure than "
        "its members, so its probabilities may be too low."
    )


def _use(contents: Contents) -> list[str]:
    first = contents.networks[0]
    reads = (
        "Each network's folder also loads with timm alone; take the pixels as `preprocessing` in maskcli.json says, for timm's "
        "own transforms only come near:"
        if first.timm == "model"
        else "timm has no head as this one. Each network's folder loads with timm as a backbone that gives features; the head "
        "stands in head.safetensors:"
    )
    loads = f'timm.create_model("local-dir:FOLDER/{first.folder}", pretrained=True)'
    if contents.plugin:
        reads = (
            f"The networks come from {_plain(contents.plugin.file)}, a file that this bundle does not hold (its sha256 stands "
            f"below). maskcli loads them only where params.yaml of the working folder names it by plugins.models. "
            f"{reads.replace('timm alone', 'timm, once it is imported')}"
        )
    return ["FOLDER is the folder of this file:", "    maskcli predict FOLDER photo.jpg", reads, f"    {loads}"]


def _made_of(contents: Contents) -> str:
    origin, model, plugin = contents.origin, contents.params["model"], contents.plugin
    begun = "timm's published weights, whose licence goes with these" if model["pretrained"] else "random weights"
    if not model["pretrained"] and model["weights"] != "weights/none":
        begun = f"{model['weights']}, whose licence goes with these"
    rows = {
        "licence": contents.licence or "not stated; without one nobody may pass these weights on",
        "networks": _listed([one.trained_as for one in contents.networks]),
        "begun with": begun,
        **({"code of the model": f"{plugin.file}, sha256 {plugin.sha256}"} if plugin else {}),
        "commit": origin.commit or "unknown",
        "training": f"{origin.run}, learning rate {origin.lr:.3g}" if origin.lr is not None else origin.run,
        "data": ", ".join(f"{key} {value}" for key, value in sorted(origin.data.items())),
        "all of it": f"{NAME}: params, preprocessing, scores, and the sha256 of every file",
    }
    lines = [f"| {key} | {_plain(str(value))} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _number(value: float | int | None) -> str:
    return "" if value is None or value != value else f"{value:.3f}"


def _interval(values: dict[str, Any], key: str = "") -> str:
    low, high = (values.get(f"{key}_{end}" if key else end) for end in ("low", "high"))
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _plain(name: str) -> str:
    """A name as Markdown shows it, whatever letters it has."""
    escaped = html.escape(" ".join(name.split()), quote=False)
    return "".join(f"\\{letter}" if letter in "|*_`[]\\" else letter for letter in escaped)
