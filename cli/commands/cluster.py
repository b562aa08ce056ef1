"""The command that trains on more than one machine."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.stages import jobs_at_a_time, moment
from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()
group = typer.Typer(
    name="cluster",
    no_args_is_help=True,
    help="Train on several machines, or several experiments here.\n\n`cluster run` trains folds, repeats and experiments as "
    "tasks of a Ray cluster (docs/cluster.md).",
    epilog=examples("maskcli cluster run --address auto", "maskcli cluster run -S loss=ce,focal"),
)
commands.add_typer(group)


@group.command(
    epilog=examples(
        "maskcli cluster run --address 10.0.0.1:6379",
        "maskcli cluster run --address auto -S loss=ce,focal -S train.epochs=10,20",
        "maskcli cluster run --queued --until 18:00",
    )
)
def run(
    experiments: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="Experiments in DVC's queue, by name.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster: host:port of its head, or auto. Left out: processes of this machine."),
    ] = None,
    gpus_per_fold: Annotated[
        float | None,
        typer.Option(
            min=0, help="GPUs of each training on the cluster; 0.5: two share one. Left out: 1 where lr-find had one."
        ),
    ] = None,
    queued: Annotated[bool, typer.Option("--queued", help="All that `dvc exp run --queue` has queued.")] = False,
    set_param: Annotated[
        list[str] | None,
        typer.Option("--set-param", "-S", help="As of `dvc exp run`: -S loss=ce,focal trains an experiment a value."),
    ] = None,
    name: Annotated[str, typer.Option("--name", "-n", help="Of what -S makes; left out: by what it changes.")] = "",
    shared: Annotated[
        Path | None,
        typer.Option(help="A folder that all nodes see: photos are prepared there once, not on every node."),
    ] = None,
    git_remote: Annotated[
        str, typer.Option(help="Nodes fetch the revision from this git remote; left out: it is sent to them.")
    ] = "",
    claim: Annotated[
        str,
        typer.Option(help="Claim experiments on this git remote; those that another clone has claimed are left out."),
    ] = "",
    dirty: Annotated[bool, typer.Option("--dirty", help="Take changes along that are not committed.")] = False,
    until: Annotated[str | None, typer.Option(help="All is trained by then: 18:00, or 2026-01-31 18:00.")] = None,
    jobs: Annotated[
        str,
        typer.Option(help="Trainings at a time; auto: here as parallel.jobs says, on a cluster all there is room for."),
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Train folds, repeats and experiments as tasks of a cluster.

    Without EXPERIMENT and -S, the workspace's own folds. Workers only train; checkpoints come back, DVC writes here alone, and
    `dvc repro` has nothing left to do. After a crash or Ctrl-C the same command goes on (docs/cluster.md).
    """
    params()
    from stages.base.errors import UserError
    from stages.by_hand import cluster as stage

    asked = stage.Asked(
        names=experiments or (),
        queued=queued,
        changes=set_param or (),
        name=name,
        address=address,
        gpus_per_fold=gpus_per_fold,
        shared=shared,
        git_remote=git_remote,
        claim=claim,
        dirty=dirty,
        until=moment(until),
        jobs=jobs_at_a_time(jobs),
    )
    found = stage.run(asked, talk())
    if as_json:
        print_json(found.as_json())
    else:
        from cli.tables import cluster as tables

        answer(lambda width: tables.cluster(found, width))
    if problem := found.problem():
        raise UserError(problem)
