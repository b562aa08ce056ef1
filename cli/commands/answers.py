"""Commands that answer: scores, comparisons, when to stop, report, plots, and the screening of losses."""

import json
import shutil
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.common import Json, answer, examples, found_by, params, print_json, talk

commands = typer.Typer()
Format = Literal["png", "svg"]
ROWS = 15  # of screen's table


class Rule(StrEnum):
    auto = "auto"
    selected = "selected"
    last = "last"


@commands.command(
    epilog=examples(
        "maskcli score",
        "maskcli score data/eval_truth.csv --json",
        "maskcli score --submission out/refit/submission.csv --than out/tta-predict/submission.csv",
    )
)
def score(
    truth: Annotated[
        Path | None,
        typer.Argument(
            help="CSV in the submission's form, and person or group if known; else what out/prepare/eval.csv knows."
        ),
    ] = None,
    submission: Annotated[Path, typer.Option(help="Submission to score.")] = Path("out/tta-predict/submission.csv"),
    than: Annotated[
        Path | None, typer.Option(help="Another submission of the same photos: does this one answer better?")
    ] = None,
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap samples of people (groups, photos).")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Score a submission against the truth.

    With 95 % intervals over people (groups) where the truth has a column person or group, else over photos.
    --than: first how far the scores of another submission differ, paired alike, and a verdict; of these models, as trained.
    """
    checked = params()
    from stages.by_hand import score as stage
    from stages.data import task_and_classes

    declared = task_and_classes.read(checked)
    found = stage.run(declared, truth, submission, replicates, seed)
    against = stage.against(declared, truth, submission, than, replicates, seed) if than else None
    say = talk()
    for line in stage.warnings(declared, truth, [submission, *([than] if than else [])]):
        say.say(line)
    if as_json:
        print_json(found | ({"than": stage.as_json(against)} if against else {}))
        return
    from cli.tables import score as tables

    answer(lambda width: tables.score(found, declared, width, against))


@commands.command(
    epilog=examples(
        "maskcli fill contest/sample_submission.csv",
        "maskcli fill sample_submission.csv --probability-of malignant --out upload.csv",
        "maskcli fill sample_submission.csv --submission out/submit-now/submission.csv",
    )
)
def fill(
    sample: Annotated[Path, typer.Argument(help="The contest's sample submission, a CSV.")],
    submission: Annotated[Path, typer.Option(help="Whose answers.")] = Path("out/tta-predict/submission.csv"),
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("out/fill/submission.csv"),
    one_class: Annotated[
        str | None, typer.Option("--probability-of", help="A single column gets the probability of this class.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fill in a contest's sample submission, to upload it.

    Its columns and its photos in its order, whether it has their folders and endings or not. A single column gets the class;
    columns called as the axes get levels; columns called as the classes get probabilities, as voted.
    """
    checked = params()
    from stages.by_hand import fill as stage

    found = stage.run(checked, stage.Asked(sample, submission, out, one_class), talk())
    if as_json:
        print_json(found)
        return
    from cli.tables import fill as tables

    answer(lambda width: tables.fill(found, width))


@commands.command(
    epilog=examples("maskcli compare HEAD~1 HEAD", "maskcli compare main smooth focal --json", "maskcli compare HEAD")
)
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Git revisions, experiment names or workspace: the base, then candidates.")
    ],
    rule: Annotated[
        Rule, typer.Option(help="Epochs compared; auto: selected if all runs chose by one rule, else last.")
    ] = Rule.auto,
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap samples of people (groups, photos).")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    png: Annotated[Path, typer.Option(help="Forest plot.")] = Path("out/compare/forest.png"),
    classes: Annotated[
        bool, typer.Option("--classes", help="Also print the F1 of every class, and all scores of several.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Is a run's method better than the first's? One answer first.

    Over the same people (groups), the luck of the trainings counted; several candidates share one error rate
    (docs/statistics.md). "shows from": the smallest difference that would show; a * beside it where the one seen is as large.
    "model better", "model worse": these trained models are; another seed could turn it round.
    Labels that corrections.csv changed between runs are the truth for both; people (groups) it left alone are also judged apart.
    """
    from stages.by_hand import compare as stage

    with found_by(lambda: stage.run(runs, stage.Asked(rule.value, replicates, seed), csv, png, talk())) as found:
        if as_json:
            print(stage.as_json(found))
            return
        from cli.tables import compare as tables

        answer(lambda width: tables.comparison(found, classes, width))
    print(f"forest plot  {png}")


@commands.command(epilog=examples("maskcli epochs --json"))
def epochs(as_json: Json = False) -> None:
    """When to stop: best epochs, overfitting, epochs for a refit.

    Also what stopping earlier would cost, by the mean curve over the folds.
    """
    from stages.by_hand import epochs as stage

    with found_by(lambda: stage.run(params(), talk())) as found:
        if as_json:
            print_json(found)
            return
        from cli.tables import epochs as tables
        from stages.base import paths

        answer(lambda width: tables.epochs(found, width))
    print(f"curves       {paths.EPOCHS_PNG}")


@commands.command(
    epilog=examples("maskcli report", "maskcli report HEAD~1 workspace", "maskcli report main my-experiment")
)
def report(
    revision: Annotated[
        str, typer.Argument(help="Commit, branch, tag, experiment, or `workspace`.", show_default=True)
    ] = "workspace",
    other: Annotated[str | None, typer.Argument(help="A second one, drawn over the first.")] = None,
    output: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("out/report/report.html"),
    as_json: Json = False,
) -> None:
    """Write one HTML page on a run, or two over each other.

    The answer, scores with intervals, curves, confusion, calibration, worst photos, what the models looked at.
    """
    checked = params()
    from stages.by_hand import report as stage

    written = stage.run(checked, talk(), [revision] if other is None else [revision, other], output)
    if as_json:
        print_json(written)
    else:
        print(written["report"])


@commands.command(epilog=examples("maskcli plots", "maskcli plots HEAD~1 workspace --format svg"))
def plots(
    revisions: Annotated[list[str] | None, typer.Argument(help="Revisions to draw over each other.")] = None,
    kind: Annotated[Format, typer.Option("--format", help="Kind of file.")] = "png",
    output: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("out/plots"),
    as_json: Json = False,
) -> None:
    """Draw DVC's plots as picture files, and print their paths.

    Without browser and network.
    """
    from stages.by_hand import plots as stage

    drawn = [str(path) for path in stage.run(talk(), revisions or [], kind, output)]
    print(json.dumps(drawn) if as_json else "\n".join(drawn))


@commands.command(epilog=examples("maskcli summary"))
def summary(as_json: Json = False) -> None:
    """Say what the last run came to, where it is, what comes next."""
    from stages.by_hand import summary as stage

    found = stage.run(params())
    if as_json:
        print_json(found)
        return
    from cli.tables import summary as tables

    answer(lambda width: tables.summary(found, width))


@commands.command(epilog=examples("maskcli runs", "maskcli runs --limit 50 --all --base main", "maskcli runs --json"))
def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most runs shown, the newest ones.")] = 20,
    base: Annotated[
        str | None, typer.Option(help="The run that the others are compared with; by default the oldest one shown.")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Also commits of other branches, of remotes too, and of tags.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List commits and experiments: what changed, and is it better?

    Macro F1 with its 95 % interval over people (groups, photos), and the verdict against the first, or against --base. Where
    several people ran what is shown, each run says who.
    """
    from cli.tables import runs as table
    from stages.by_hand import runs as stage

    found = stage.run(talk(), limit, base, everywhere)
    print(
        stage.as_json(found) if as_json else "\n".join(table.lines(found, shutil.get_terminal_size((80, 24)).columns))
    )


@commands.command(
    epilog=examples(
        "maskcli screen --minutes 60",
        "maskcli screen --try loss=focal,ldam --try lr=1e-3,model.head=mlp",
        "maskcli screen --from candidates.yaml --json",
        "maskcli screen --frozen --losses ce,focal,ldam --samplers none,sqrt",
    )
)
def screen(
    tries: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            help="Changes of params.yaml, key=value with commas between; several values of a key are tried one by one. Give it "
            "again for more. Left out: every other loss, sampler, head and targets, a lower and a higher rate.",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--from", help="YAML list of changes, as `- {loss: focal}`.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="End within so many minutes, with what is known by then.")
    ] = None,
    frozen: Annotated[
        bool,
        typer.Option("--frozen", help="Train heads alone, on a backbone that stands still: no full training's rank."),
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="--frozen: params (model.pretrained or model.weights), folds (each fold's own model, for that fold alone), "
            "or a path to weights. auto: params where one of these is set, else folds."
        ),
    ] = None,
    losses: Annotated[str | None, typer.Option(help="--frozen: losses, with commas between; else all.")] = None,
    samplers: Annotated[str | None, typer.Option(help="--frozen: samplers, with commas between; else all.")] = None,
    heads: Annotated[str | None, typer.Option(help="--frozen: linear, mlp or both; else that of params.yaml.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="--frozen: passes over the photos; else 20, or about 2000 steps.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="--frozen: trainings of every head, each with its own seed; else 3.")
    ] = None,
    replicates: Annotated[
        int | None,
        typer.Option(min=100, help="Bootstrap samples of people (groups, photos); else ensemble.replicates."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Rows to print, 15 if not given; the file and --json have all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what to train next: short trainings of many changes.

    The best of them for longer, on more folds (successive halving). What is trained is kept: the same command goes on.
    """
    of_frozen = {
        "--backbone": backbone,
        "--losses": losses,
        "--samplers": samplers,
        "--heads": heads,
        "--epochs": epochs,
        "--repeats": repeats,
    }
    _check_screen(frozen, of_frozen, {"--try": tries or None, "--from": file, "--minutes": minutes}, as_json, top)
    if frozen:
        names = (_names("--losses", losses), _names("--samplers", samplers), _names("--heads", heads))
        checked = params()
        from stages.by_hand import screen_frozen as heads_stage

        trained = heads_stage.Choice(backbone or "auto", *names, epochs, repeats or heads_stage.REPEATS, replicates)
        work = partial(heads_stage.run, checked, trained, talk())
    else:
        checked = params()
        from stages.by_hand import screen as stage

        work = partial(stage.run, checked, stage.Choice(tuple(tries or ()), file, minutes, replicates), talk())
    with found_by(work) as found:
        if as_json:
            print_json(found)
            return
        from cli.tables import screen, screen_frozen

        shown = screen_frozen.heads if frozen else screen.screen
        answer(lambda width: shown(found, top or ROWS, width))


def _check_screen(
    frozen: bool, heads: dict[str, Any], trainings: dict[str, Any], as_json: bool, top: int | None
) -> None:
    """Raise UserError for options that do not go together."""
    from stages.base.errors import UserError

    if as_json and top is not None:
        raise UserError("--top: --json prints all rows; leave one of the two out")
    given = next((flag for flag, value in (trainings if frozen else heads).items() if value is not None), None)
    if given and frozen:
        raise UserError(f"{given}: is of short trainings, and --frozen trains heads alone; leave one of the two out")
    if given:
        raise UserError(f"{given}: goes with --frozen; short trainings take --try, as --try loss=focal,ldam")


def _names(flag: str, text: str | None) -> tuple[str, ...]:
    from stages.base.errors import UserError

    found = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if text is not None and not found:
        raise UserError(f"{flag}: names nothing; leave it out, or write names with commas between")
    return found
