"""Rich tables on stdout for results that people read."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stages import paths
from stages.compare import title
from stages.judge.compare import Comparison, in_words

if TYPE_CHECKING:  # it imports torch, which the other tables do without
    from stages.check import Report

STYLES = {"better": "green", "worse": "red"}


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def show_comparison(found: Comparison) -> None:
    """One comparison: every score with its difference, interval, probability of improvement and verdict."""
    table = Table(title=f"{found.run_b} against {found.run_a}", title_justify="left", pad_edge=False)
    table.add_column("score")
    for name in (found.run_a, found.run_b, "difference", "95 % interval", "P(improved)"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in sorted(found.rows, key=lambda row: row.metric.removeprefix("f1_").isdigit()):
        few = row.verdict == "too few people"
        table.add_row(
            title(row.metric),
            f"{row.a:.4f}",
            f"{row.b:.4f}",
            f"{row.difference:+.4f}",
            "" if few else f"{row.low:+.4f} to {row.high:+.4f}",
            "" if few else f"{row.p_improved:.3f}",
            in_words(row),
            style=STYLES.get(row.verdict),
        )
    console = _console()
    if found.same:
        console.print(f"{found.run_b} holds the same trained models as {found.run_a}")
    console.print(table)
    seed_sd = next(row.seed_sd for row in found.rows if row.metric == "macro_f1")
    if seed_sd is not None:
        console.print(
            f"macro F1 varies by {seed_sd:.4f} (standard deviation) from seed to seed; the intervals take it in"
        )
    for note in found.notes:
        console.print(f"note: {note}")


def show_epochs(found: dict[str, Any]) -> None:
    """The folds' epochs, the mean curve, and the advice."""
    folds = Table(title="Best epoch of each fold", title_justify="left", pad_edge=False)
    for name in ("fold", "best val_f1", "best val_nll", "overfitting from"):
        folds.add_column(name, justify="right")
    for fold, f1, nll, onset in zip(found["runs"], found["best_f1"], found["best_nll"], found["onset"], strict=True):
        folds.add_row(fold, str(f1), str(nll), "never" if onset is None else str(onset))
    curve = Table(title="Mean over folds, and what stopping there costs", title_justify="left", pad_edge=False)
    for name in ("epoch", "val_f1", "+-", "val_f1 lost", "val_nll", "+-"):
        curve.add_column(name, justify="right")
    for row in found["curve"]:
        curve.add_row(str(row["epoch"]), *(f"{row[name]:.4f}" for name in row if name != "epoch"))
    console = _console()
    console.print(folds)
    console.print(curve)
    console.print(f"best epochs spread by {found['best_epoch_sd']:.1f} (standard deviation)")
    console.print(found["advice"])


def show_eda(found: dict[str, Any]) -> None:
    """What `stages.eda.run` found: classes, genders, age bins, sizes, then what needs a look."""
    console = _console()
    people, photos = found["people"], found["photos"]
    classes = [
        (row["class"], row["people"], row["photos"], f"{row['photos'] / photos:.1%}") for row in found["classes"]
    ]
    _print(console, "Classes", ("class", "people", "photos", "share of photos"), classes)
    groups = [(f"gender {name}", count) for name, count in found["gender_people"].items()]
    groups += [(f"age {name}", count) for name, count in found["age_people"].items()]
    _print(console, "People", ("group", "people", "share"), [(*row, f"{row[1] / people:.1%}") for row in groups])
    sizes = [(f"{row['width']} x {row['height']}", row["photos"], row["eval_photos"]) for row in found["common_sizes"]]
    more = f", the {len(sizes)} most common of {found['sizes']}" if found["sizes"] > len(sizes) else ""
    _print(console, f"Photo sizes{more}", ("width x height, px", "train photos", "eval photos"), sizes)
    for line in _findings(found):
        console.print(line, markup=False, soft_wrap=True)


def show_check(report: "Report") -> None:
    """What `stages.check.run` looked at, and how long each stage will take."""
    console = _console()
    table = Table(title="Checked", title_justify="left", pad_edge=False)
    for name in ("what", "result", "found"):
        table.add_column(name)
    colours = {"failed": "red", "warning": "yellow"}
    for finding in report.findings:
        table.add_row(finding.what, finding.state, escape(finding.detail), style=colours.get(finding.state))
    console.print(table)
    if report.failed:
        return
    times = Table(title="Estimated time of `dvc repro`", title_justify="left", pad_edge=False)
    times.add_column("stage")
    times.add_column("measured", justify="right")
    times.add_column("time", justify="right")
    for estimate in report.estimates:
        times.add_row(estimate.stage, estimate.speed, _duration(estimate.seconds))
    times.add_row("all", "", _duration(report.total_seconds), style="bold")
    console.print(times)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _findings(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['people']} people, {found['photos']} training photos, {found['eval_photos']} eval photos"]
    pairs, with_eval = found["near_duplicates"], found["near_duplicates_with_eval"]
    if pairs:
        least = "" if found["near_duplicates_complete"] else "at least "
        lines.append(
            f"near-duplicates: {least}{pairs} {'pair' if pairs == 1 else 'pairs'} under different people "
            f"({with_eval} of them with eval photos); "
            f"they leak across folds: look at {paths.EDA_DUPLICATES_PNG}, listed in {paths.EDA_DUPLICATES}"
        )
    else:
        lines.append("near-duplicates: none across people")
    if found["blank_photos"]:
        lines.append(f"blank: {found['blank_photos']} photos show one flat colour, listed in {paths.EDA_UNREADABLE}")
    if found["faults"]:
        lines.append(
            f"faults: {found['faults']} ({found['unreadable_photos']} unreadable photos), "
            f"listed in {paths.EDA_UNREADABLE}; the people concerned are left out of the counts"
        )
    else:
        lines.append("faults: none")
    return [*lines, f"pictures: {paths.EDA}/*.png"]


def _print(console: Console, title: str, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)
