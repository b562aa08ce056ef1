"""The command that divides experiments among people."""

from typing import Annotated

import typer

from cli.common import Json, answer, examples, params, print_json

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "maskcli claim focal && dvc exp run -n focal -S loss=focal",
        "maskcli claim --queued --most 2 && dvc queue start",
        "maskcli claim",
        "maskcli claim --release focal",
    )
)
def claim(
    experiments: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="Names to claim; none: list all claims.")
    ] = None,
    remote: Annotated[str, typer.Option(help="The git remote on which claims are kept.")] = "origin",
    queued: Annotated[
        bool,
        typer.Option(
            "--queued", help="What waits in DVC's queue, by what it changes; what is not yours leaves the queue."
        ),
    ] = False,
    most: Annotated[int | None, typer.Option(min=1, help="--queued: so many at most.")] = None,
    release: Annotated[bool, typer.Option("--release", help="Give the named ones back, whoever holds them.")] = False,
    as_json: Json = False,
) -> None:
    """Say that you train an experiment, so that nobody else does.

    It is said on the git remote. Exit code 2 where somebody else has said so: who, on which host and since when stands there. A
    claim is for what HEAD has of params, data and code, and stays until it is released (docs/team.md).
    """
    from cli.tables import claim as tables
    from stages.base.errors import UserError
    from stages.by_hand import claim as stage

    params()
    names = experiments or []
    if most is not None and not queued:
        raise UserError("claim --most: counts what --queued claims; give --queued, or leave it out")
    if queued and (names or release):
        raise UserError("claim --queued: takes what waits in DVC's queue; give it without names and without --release")
    if release and not names:
        raise UserError("claim --release: give the names of claims; `maskcli claim` lists them")
    if queued:
        divided = stage.of_queue(remote, most)
        if as_json:
            print_json(stage.as_json(divided))
        else:
            answer(lambda width: tables.divided(divided, remote, width))
        return
    do, told = (stage.release, tables.released) if release else (stage.run, tables.taken)
    found = do(remote, names) if names else stage.listed(remote)
    if as_json:
        print_json(stage.as_json(found))
    else:
        answer(lambda width: told(found, remote, width) if names else tables.listed(found, remote, width))
