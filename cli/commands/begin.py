"""Commands to begin with: a data set, and a look ahead."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.common import Json, answer, examples, params, print_json, rows, talk

commands = typer.Typer()


@commands.command("demo-data", epilog=examples("maskcli demo-data data"))
def demo_data(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("data"),
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    people: Annotated[int, typer.Option(min=12, help="Training people, 7 photos each.")] = 132,
    eval_people: Annotated[int, typer.Option(min=6, help="Eval people, 7 photos each.")] = 40,
    as_json: Json = False,
) -> None:
    """Draw the demo data set.

    It has the contest's layout, and the eval truth beside it in eval_truth.csv.
    """
    from stages.data import demo_faces

    demo_faces.write(folder, seed, people, eval_people, talk())
    made = {"folder": str(folder), "people": people, "photos": rows(folder / "train/train.csv") * 7}
    made |= {
        "eval_people": eval_people,
        "eval_photos": rows(folder / "eval/info.csv"),
        "truth": f"{folder}/eval_truth.csv",
    }
    if as_json:
        print_json(made)
    else:
        print(
            f"{folder}: {people} people, {made['photos']} photos; {eval_people} eval people, {made['eval_photos']} photos"
        )


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
