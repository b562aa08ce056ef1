"""bundle: the trained models as one folder and .zip that answer without the project."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base.errors import UserError
from stages.base.files import replacing_folder
from stages.base.talk import Talk
from stages.bundle import intervals, of_bundle, of_project, write
from stages.learn.model import Classifier
from stages.params.schema import Params


@dataclass(frozen=True)
class Asked:
    """Which models go into a bundle, and how."""

    fold: int | None = None  # one fold's models; None: all folds'
    refit: bool = False  # those of `maskcli refit` instead
    licence: str | None = None  # of the weights
    zipped: bool = True  # also a .zip beside the folder
    force: bool = False  # replace a bundle that is there


def run(params: Params, out: Path, asked: Asked, talk: Talk) -> dict[str, Any]:
    """Write the folder `out` (without the ending, where it is called .zip) and `out`.zip; return what they hold.

    Raises UserError where the models are missing or of several runs, or something is in the place of the bundle.
    """
    if asked.refit and asked.fold is not None:
        raise UserError("--refit: its models are of no fold; leave --fold or --refit out")
    out = out.with_suffix("") if out.suffix == ".zip" else out
    archive = out.with_name(f"{out.name}.zip")
    _check_place(out, archive, asked)
    found = of_project.found(params, talk, asked.fold, asked.refit)
    first = of_project.loaded(found.models.weights[0], params, found.task)
    contents = of_project.described(params, found, first).model_copy(update={"licence": asked.licence})
    contents = intervals.added(contents, found, params)
    del first

    def networks() -> Iterator[Classifier]:
        for path in talk.track(found.models.weights, len(found.models.weights), "write models"):
            yield of_project.loaded(path, params, found.task)

    with replacing_folder(out) as folder:
        contents = write.folder(folder, contents, networks(), of_project.out_of_fold_of(found))
        if asked.zipped:
            write.archive(archive, folder)
    if not asked.zipped:
        archive.unlink(missing_ok=True)  # of the bundle that was replaced
    return {
        "bundle": str(out),
        "zip": str(archive) if asked.zipped else None,
        "kind": contents.kind,
        "networks": [one.trained_as for one in contents.networks],
        "timm": contents.networks[0].timm,
        "bytes": sum(file.bytes for file in contents.files.values()),
        "macro_f1": contents.scores["macro_f1"],
        "macro_f1_low": contents.scores["macro_f1_low"],
        "macro_f1_high": contents.scores["macro_f1_high"],
        "licence": contents.licence,
    }


def _check_place(out: Path, archive: Path, asked: Asked) -> None:
    """Raise UserError where something is in the way: without --force whatever it is, with it whatever is no bundle."""
    for path in (out, archive):
        if not path.exists() or (path == archive and not asked.zipped):
            continue
        if not asked.force:
            raise UserError(f"{path}: exists already; name another folder, or replace the bundle by --force")
        empty = path.is_dir() and not any(path.iterdir())
        if not empty and not of_bundle.is_bundle(path):
            raise UserError(f"{path}: is no bundle, so --force does not replace it; name another folder")
