"""The stages as commands, in the order in which DVC runs them."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.common import Json, answer, params, print_result, talk

commands = typer.Typer()


@commands.command("demo-data", epilog="Example: maskcli demo-data data")
def demo_data(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("data"),
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    people: Annotated[int, typer.Option(min=12, help="Training people, 7 photos each.")] = 132,
    eval_people: Annotated[int, typer.Option(min=6, help="Eval people, 7 photos each.")] = 40,
) -> None:
    """Draw the demo data set in the contest's layout, with the eval truth beside it in eval_truth.csv."""
    from stages.data import demo

    demo.write(folder, seed, people, eval_people, talk())


@commands.command(epilog="Example: maskcli prepare")
def prepare() -> None:
    """Check every row and photo, label them, decode each photo once."""
    from stages import prepare as stage

    stage.run(params(), talk())


@commands.command(epilog="Example: maskcli eda --json")
def eda(as_json: Json = False) -> None:
    """Show classes, ages, genders, photo sizes, near-duplicate photos across people and unreadable files."""
    from stages import eda as stage

    found = stage.run(params(), talk())
    if as_json:
        print_result(found, True)
        return
    from cli import tables

    answer(lambda width: tables.eda(found, width))


@commands.command(epilog="Example: maskcli kfold")
def kfold() -> None:
    """Give each person a fold, stratified by gender and age bin."""
    from stages import kfold as stage

    stage.run(params(), talk())


@commands.command("lr-find", epilog="Example: maskcli lr-find --fold 0")
def lr_find(fold: Annotated[int, typer.Option(min=0, help="Fold whose training side is used.")] = 0) -> None:
    """Run a learning-rate range test and settle the learning rate."""
    checked = params()
    from stages import lr_find as stage

    stage.run(checked, talk(), fold)


@commands.command(
    epilog="Examples: maskcli train --fold 0  |  maskcli train --until 18:00  |  maskcli train --fold 0 --fresh"
)
def train(
    fold: Annotated[
        int | None, typer.Option(min=0, help="Fold to validate on; the others train. Left out: all folds in turn.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Shorten the schedule so that all is done by then: 18:00, or 2026-01-31 18:00.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, also where a checkpoint could go on.")] = False,
    ahead: Annotated[
        bool,
        typer.Option(
            "--ahead",
            help="With --fold: also train the others on free cores, under a time limit to their end.",
        ),
    ] = False,
) -> None:
    """Train one fold or all, going on from a checkpoint where there is one, and predict the validation photos."""
    checked = params()
    if ahead and fold is not None:
        from stages import folds

        if folds.ahead(checked, talk(), fold, fresh, _moment(until)):
            return
    from stages import train as stage

    stage.run(checked, talk(), fold, fresh, _moment(until))


@commands.command(epilog="Examples: maskcli folds  |  maskcli folds --jobs 3  |  maskcli folds --only 1 --only 4")
def folds(
    jobs: Annotated[
        str,
        typer.Option(help="Folds at a time; auto: as parallel.jobs in params.yaml says, by default as many as fit."),
    ] = "auto",
    only: Annotated[list[int] | None, typer.Option(min=0, help="A fold to train; left out: all that are left.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Shorten the schedule so that all is done by then: 18:00, or 2026-01-31 18:00.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, also where a checkpoint could go on.")] = False,
) -> None:
    """Train the folds side by side, with the same results as one by one; one that fails leaves the others running.

    `dvc repro` afterwards takes them as they are.
    """
    checked = params()
    from stages import folds as stage

    stage.run(checked, talk(), _jobs(jobs), only, fresh, _moment(until))


def _jobs(text: str) -> int | None:
    from stages.errors import UserError

    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise UserError(f"--jobs {text}: is no number of folds; write auto, or a whole number from 1")
    return int(text)


def _moment(until: str | None) -> datetime.datetime | None:
    if until is None:
        return None
    from stages.learn.budget import parse_until

    return parse_until(until, datetime.datetime.now())


@commands.command("oof-ensemble", epilog="Example: maskcli oof-ensemble")
def oof_ensemble() -> None:
    """Join the folds' OOF predictions and score them, with a 95 % interval over people."""
    from stages import oof_ensemble as stage

    stage.run(params(), talk())


@commands.command("tta-predict", epilog="Example: maskcli tta-predict")
def tta_predict() -> None:
    """Predict the eval photos with all folds and views; write the submission."""
    checked = params()
    from stages import tta_predict as stage

    stage.run(checked, talk())
