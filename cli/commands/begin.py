"""Commands to begin with: a new project, a data set, and a look ahead."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import Json, answer, examples, params, print_json, rows, talk

if TYPE_CHECKING:
    from stages.new_project.declare_task import Declared, Said

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "maskcli init --demo --into demo",
        "maskcli init photos",
        "maskcli init photos.csv --label diagnosis --group patient --into project",
    )
)
def init(
    data: Annotated[Path | None, typer.Argument(help="A folder of photos, or a table of them (CSV, parquet).")] = None,
    into: Annotated[Path, typer.Option(help="Folder of the new project.")] = Path(),
    demo: Annotated[bool, typer.Option("--demo", help="Draw the demo faces, and begin with them.")] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Write dvc.yaml anew, for another version, an eval set or an axis that has come."
        ),
    ] = False,
    layout: Annotated[
        str | None, typer.Option(help="contest, folder or table; left out: what the photos show.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Table: column of the labels; several: an axis each; age:30,60 cuts numbers."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Table: column of what a fold must not divide; '' for none.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="Table: column of the photos' files, or a pattern, as images/{id}.jpg.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Table: column that says train, val or test.")] = None,
    eval_set: Annotated[Path | None, typer.Option("--eval", help="Photos to predict: a table, or a folder.")] = None,
    model: Annotated[str | None, typer.Option(help="timm's name of a model; left out: one for this device.")] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Begin without published weights.")] = False,
    no_add: Annotated[
        bool, typer.Option("--no-add", help="Do not let DVC keep photos that lie in the project.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a project's files that are there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Look at photos; write a project that trains on them.

    Says what it found, chooses folds, image size, batch and epochs for this machine, writes params.yaml, dvc.yaml and a README.
    Replaces nothing that is there. On a terminal it asks what the data does not show.
    """
    from stages.base.errors import UserError

    if [demo, update, data is not None].count(True) != 1:
        raise UserError(
            "init: name a folder of photos or a table, as `maskcli init photos`; or --demo alone, or --update alone"
        )
    talk().say(
        f"init: {'draws faces' if demo else f'looks at {into if update else data}'}"
    )  # what is imported takes seconds
    from stages.by_hand import init as stage
    from stages.new_project.declare_task import Said, require_used

    said = Said(
        _layout(layout), tuple(label or ()), group, file, split, eval_set, model, scratch, overwrite, not no_add
    )
    asks = sys.stdin.isatty() and sys.stderr.isatty() and not (yes or as_json)
    if demo or update:
        require_used(said, "--demo" if demo else "--update")
        _without_data(into, demo, dry_run, as_json)
        return
    assert data is not None
    of = stage.declared(data, into, said)
    if asks and of.columns:
        said = _asked(of, said)
        of = stage.declared(data, into, said)
    planned = stage.plan(of, into, said, talk())
    if not as_json:
        from cli.tables import init as init_tables

        answer(lambda width: init_tables.plan(planned, width))
    done = not dry_run and (not asks or _prompt("Write this project? (y, n)", "y").lower().startswith("y"))
    if done:
        stage.make(planned, talk())
    if as_json:
        print_json(planned.as_dict() | {"written": done})
        return
    answer(lambda width: init_tables.ending(planned, done, width))


def _without_data(into: Path, demo: bool, dry_run: bool, as_json: bool) -> None:
    """The drawn faces, in a new project or in one that stands there without data; or an update of what stands there."""
    from stages.by_hand import init as stage

    made = (stage.demo_project if demo else stage.update)(into, talk(), dry_run)
    if as_json:
        print_json(made)
        return
    from cli.tables import init as init_tables

    answer(lambda width: (init_tables.demo if demo else init_tables.update)(made, width))


def _asked(of: "Declared", said: "Said") -> "Said":
    """What a person at the terminal says of a table's columns."""
    assert of.columns
    found = of.columns
    if not said.labels:
        listed = ", ".join(found.labels) or "none seems to fit"
        said = replace(said, labels=(_prompt(f"Column of the labels ({listed})", found.label),))
    if said.group is None:
        told = "Column of what a fold must not divide, as a patient"
        listed = ", ".join(name for name in found.groups if name not in said.labels)
        answered = _prompt(f"{told} ({f'{listed}; ' if listed else ''}- for none)", found.group or "-")
        said = replace(said, group="" if answered == "-" else answered)
    return said


def _prompt(question: str, default: str | None) -> str:
    """What a person answers at the terminal; not by typer's prompt, which writes a blank to stdout too."""
    while True:
        print(question, f"[{default}]: " if default else ": ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:  # the end of the input
            raise typer.Abort
        if answered := line.strip() or default:
            return answered


def _layout(name: str | None) -> Any:
    from stages.base.errors import UserError
    from stages.params.data_and_axes import LAYOUTS

    if name not in (None, "contest", "folder", "table"):
        raise UserError(f"--layout {name}: is not known; the layouts are {LAYOUTS}")
    return name


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

    With the real params, in a temporary folder: what would fail at the end fails here, in a minute. Models and losses of your own
    are listed, with their options (docs/plugins.md).
    """
    checked = params()
    from stages.by_hand import check as stage

    parent: Any = context.parent
    report = stage.run(checked, talk(), debug=bool(parent and parent.params.get("debug")))
    if as_json:
        print_json(report.as_dict())
    else:
        from cli.tables import check as tables

        answer(lambda width: tables.check(report, width))
    if report.failed:
        raise typer.Exit(2)
