"""Commands of the last night: train on all the training data, and on eval photos that the models are sure of."""

from pathlib import Path
from typing import Annotated

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()


@commands.command(epilog=examples("maskcli refit", "maskcli refit --fresh", "maskcli refit --json"))
def refit(
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, also where checkpoints could go on.")] = False,
    as_json: Json = False,
) -> None:
    """Train on all training people; write a second submission.

    Several seeds, joined by vote. It has no OOF score: nobody is left to score it on.
    """
    checked = params()
    from stages.by_hand import refit as stage

    found = stage.run(checked, talk(), fresh)
    if not found:  # a helper process of `accelerate launch`
        return
    if as_json:
        print_json(found)
        return
    from cli.tables import summaries

    answer(lambda width: summaries.refit(found, width))


@commands.command("pseudo-label", epilog=examples("maskcli pseudo-label", "maskcli pseudo-label --output pseudo/b.csv"))
def pseudo_label(
    output: Annotated[Path, typer.Option(help="CSV to write; commit it to git.")] = Path("pseudo/labels.csv"),
    as_json: Json = False,
) -> None:
    """Choose eval photos that the folds are sure of, to train on.

    They join training with `dvc exp run -S pseudo.labels=...`.
    """
    checked = params()
    from stages.by_hand import pseudo_label as stage

    found = stage.run(checked, talk(), output)
    if as_json:
        print_json(found)
        return
    from cli.tables import summaries

    answer(lambda width: summaries.pseudo_label(found, width))
