"""Commands for a model that leaves its project: bundled, asked, exported, served."""

from pathlib import Path
from typing import Annotated

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()


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
