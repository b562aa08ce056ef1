"""What people read on stdout of init: what was found, what was chosen, what to type next."""

import shlex
from typing import TYPE_CHECKING, Any

from cli.lines import GAP, Column, Lines, Table, described, plain, table

if TYPE_CHECKING:  # it imports what takes seconds
    from stages.by_hand.init import Plan

MOST = 12  # classes that are listed


def plan(made: "Plan", width: int) -> Lines:
    """The data in a sentence, its classes, what looks suspicious, then the choices."""
    found = made.found.as_dict()
    units = made.found.task.units
    groups = f" of {found[units]:,} {units}" if units in found and units != "photos" else ""
    eval_photos = f", {found['eval_photos']:,} eval photos" if found["eval_photos"] else ", no eval set"
    answer = (
        f"{found['place']}: {found['photos']:,} photos{groups} in {len(found['classes'])} classes{eval_photos} "
        f"(layout {found['layout']})"
    )
    grouped = made.found.task.unit != "photo"
    columns = [Column("class"), Column("photos", "number"), *([Column(units, "number")] if grouped else [])]
    rows = [
        (str(row["class"]), f"{row['photos']:,}", *([f"{row['groups']:,}"] if grouped else []))
        for row in _ends(found["classes"])
    ]
    shown = Table(
        [*columns, Column("share", "number")], [(*row, share) for row, share in zip(rows, _shares(found), strict=True)]
    )
    lines = [*plain([answer], width), ("", ""), *table(shown, width)]
    left = len(found["classes"]) - len(rows)
    lines += plain([f"and {left} class{'es' * (left > 1)} between them"], width) if left else []
    lines += [
        ("", ""),
        *described([("suspicious", text) for text in found["suspicious"] or ["nothing"]], width, "yellow"),
    ]
    return [*lines, ("", ""), *described(_choices(made), width)]


def ending(made: "Plan", done: bool, width: int) -> Lines:
    """What was written, or would be, and what to type next."""
    written = (
        f"{'written' if done else 'would be written'} in {made.places.folder}: {', '.join(made.files) or 'nothing new'}"
    )
    lines = [("", ""), *plain([written], width)]
    if made.places.added and not done:
        lines += plain([f"and DVC would keep {', '.join(made.places.added)}"], width)
    return [*lines, *(_next(str(made.places.folder), width) if done else [])]


def demo(made: dict[str, Any], width: int) -> Lines:
    """Where the drawn faces are."""
    would = "demo faces, would be drawn" if made["dry_run"] else "demo faces, drawn"
    lines = plain([f"{made['data']}: {would if made['drawn'] else 'photos are there already, none is drawn'}"], width)
    told = f"{'would be written' if made['dry_run'] else 'written'} in {made['folder']}: {', '.join(made['files'])}"
    lines += plain([told if made["files"] else f"{made['folder']}: a project stands there, and stays as it is"], width)
    return lines if made["dry_run"] else [*lines, *_next(made["folder"], width)]


def update(made: dict[str, Any], width: int) -> Lines:
    """What was written anew."""
    if not made["files"]:
        return plain([f"{made['folder']}: all is as this version of maskcli and params.yaml want it"], width)
    lines = plain([f"{'would be written' if made['dry_run'] else 'written'} anew: {', '.join(made['files'])}"], width)
    return lines if made["dry_run"] else [*lines, *plain(["next", f"{GAP}dvc repro"], width)]


def _choices(made: "Plan") -> list[tuple[str, str]]:
    params, reasons = made.params, made.chosen.reasons
    image, train = params.image, params.train
    texts = [
        ("image", f"{image.width}x{image.height} px: {reasons['image']}"),
        ("model", f"{params.model.name}: {reasons['model']}"),
        ("training", f"{len(params.folds)} folds, {train.epochs} epochs, batch {train.batch_size}: {reasons['train']}"),
    ]
    return [*texts, *([("mirroring", reasons["augment"])] if "augment" in reasons else [])]


def _ends(classes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All classes, or the largest and the smallest of many."""
    return classes if len(classes) <= MOST else classes[: MOST // 2] + classes[-MOST // 2 :]


def _shares(found: dict[str, Any]) -> list[str]:
    return [f"{row['photos'] / max(1, found['photos']):.1%}" for row in _ends(found["classes"])]


def _next(folder: str, width: int) -> Lines:
    commands = [
        *([f"cd {shlex.quote(folder)}"] if folder != "." else []),
        "maskcli check",
        "dvc repro",
        "maskcli summary",
    ]
    return [*plain(["next"], width), *((GAP + command, "") for command in commands)]
