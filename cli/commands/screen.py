"""The command that looks at many losses, samplers and heads on a frozen backbone."""

from typing import Annotated

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


@commands.command(
    epilog=examples(
        "maskcli screen",
        "maskcli screen --backbone mobilenetv2_100.safetensors --heads linear,mlp",
        "maskcli screen --losses ce,focal,ldam --samplers none,sqrt --json",
    )
)
def screen(
    backbone: Annotated[
        str,
        typer.Option(
            help="params: model.pretrained or model.weights; folds: each fold's own trained model, for that fold alone; or a "
            "path to weights. auto: params where one of these is set, else folds."
        ),
    ] = "auto",
    losses: Annotated[str | None, typer.Option(help="Losses, with commas between; all if not given.")] = None,
    samplers: Annotated[str | None, typer.Option(help="Samplers, with commas between; all if not given.")] = None,
    heads: Annotated[str | None, typer.Option(help="linear, mlp or both; that of params.yaml if not given.")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the training photos; 20, or about 2000 steps, if not given."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Trainings of every head, each with a seed of its own.")] = 3,
    replicates: Annotated[
        int | None, typer.Option(min=100, help="Bootstrap samples of people; ensemble.replicates if not given.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows to print; the file has all.")] = 15,
    as_json: Json = False,
) -> None:
    """Rank losses x samplers x heads on a frozen backbone.

    In minutes, with 95 % intervals over people; what it can and cannot tell is printed with it.
    """
    checked = params()
    from stages.by_hand import screen as stage

    choice = stage.Choice(backbone, _names(losses), _names(samplers), _names(heads), epochs, repeats, replicates)
    found = stage.run(checked, choice, talk())
    if as_json:
        print_json(found)
        return
    from cli.tables import screen

    answer(lambda width: screen.screen(found, top, width))
