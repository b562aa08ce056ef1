"""The commands. Everything heavy is imported inside them, so that --help answers at once."""

import json
import os
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="maskcli",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Trains image classifiers on unbalanced photos, and gives answers that can be trusted.\n\n"
    "`dvc repro` runs all stages; each can be run by hand with the same effect.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Rule(StrEnum):
    auto = "auto"
    selected = "selected"
    last = "last"


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _params() -> Any:
    from stages.params import load

    return load()


def _talk() -> Any:
    from cli.console import talk

    return talk()


@app.callback()
def main(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Options before the command."""


@app.command("demo-data", epilog="Example: maskcli demo-data data")
def demo_data(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("data"),
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    people: Annotated[int, typer.Option(min=12, help="Training people, 7 photos each.")] = 132,
    eval_people: Annotated[int, typer.Option(min=6, help="Eval people, 7 photos each.")] = 40,
) -> None:
    """Draw the demo data set in the contest's layout, with the eval truth beside it in eval_truth.csv."""
    from stages.data import demo

    demo.write(folder, seed, people, eval_people, _talk())


@app.command(epilog="Example: maskcli prepare")
def prepare() -> None:
    """Check every row and photo, label them, decode each photo once."""
    from stages import prepare as stage

    stage.run(_params(), _talk())


@app.command(epilog="Example: maskcli eda --json")
def eda(as_json: Json = False) -> None:
    """Show classes, ages, genders, photo sizes, near-duplicate photos across people and unreadable files."""
    from stages import eda as stage

    found = stage.run(_params(), _talk())
    if as_json:
        _print_result(found, True)
        return
    from cli.tables import show_eda

    show_eda(found)


@app.command(epilog="Example: maskcli kfold")
def kfold() -> None:
    """Give each person a fold, stratified by gender and age bin."""
    from stages import kfold as stage

    stage.run(_params(), _talk())


@app.command("lr-find", epilog="Example: maskcli lr-find --fold 0")
def lr_find(fold: Annotated[int, typer.Option(min=0, help="Fold whose training side is used.")] = 0) -> None:
    """Run a learning-rate range test and settle the learning rate."""
    params = _params()
    from stages import lr_find as stage

    stage.run(params, _talk(), fold)


@app.command(epilog="Example: maskcli train --fold 0")
def train(fold: Annotated[int, typer.Option(min=0, help="Fold to validate on; the others train.")]) -> None:
    """Train one fold and predict its validation photos."""
    params = _params()
    from stages import train as stage

    stage.run(params, _talk(), fold)


@app.command("oof-ensemble", epilog="Example: maskcli oof-ensemble")
def oof_ensemble() -> None:
    """Join the folds' OOF predictions and score them, with a 95 % interval over people."""
    from stages import oof_ensemble as stage

    stage.run(_params(), _talk())


@app.command("tta-predict", epilog="Example: maskcli tta-predict")
def tta_predict() -> None:
    """Predict the eval photos with all folds and views; write the submission."""
    params = _params()
    from stages import tta_predict as stage

    stage.run(params, _talk())


@app.command(epilog="Example: maskcli score data/eval_truth.csv --json")
def score(
    truth: Annotated[Path, typer.Argument(help="CSV with the columns ImageID and ans.")],
    submission: Annotated[Path, typer.Option(help="Submission to score.")] = Path("out/tta-predict/submission.csv"),
    as_json: Json = False,
) -> None:
    """Score a submission against the truth."""
    from stages import score as stage

    _print_result(stage.run(truth, submission), as_json)


@app.command(
    epilog="Examples: maskcli compare HEAD~1 HEAD  |  maskcli compare main smooth focal --json  |  maskcli compare HEAD"
)
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Git revisions, experiment names or workspace: the base, then candidates.")
    ],
    rule: Annotated[
        Rule, typer.Option(help="Epochs compared; auto: selected if all runs chose by one rule, else last.")
    ] = Rule.auto,
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap samples of people.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    png: Annotated[Path, typer.Option(help="Forest plot.")] = Path("out/compare/forest.png"),
    as_json: Json = False,
) -> None:
    """Say whether runs are better than the first: paired over people, with 95 % intervals and a verdict."""
    from stages import compare as stage

    found = stage.run(runs, rule.value, replicates, seed, csv, png, _talk())
    if as_json:
        print(stage.as_json(found))
        return
    from cli.tables import show_comparison

    for comparison in found:
        show_comparison(comparison)
    print(f"forest plot  {png}")


@app.command(epilog="Example: maskcli epochs --json")
def epochs(as_json: Json = False) -> None:
    """When to stop: best epochs over folds, the cost of stopping earlier, overfitting, epochs for a refit."""
    from stages import best_epochs as stage

    found = stage.run(_params(), _talk())
    if as_json:
        print(json.dumps(found))
        return
    from cli.tables import show_epochs
    from stages import paths

    show_epochs(found)
    print(f"curves       {paths.EPOCHS_PNG}")


@app.command(epilog="Example: maskcli summary")
def summary(as_json: Json = False) -> None:
    """Say where the results of the last run are and what they come to."""
    from stages import paths
    from stages.files import read_json

    found = read_json(paths.OOF_METRICS, "oof-ensemble")
    if as_json:
        _print_result(found, True)
        return
    print(f"submission   {paths.SUBMISSION}")
    print(
        f"OOF score    macro F1 {found['macro_f1']:.4f}, 95 % interval {found['macro_f1_low']:.4f} to "
        f"{found['macro_f1_high']:.4f} ({found['people']} people, {found['photos']} photos)"
    )
    print(
        f"             last epochs {found['macro_f1_last']:.4f}, fixed from the other folds "
        f"{found['macro_f1_other_folds']:.4f}, best epochs (chosen on the scored photos, so too high) "
        f"{found['macro_f1_best_epochs']:.4f}"
    )
    print("plots        dvc plots show    (or: tensorboard --logdir out/train)")
    print(f"LR curve     {paths.LR_PNG}")
    print("next         dvc exp run -n focal -S loss=focal; maskcli compare HEAD focal")


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    width = max(len(name) for name in result)
    for name, value in result.items():
        print(f"{name:<{width}}  {value:.4f}" if isinstance(value, float) else f"{name:<{width}}  {value}")


def run() -> None:
    """Entry point: known errors become one line and exit code 2; others too, unless --debug asks for the traceback."""
    from stages.errors import UserError

    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    warnings.showwarning = _warn
    debug = "--debug" in sys.argv[1:2]
    try:
        app()
    except UserError as error:
        if debug:
            raise
        sys.exit(_fail(str(error), 2))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; finished stages are kept, the same command runs the rest", 130))
    except OSError as error:
        if debug:
            raise
        sys.exit(_fail(f"{error.filename or 'system'}: {error.strerror or error}; check disk space and permissions", 2))
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split())[:300]
        sys.exit(_fail(f"unexpected {type(error).__name__}: {text}; run `maskcli --debug ...` for the traceback", 1))


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"maskcli: warning: {message}", file=sys.stderr)


def _fail(line: str, code: int) -> int:
    print(f"maskcli: {' '.join(line.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    run()
