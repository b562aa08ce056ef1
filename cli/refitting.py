"""Commands of the last night: train on all the training data, and on eval photos that the models are sure of."""

from pathlib import Path
from typing import Annotated

import typer

from cli.common import Json, params, print_result, talk

commands = typer.Typer()


@commands.command(epilog="Examples: maskcli refit  |  maskcli refit --fresh  |  maskcli refit --json")
def refit(
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, also where checkpoints could go on.")] = False,
    as_json: Json = False,
) -> None:
    """Train on all the training people, several seeds, and write a second submission. It has no OOF score."""
    checked = params()
    from stages import paths
    from stages import refit as stage

    found = stage.run(checked, talk(), fresh)
    if not found:  # a helper process of `accelerate launch`
        return
    if as_json:
        print_result(found, True)
        return
    print(
        f"submission   {paths.REFIT_SUBMISSION}    ({found['seeds']} seeds x {found['epochs']} epochs of "
        f"{found['train_photos']} photos)"
    )
    if found["equal_answers"] is None:
        print(f"answers      not compared: {paths.SUBMISSION} is not there, or has other photos (dvc repro)")
    else:
        print(f"answers      {found['equal_answers']:.1%} equal those of the fold ensemble, {paths.SUBMISSION}")
    print(
        "score        none: every training person was learnt from. The fold ensemble's OOF score (maskcli summary) is\n"
        "             of models with fewer people; whether the refit is better cannot be seen without new people"
    )


@commands.command(
    "pseudo-label", epilog="Examples: maskcli pseudo-label  |  maskcli pseudo-label --output pseudo/b.csv"
)
def pseudo_label(
    output: Annotated[Path, typer.Option(help="CSV to write; commit it to git.")] = Path("pseudo/labels.csv"),
    as_json: Json = False,
) -> None:
    """Choose eval photos that the folds are sure of, for training with `dvc exp run -S pseudo.labels=...`."""
    checked = params()
    from stages import pseudo_label as stage

    found = stage.run(checked, talk(), output)
    print_result(found, as_json)
    if not as_json:
        print(
            f"next         git add {output}; dvc exp run -n pseudo -S pseudo.labels={output}; maskcli compare HEAD pseudo"
        )
