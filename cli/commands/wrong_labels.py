"""The commands that find wrong labels and mend them."""

from typing import Annotated

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()


@commands.command(epilog=examples("maskcli audit", "maskcli audit --first 50", "maskcli audit --json"))
def audit(
    first: Annotated[int, typer.Option(min=0, help="Suspects to show; suspects.csv has all.")] = 10,
    as_json: Json = False,
) -> None:
    """Find labels that are likely wrong, from the OOF predictions.

    Confident learning by the models of other folds: ranked suspects with a suggested label and the reason, and how much of the
    labels is wrong (docs/audit.md). Writes out/audit; `maskcli report` shows the first suspects' photos.
    """
    from stages.by_hand import audit as stage

    found = stage.run(params(), talk())
    if as_json:
        print_json(found | {"suspects": found["suspects"][:first]})
        return
    from cli.tables import audit as tables

    answer(lambda width: tables.audit(found, first, width))
