"""Which files a training may begin with: those that DVC watches, and none that knows the photos it will be scored on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.base import paths
from stages.base.errors import UserError
from stages.params.schema import Params
from stages.records import run_record

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
        if knows_these_photos(path):
            raise UserError(
                f"params.yaml: model.weights: {path} was trained on these photos, which each fold is scored on, so the scores "
                "would flatter; take weights from elsewhere"
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


def knows_these_photos(path: Path) -> bool:
    """Whether weights were trained here: they lie below out/, or say that they were trained on the photos of photos.csv.

    A file also lies below out/ that DVC has put there as a link to its cache, and one elsewhere that is a link into out/.
    """
    places = (path.resolve(), path.parent.resolve() / path.name)
    if any(place.is_relative_to(Path("out").resolve()) for place in places):
        return True
    return paths.PHOTOS.is_file() and trained_on(path) == run_record.digest(paths.PHOTOS)


def trained_on(path: Path) -> str:
    """The digest of photos.csv that weights written here were trained on, which they say themselves, or in a bundle the file that
    describes it; empty for weights from elsewhere."""
    try:
        own = run_record.trained_in(path).get("photos", "") if path.suffix == ".safetensors" else ""
    except (OSError, ValueError):  # its reader tells what is wrong with it
        own = ""
    return own or _bundled_on(path.resolve().parent.parent / paths.OF_BUNDLE)


def _bundled_on(contents: Path) -> str:
    """The same of the networks of a bundle, from its maskcli.json; empty where that is not there, or damaged."""
    try:
        return str(json.loads(contents.read_bytes())["origin"]["data"]["photos"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


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
