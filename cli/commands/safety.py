"""Commands for the last night: look ahead, and have something to submit at every moment."""

from typing import Any

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()


@commands.command(epilog=examples("maskcli check", "maskcli check --json"))
def check(context: typer.Context, as_json: Json = False) -> None:
    """Try every stage on a few people; say how long all will take.

    With the real params, in a temporary folder: what would fail at the end fails here, in a minute.
    """
    checked = params()
    from stages.by_hand import check as stage

    parent: Any = context.parent
    report = stage.run(checked, talk(), debug=bool(parent and parent.params.get("debug")))
    if as_json:
        print_json(report.as_dict())
    else:
        from cli.tables import answers

        answer(lambda width: answers.check(report, width))
    if report.failed:
        raise typer.Exit(2)


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
    from cli.tables import summaries

    answer(lambda width: summaries.submit_now(made, width))
