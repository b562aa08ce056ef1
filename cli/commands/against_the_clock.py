"""The command for the last night: something to submit at every moment."""

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()


@commands.command("submit-now", epilog=examples("maskcli submit-now"))
def submit_now(as_json: Json = False) -> None:
    """Write a valid submission from whatever there is right now.

    It takes finished folds and the best checkpoints of others, also while `dvc repro` runs in another terminal.
    """
    checked = params()
    from stages.by_hand import submit_now as stage

    made = stage.run(checked, talk())
    if as_json:
        print_json(made)
        return
    from cli.tables import submit_now as tables

    answer(lambda width: tables.submit_now(made, width))
