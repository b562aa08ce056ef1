"""Commands that take the models to photos they have never seen."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.common import answer, examples, params, print_json, talk

commands = typer.Typer()
UNREADABLE = 3  # exit code where all is done but some photos could not be read


@commands.command(
    epilog=examples(
        "maskcli predict . photo.jpg",
        "maskcli predict masks.zip photos/ --out answers.csv",
        "maskcli predict . 'photos/*.jpg' --abstain 0.9 --set 0.95 --top 3",
        "maskcli predict . new.csv --column file --out answers.jsonl",
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
    top: Annotated[int, typer.Option(min=1, help="Also the most probable classes, so many.")] = 0,
    abstain: Annotated[
        float | None, typer.Option(help="Answer only where the calibrated probability is at least this.")
    ] = None,
    level: Annotated[
        float | None, typer.Option("--set", help="Also the set of classes that holds the true one this often.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of a table that names the files; by default `file`.")
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

    emit = None if out or not as_json else lambda line: print(line, end="", flush=True)
    asked = stage.Asked(tuple(photos), Form(top, abstain, level), column, out, force, emit)
    say = talk()
    found = stage.run(asked, lambda: _opened(source, say), say)
    if as_json and out:
        print_json(found)
    elif not as_json:
        from cli.tables import predict as tables

        answer(lambda width: tables.predict(found, width))
    if found["unreadable"]:
        raise typer.Exit(UNREADABLE)


def _opened(source: str, say: Any) -> Any:
    """The models of a bundle, or of the project in the working folder."""
    from stages.base.errors import UserError

    path = Path(source)
    if path.resolve() == Path.cwd():
        from stages.bundle.of_project import open_project

        return open_project(params(), say)
    if (path / "params.yaml").is_file() and not (path / "maskcli.json").is_file():
        raise UserError(f"{source}: is another project; go there and name it by a point, or make a bundle of it there")
    from stages.bundle.of_bundle import open_bundle

    return open_bundle(path, say)
