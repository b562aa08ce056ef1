"""Which files a training may begin with: those that DVC watches, and none that knows the photos it will be scored on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv
from stages.data import photos
from stages.data.fold_data import FoldData
from stages.params.schema import Params
from stages.records import learnt_photos, run_record
from stages.records.learnt_photos import Known, Learnt
from stages.records.run_record import Record

# Arguments that name a file, of timm's models and of albumentations' transforms.
FILE_ARGUMENTS = ("checkpoint_path", "file", "font_path")


def check(params: Params) -> None:
    """Raise UserError for starting weights that are not there or know these photos, and for files named where DVC would not
    see them change.
    """
    if not params.model.begins_without_file:
        path = Path(params.model.weights)
        if not path.is_file():
            raise UserError(
                f"params.yaml: model.weights: {path} not found; give the path of a .safetensors or .pth file, or "
                f"{paths.NO_WEIGHTS}"
            )
        if known := known_here(path):
            raise UserError(
                f"params.yaml: model.weights: {path} was trained on {known}, which each fold is scored on, so the scores would "
                "flatter; take weights from elsewhere"
            )
    for key, name in files_named(params.model.options, "model.options"):
        raise UserError(
            f"params.yaml: {key}: names the file {name}, and DVC would not see it change; name starting weights by "
            "model.weights"
        )
    if not isinstance(params.augment.pipeline, str):
        for key, name in files_named(list(params.augment.pipeline), "augment.pipeline"):
            raise UserError(
                f"params.yaml: {key}: names the file {name}, and DVC would not see it change; take a transform that reads no "
                "file"
            )


def known_here(path: Path) -> str:
    """Which of the photos of photos.csv weights have learnt from, in words; empty where there are none, or nothing tells.

    All: they lie below out/, or say that they were trained on the very table. Else so many of them as have the content of a photo
    that they learnt from (stages/records/learnt_photos.py). A file also lies below out/ that DVC has put there as a link to its
    cache, and one elsewhere that is a link into out/.
    """
    places = (path.resolve(), path.parent.resolve() / path.name)
    if any(place.is_relative_to(Path("out").resolve()) for place in places):
        return "these photos"
    trainings = learnt_photos.of_weights(path)
    if not trainings or not paths.PHOTOS.is_file():
        return ""
    if run_record.digest(paths.PHOTOS) in [one.table for one in trainings]:
        return "these photos"
    known = Known(trainings)
    if not known:
        return ""
    columns = {"file": str, "content": str}
    table = read_csv(paths.PHOTOS, "prepare", columns, usecols=lambda name: name in columns)
    found = _found(known, table, "file")
    return f"{found[0]} of these {len(table)} photos ({found[1]} is one)" if found else ""


def _found(known: Known, table: pd.DataFrame, names: str) -> tuple[str, str] | None:
    """How many photos of a table are among those learnt, in words, and the name of one; None where none is found."""
    standing_for = known.standing_for(photos.content_of(table))
    if not standing_for.any():
        return None
    return known.in_words(float(standing_for.sum()), len(table)), str(table[names].iloc[int(standing_for.argmax())])


def warnings(path: Path, units: str) -> list[str]:
    """What is to be said of weights that training begins with: whom they may know though no photo of photos.csv tells it, and how
    many eval photos they know. Nothing of weights from elsewhere. units: what the task calls its groups.
    """
    trainings = learnt_photos.of_weights(path)
    if not trainings:
        return []
    whole = all(one.smallest and one.share >= 1 for one in trainings)
    told, all_the_same = (", none of them a file of these", " all the same") if whole else ("", "")
    lines = [
        f"warning: {path}: was trained by maskcli on other photos{told}; where {units} of these are among them{all_the_same}, "
        "OOF scores flatter"
    ]
    known = Known(trainings)
    if known and paths.EVAL.is_file():
        table = photos.read_eval()
        if found := _found(known, table, "ImageID"):
            lines.append(
                f"warning: {path}: was trained on {found[0]} of the {len(table)} eval photos ({found[1]} is one), so a score of "
                "their answers would flatter"
            )
    return lines


def learnt(params: Params, record: Record, data: FoldData) -> tuple[Learnt, ...]:
    """What the weights of a training with this data are to carry of the photos that they know, those of model.weights among
    them."""
    begun_with = () if params.model.begins_without_file else learnt_photos.of_weights(Path(params.model.weights))
    contents = None if data.content is None else data.content[data.train]
    return learnt_photos.of_training(record, contents, begun_with)


def files_named(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Keys of nested arguments whose text names a file, and the text."""
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from files_named(item, f"{key}.{name}")
    elif isinstance(value, str) and (key.rpartition(".")[2] in FILE_ARGUMENTS or _is_file(value)):
        yield key, json.dumps(value)[:80]


def _is_file(text: str) -> bool:
    try:
        return text.startswith("file:") or Path(text).is_file() or ("/" in text and Path(text).exists())
    except (OSError, ValueError):  # too long, or no name at all
        return False
