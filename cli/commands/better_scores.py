"""Commands that join predictions: which test-time views help, and blending of several runs."""

from enum import StrEnum
from typing import Annotated

import typer

from cli.common import Json, answer, examples, params, print_json, talk

commands = typer.Typer()


class Weights(StrEnum):
    auto = "auto"
    equal = "equal"
    greedy = "greedy"
    convex = "convex"


@commands.command(
    "tta-search",
    epilog=examples(
        "maskcli tta-search", "maskcli tta-search --view hflip --view scale_1.1", "maskcli tta-search --json"
    ),
)
def tta_search(
    views: Annotated[
        list[str] | None, typer.Option("--view", help="View to try, may be repeated; all the common ones if not given.")
    ] = None,
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap samples of people.")] = 2000,
    as_json: Json = False,
) -> None:
    """Say which test-time views help, and what to set.

    Judged on OOF photos, with 95 % intervals over people; ends with a line for params.yaml.
    """
    checked = params()
    from stages.by_hand import tta_search as stage

    found = stage.run(checked, views or [], replicates, talk())
    if as_json:
        print_json(found)
        return
    from cli.tables import better_scores

    answer(lambda width: better_scores.views(found, width))


@commands.command(
    epilog=examples("maskcli blend HEAD focal", "maskcli blend main focal workspace --weights convex --json")
)
def blend(
    runs: Annotated[list[str], typer.Argument(help="Git revisions, experiment names or workspace, two or more.")],
    weights: Annotated[
        Weights, typer.Option(help="How weights are found; auto chooses by nested cross-validation.")
    ] = Weights.auto,
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap samples of people.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the groups of people and the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Blend several runs; write out/blend/submission.csv.

    Weights come from the runs' OOF predictions and are judged on other people.
    """
    from stages.by_hand import blend as stage

    found = stage.run(runs, weights.value, replicates, seed, talk())
    if as_json:
        print_json(found)
        return
    from cli.tables import better_scores

    answer(lambda width: better_scores.blend(found, width))
