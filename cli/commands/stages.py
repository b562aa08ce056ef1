"""The stages as commands, in the order in which DVC runs them."""

import datetime
from collections.abc import Iterable
from typing import Annotated

import typer

from cli.common import Json, answer, examples, main_process, params, print_json, rows, talk, written

commands = typer.Typer()


@commands.command(epilog=examples("maskcli prepare"))
def prepare(as_json: Json = False) -> None:
    """Check every row and photo, label them, decode each photo once.

    With the decisions of corrections.csv on wrong labels, groups and photos (docs/corrections.md).
    """
    from stages import prepare as stage
    from stages.base import paths
    from stages.data import task_and_classes

    stage.run(params(), talk())
    if as_json:
        units = task_and_classes.read(params()).units  # people, groups, or photos, which are told below
        tables = {units: paths.GROUPS, "photos": paths.PHOTOS, "eval_photos": paths.EVAL, "faults": paths.FAULTS}
        print_json({name: rows(path) for name, path in tables.items()})


@commands.command(epilog=examples("maskcli eda --json"))
def eda(as_json: Json = False) -> None:
    """Show classes, axes, photo sizes, near-duplicates, bad files.

    Near-duplicates are photos that stand under two people (groups), or there twice; tables and pictures are written to out/eda.
    """
    from stages import eda as stage

    found = stage.run(params(), talk())
    if as_json:
        print_json(found)
        return
    from cli.tables import eda as tables

    answer(lambda width: tables.eda(found, width))


@commands.command(epilog=examples("maskcli kfold"))
def kfold(as_json: Json = False) -> None:
    """Give each person (group, photo) a fold, stratified by class."""
    from stages import kfold as stage
    from stages.base import paths
    from stages.data import task_and_classes

    stage.run(params(), talk())
    if as_json:
        print_json({task_and_classes.read(params()).units: written(paths.FOLD_SUMMARY)})


@commands.command("lr-find", epilog=examples("maskcli lr-find --fold 0"))
def lr_find(
    fold: Annotated[int, typer.Option(min=0, help="Fold whose training side is used.")] = 0, as_json: Json = False
) -> None:
    """Run a learning-rate range test and settle the learning rate.

    It measures plain cross entropy, whatever loss, sampler, targets and head params.yaml has, so that runs which differ in
    them are compared at one rate; `lr: auto` takes it, and a number in `lr` is taken as it stands.
    """
    checked = params()
    from stages import lr_find as stage
    from stages.base import paths

    stage.run(checked, talk(), fold)
    if as_json:
        print_json(written(paths.LR_CHOSEN))


@commands.command(
    epilog=examples("maskcli train --fold 0", "maskcli train --until 18:00", "maskcli train --fold 0 --fresh")
)
def train(
    fold: Annotated[
        int | None, typer.Option(min=0, help="Fold to validate on; the others train. Left out: all folds in turn.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="Shorten the schedule so that all is done by then: 18:00, 18:00+09:00, or 2026-01-31 18:00."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, also where a checkpoint could go on.")] = False,
    ahead: Annotated[
        bool,
        typer.Option(
            "--ahead",
            help="With --fold: also train the others on free cores, under a time limit to their end.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train one fold or all, from a checkpoint where there is one.

    The validation photos are predicted too: history, OOF logits, TensorBoard and weights are in out/train/<fold>.
    """
    checked = params()
    if ahead:
        from stages.base.errors import UserError
        from stages.by_hand import folds

        if fold is None:
            raise UserError("--ahead: is said of one fold, beside which others train; name it by --fold, as `--fold 0`")

        if folds.ahead(checked, talk(), fold, fresh, moment(until)):
            _print_trained([fold], as_json)
            return
    from stages import train as stage
    from stages.learn.training_terms import Terms

    stage.run(checked, talk(), fold, Terms(fresh, moment(until)))
    _print_trained(checked.folds if fold is None else [fold], as_json)


@commands.command(epilog=examples("maskcli folds", "maskcli folds --jobs 3", "maskcli folds --only 1 --only 4"))
def folds(
    jobs: Annotated[
        str,
        typer.Option(help="Folds at a time; auto: as parallel.jobs in params.yaml says, by default as many as fit."),
    ] = "auto",
    only: Annotated[list[int] | None, typer.Option(min=0, help="A fold to train; left out: all that are left.")] = None,
    until: Annotated[
        str | None,
        typer.Option(help="Shorten the schedule so that all is done by then: 18:00, 18:00+09:00, or 2026-01-31 18:00."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, also where a checkpoint could go on.")] = False,
    as_json: Json = False,
) -> None:
    """Train the folds side by side, as many as fit.

    With the same results as one by one; one that fails leaves the others running. `dvc repro` afterwards takes them as they are.
    """
    checked = params()
    from stages.by_hand import folds as stage

    stage.run(checked, talk(), jobs_at_a_time(jobs), only, fresh, moment(until))
    _print_trained(only or checked.folds, as_json)


def _print_trained(folds: Iterable[int], as_json: bool) -> None:
    """What metrics.json holds of each fold."""
    from stages.base import paths

    if as_json and main_process():
        print_json({"folds": {fold: written(paths.train_metrics(fold)) for fold in folds}})


def jobs_at_a_time(text: str) -> int | None:
    """Of --jobs; None for auto. Raises UserError."""
    from stages.base.errors import UserError

    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise UserError(f"--jobs {text}: is no number of folds; write auto, or a whole number from 1")
    return int(text)


def moment(until: str | None) -> datetime.datetime | None:
    """Of --until, told in words. Raises UserError."""
    if until is None:
        return None
    from stages.learn.time_limit import in_words, parse_until

    now = datetime.datetime.now().astimezone()
    moment = parse_until(until, now)
    if main_process():
        talk().say(in_words(moment, now))
    return moment


@commands.command("oof-ensemble", epilog=examples("maskcli oof-ensemble"))
def oof_ensemble(as_json: Json = False) -> None:
    """Join the folds' OOF predictions and score them.

    The score has a 95 % interval over people (groups, photos).
    """
    from stages import oof_ensemble as stage
    from stages.base import paths

    stage.run(params(), talk())
    if as_json:
        print_json(written(paths.OOF_METRICS))


@commands.command("tta-predict", epilog=examples("maskcli tta-predict"))
def tta_predict(as_json: Json = False) -> None:
    """Predict the eval photos; write the submission.

    All folds and views are joined by vote.
    """
    checked = params()
    from stages import tta_predict as stage
    from stages.base import paths

    stage.run(checked, talk())
    if as_json:
        print_json({"submission": str(paths.SUBMISSION)} | written(paths.SUBMISSION_SUMMARY))
