"""Commands for a model that leaves its project: bundled, asked, exported, served."""

import io
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()
UNREADABLE = 3  # exit code where all is done but some photos could not be read


class To(StrEnum):
    onnx = "onnx"
    torch_export = "torch-export"


class Takes(StrEnum):
    uint8 = "uint8"
    float = "float"


@commands.command(
    epilog=examples(
        "maskcli bundle", "maskcli bundle models/masks --licence cc-by-4.0", "maskcli bundle small --fold 0 --no-zip"
    )
)
def bundle(
    out: Annotated[Path, typer.Argument(help="Folder to write; the .zip lies beside it.")] = Path("out/bundle"),
    fold: Annotated[int | None, typer.Option(min=0, help="This fold's models alone; all folds' if not given.")] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="The models of `maskcli refit` instead, which have no score.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Of the weights, for the model card, as cc-by-4.0; yours to say.")
    ] = None,
    zipped: Annotated[bool, typer.Option("--zip/--no-zip", help="Also one .zip of it.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write the trained models as a folder that answers anywhere.

    Weights, classes, preprocessing, scores, a model card: no project is needed to use it, and timm reads it (docs/bundles.md).
    """
    checked = params()
    from stages.by_hand import bundle as stage

    found = stage.run(checked, out, stage.Asked(fold, refit, licence, zipped, force), talk())
    if as_json:
        print_json(found)
        return
    from cli.tables import bundle as tables

    answer(lambda width: tables.bundle(found, width))


@commands.command(
    epilog=examples(
        "maskcli predict . photo.jpg",
        "maskcli predict masks.zip photos/ --out answers.csv",
        "maskcli predict . 'photos/*.jpg' --abstain 0.9 --set 0.95 --top 3",
        "maskcli predict . new.csv --column file --out answers.jsonl",
        "maskcli predict . photo.jpg --explain maps",
    )
)
def predict(
    source: Annotated[str, typer.Argument(metavar="BUNDLE|.", help="A bundle, folder or .zip; or . for this project.")],
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO|DIR|GLOB|TABLE...",
            help="Photos; folders with all photos below them; patterns; CSV or parquet tables that list files.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the answers here, .csv or .jsonl (JSON lines); the same command goes on where it ended."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an --out that is there.")] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Also the most probable classes, so many.")] = None,
    abstain: Annotated[
        float | None, typer.Option(help="Answer only where the calibrated probability is at least this.")
    ] = None,
    level: Annotated[
        float | None, typer.Option("--set", help="Also the set of classes that holds the true one this often.")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="Column of a table that names the files, or a pattern, as images/{id}.jpg; by default `file`."
        ),
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Folder for heat maps: what in each photo speaks for its answer (Grad-CAM).")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each answer as a JSON line; with --out what all came to, as JSON.")
    ] = False,
) -> None:
    """Answer new photos: class, calibrated probability, each axis.

    A photo that cannot be read gets a row that says why, and the rest goes on; the exit code is then 3. How often answers and
    sets are right is measured on the training photos, by models that had not seen their people (docs/bundles.md).
    """
    from stages.by_hand import predict as stage
    from stages.by_hand.predict_rows import Form

    emit = None if out or not as_json else _print
    if emit and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as JSON is, whatever the system's code page
    asked = stage.Asked(tuple(photos), Form(top or 0, abstain, level, explain), column, out, force, emit)
    say = talk()
    found = stage.run(asked, lambda: opened(source, say), say)
    if as_json and out:
        print_json(found)
    elif not as_json:
        from cli.tables import predict as tables

        answer(lambda width: tables.predict(found, width))
    if found["unreadable"]:
        raise typer.Exit(UNREADABLE)


@commands.command(
    epilog=examples(
        "maskcli export . --to onnx",
        "maskcli export masks.zip --to torch-export --photos holiday --out masks.pt2",
        "maskcli export . --to onnx --int8 --json",
    )
)
def export(
    source: Annotated[str, typer.Argument(metavar="BUNDLE|.", help="A bundle, folder or .zip; or . for this project.")],
    to: Annotated[To, typer.Option(help="Kind of file; onnx needs onnx, onnxscript and onnxruntime.")],
    takes: Annotated[
        Takes, typer.Option("--input", help="Photos of the cache's size: uint8 in 0..255, or float in 0..1.")
    ] = Takes.uint8,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in 8 bits; what that costs is measured on OOF photos and told.")
    ] = False,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to check on; the project's own, or drawn ones, if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; out/export/model.onnx, say, if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write the ensemble as one graph, ONNX or torch.export.

    Preprocessing of pixels, views, networks, vote, temperature and decision rule are inside. The file is kept only where it
    answers as torch does: probabilities within 1e-4, the same classes (docs/bundles.md).
    """
    from stages.by_hand import export as stage

    say = talk()
    asked = stage.Asked(source, to.value, takes.value, int8, photos, out, force)
    found = stage.run(asked, lambda: opened(source, say), say)
    if as_json:
        print_json(found)
        return
    from cli.tables import export as tables

    answer(lambda width: tables.export(found, width))


def _print(line: str) -> None:
    """Print a line at once; where nobody reads on, as behind `| head`, all is done."""
    try:
        print(line, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
        raise SystemExit(0) from None


def opened(source: str, say: Any) -> Any:
    """The models of a bundle, or of the project in the working folder."""
    from stages.base import paths
    from stages.base.errors import UserError

    path = Path(source)
    if paths.is_here(path):
        from stages.bundle.of_project import open_project

        return open_project(params(), say)
    if (path / paths.PARAMS).is_file() and not (path / paths.OF_BUNDLE).is_file():
        raise UserError(f"{source}: is another project; go there and name it by a point, or make a bundle of it there")
    from stages.bundle.of_bundle import open_bundle

    return open_bundle(path, say, _own_plugins)


def _own_plugins() -> Any:
    """Files of one's own that params.yaml of the working folder names, where there is one."""
    from stages.base import paths
    from stages.params.load import load
    from stages.params.model_and_training import Plugins

    return load().plugins if paths.PARAMS.is_file() else Plugins()
