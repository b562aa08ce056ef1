"""Commands that may raise the score: test-time views, blending, refitting, pseudo-labels."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.common import Json, answer, examples, found_by, params, print_json, talk

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
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap samples of people (groups, photos).")] = 2000,
    as_json: Json = False,
) -> None:
    """Say which test-time views help, and what to set.

    Judged on OOF photos, with 95 % intervals over people (groups, photos); ends with a line for params.yaml.
    """
    checked = params()
    from stages.by_hand import tta_search as stage

    with found_by(lambda: stage.run(checked, views or [], replicates, talk())) as found:
        if as_json:
            print_json(found)
            return
        from cli.tables import tta_search as tables

        answer(lambda width: tables.views(found, width))


@commands.command(
    epilog=examples("maskcli blend HEAD focal", "maskcli blend main focal workspace --weights convex --json")
)
def blend(
    runs: Annotated[list[str], typer.Argument(help="Git revisions, experiment names or workspace, two or more.")],
    weights: Annotated[
        Weights, typer.Option(help="How weights are found; auto chooses by nested cross-validation.")
    ] = Weights.auto,
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap samples of people (groups, photos).")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the nested folds and the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Blend several runs; write out/blend/submission.csv.

    Weights come from the runs' OOF predictions and are judged on other people (groups, photos).
    """
    from stages.by_hand import blend as stage

    found = stage.run(runs, weights.value, replicates, seed, talk())
    if as_json:
        print_json(found)
        return
    from cli.tables import blend as tables

    answer(lambda width: tables.blend(found, width))


@commands.command(epilog=examples("maskcli refit", "maskcli refit --fresh", "maskcli refit --json"))
def refit(
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, also where checkpoints could go on.")] = False,
    as_json: Json = False,
) -> None:
    """Train on all training photos; write a second submission.

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
    from cli.tables import refit as tables

    answer(lambda width: tables.refit(found, width))


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
    from cli.tables import pseudo_label as tables

    answer(lambda width: tables.pseudo_label(found, width))
