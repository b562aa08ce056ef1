"""What people read on stdout of compare, epochs, eda and check: the answer in a sentence, then tables, at any width."""

import math
from typing import TYPE_CHECKING, Any

from cli.lines import Column, Lines, Table, duration, plain, table, units
from stages.base import paths
from stages.by_hand.compare import of_classes
from stages.data.task import Task
from stages.judge.paired_difference import TOO_FEW, UNDECIDED, Comparison, Difference, in_words
from stages.report.class_lists import WHOLE, differing
from stages.report.score_names import of_class, title

if TYPE_CHECKING:  # it imports torch, which the other tables do without
    from stages.by_hand.check import Report

SHORT = {UNDECIDED: "no evidence", TOO_FEW: "too few"}
ENDS = 10  # of many classes: so many commonest, and so many rarest
WIDEST_NAME = 9  # columns of a run's name above a column of numbers


def comparison(found: list[Comparison], classes: bool, width: int) -> Lines:
    """The verdicts in words, then each comparison's scores; the F1 of every class if `classes`."""
    lines = plain([verdict(one) for one in found], width)
    for one in found:
        lines += [("", ""), *_scores(one, classes, width)]
        said = {verdict(one)} if classes else {verdict(one), of_classes(one.task)}
        told = [f"note: {note}" for note in one.notes if note not in said]
        spread = next(row.seed_sd for row in one.rows if row.metric == "macro_f1")
        if spread is not None:
            told.insert(
                0, f"macro F1 varies by {spread:.4f} (standard deviation) from seed to seed; the intervals take it in"
            )
        lines += [("", ""), *plain(told, width)] if told else []
    return lines


def verdict(found: Comparison) -> str:
    """Which run is better by macro F1, and by how much, in one sentence."""
    a, b = found.run_a, found.run_b
    if found.same:
        return f"{b} holds the same trained models as {a}: there is no difference to find"
    row = next(row for row in found.rows if row.metric == "macro_f1")
    scores = f"macro F1 {row.b:.4f} against {row.a:.4f}, {row.difference:+.4f}"
    if _few(row):
        return f"too few {row.units} to tell {b} from {a}: {scores}"
    scores += f" (95 % interval {interval(row.low, row.high)})"
    if row.verdict in ("better", "worse"):
        return f"{b} is {row.verdict} than {a}: {scores}"
    more = in_words(row).removeprefix(row.verdict)
    return f"{row.verdict} on {b} against {a}: {scores}{more}"


def interval(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}"


def _scores(found: Comparison, classes: bool, width: int) -> Lines:
    """The scores of all photos, and of every class where asked for."""
    heading = f"{found.run_b} against {found.run_a}"
    of_all = [row for row in found.rows if not of_class(row.metric)]
    names = (found.run_a, found.run_b)
    shown = _table(heading, names, of_all, found.task)
    if max(len(line) for line, _ in table(shown, 10_000)) > width:
        names = ("base", "new")
        shown = _table(f"{found.run_b} (new) against {found.run_a} (base)", names, of_all, found.task)
    lines = table(shown, width)
    if not classes:
        return lines
    rows = [row for row in found.rows if of_class(row.metric)]
    told = ""
    if len(rows) > WHOLE:
        shown_ones = differing(rows, 2 * ENDS)
        told = f"The {len(shown_ones)} of {len(rows)} classes that differ most; all are in --json and --csv"
        rows = sorted((row for row in rows if row.metric in shown_ones), key=lambda row: shown_ones.index(row.metric))
    columns = [
        Column("F1 of class"),
        *(Column(name, "number") for name in (*names, "95 % of difference")),
        Column("verdict"),
    ]
    cells = [
        (
            title(row.metric, found.task).removeprefix("F1 "),
            f"{row.a:.4f}",
            f"{row.b:.4f}",
            "" if _few(row) else interval(row.low, row.high),
            SHORT.get(row.verdict, row.verdict),
        )
        for row in rows
    ]
    return [*lines, ("", ""), *table(Table(columns, cells, told, [row.verdict for row in rows]), width)]


def _table(heading: str, names: tuple[str, str], rows: list[Difference], task: Task) -> Table:
    numbers = (*names, "difference", "95 % interval", "P better")
    columns = [Column("score"), *(Column(name, "number") for name in numbers), Column("verdict")]
    cells = [
        (
            title(row.metric, task),
            f"{row.a:.4f}",
            f"{row.b:.4f}",
            f"{row.difference:+.4f}",
            "" if _few(row) else interval(row.low, row.high),
            "" if _few(row) else f"{row.p_improved:.3f}",
            SHORT.get(row.verdict, row.verdict),
        )
        for row in rows
    ]
    return Table(columns, cells, heading, [row.verdict for row in rows])


def _few(row: Difference) -> bool:
    return row.verdict == TOO_FEW


def epochs(found: dict[str, Any], width: int) -> Lines:
    """The advice, the folds' epochs, and the mean curve."""
    folds = Table(
        [Column("fold"), *(Column(name, "number") for name in ("best val_f1", "best val_nll", "overfitting from"))],
        [
            (fold, str(f1), str(nll), "never" if onset is None else str(onset))
            for fold, f1, nll, onset in zip(
                found["runs"], found["best_f1"], found["best_nll"], found["onset"], strict=True
            )
        ],
        "Best epoch of each fold",
    )
    names = ("epoch", "val_f1", "+-", "val_f1 lost", "val_nll", "+-")
    curve = Table(
        [Column(name, "number") for name in names],
        [(str(row["epoch"]), *(f"{row[name]:.4f}" for name in row if name != "epoch")) for row in found["curve"]],
        "Mean over folds with its standard error, and what stopping there costs",
    )
    spread = f"best epochs spread by {found['best_epoch_sd']:.1f} (standard deviation over folds)"
    return [
        *plain([found["advice"], spread], width),
        *[("", ""), *table(folds, width)],
        *[("", ""), *table(curve, width)],
    ]


def score(found: dict[str, Any], task: Task, width: int) -> Lines:
    """Macro F1 with its interval in words, then all scores."""
    units = found["interval_over"]
    people = f"{found[units]} {units}, " if units != "photos" else ""
    answer = (
        f"macro F1 {found['macro_f1']:.4f}, 95 % interval {found['macro_f1_low']:.4f} to {found['macro_f1_high']:.4f} "
        f"({people}{found['photos']} photos)"
    )
    names = [name for name in found if f"{name}_low" in found]
    shown = Table(
        [Column("score"), Column("value", "number"), Column("95 % interval", "number")],
        [
            (title(name, task), *_with_interval(found[name], found[f"{name}_low"], found[f"{name}_high"]))
            for name in names
        ],
    )
    told = []
    if units == "photos" and task.unit != "photo":
        told = [
            f"note: the truth has no column person or group, so the intervals are over photos; photos of one {task.unit} go "
            "right or wrong together, which makes these intervals too narrow"
        ]
    return [*plain([answer], width), ("", ""), *table(shown, width), *plain(told, width)]


def _with_interval(value: float, low: float, high: float) -> tuple[str, str]:
    return ("none", "") if math.isnan(value) else (f"{value:.4f}", f"{low:.4f} to {high:.4f}")


def eda(found: dict[str, Any], width: int) -> Lines:
    """What `stages.eda.run` found: what needs a look, then classes, the other axes' levels, sizes."""
    unit, photos = units(found), found["photos"]
    grouped = (unit,) if unit != "photos" else ()
    classes, left_out = _ends(found["classes"])
    of_classes = [
        (row["class"], *(row[name] for name in grouped), row["photos"], f"{row['photos'] / photos:.1%}")
        for row in classes
    ]
    levels = [
        (f"{key.removesuffix(f'_{unit}')} {level}", count, f"{count / found[unit]:.1%}")
        for key, counts in found.items()
        if key.endswith(f"_{unit}") and isinstance(counts, dict)
        for level, count in counts.items()
    ]
    sizes = [(f"{row['width']} x {row['height']}", row["photos"], row["eval_photos"]) for row in found["common_sizes"]]
    more = f", the {len(sizes)} most common of {found['sizes']}" if found["sizes"] > len(sizes) else ""
    tables = (
        (f"Classes{left_out}", ("class", *grouped, "photos", "share of photos"), of_classes),
        (unit.capitalize(), ("group", unit, "share"), levels),
        (f"Photo sizes{more}", ("width x height, px", "train photos", "eval photos"), sizes),
    )
    lines = plain(_findings(found), width)
    for heading, names, rows in tables:
        columns = [Column(names[0]), *(Column(name, "number") for name in names[1:])]
        shown = Table(columns, [tuple(map(str, row)) for row in rows], heading)
        lines += [("", ""), *table(shown, width)] if rows else []
    return lines


def _ends(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """All classes, or of many the commonest and the rarest; and what is left out, in words."""
    if len(rows) <= WHOLE:
        return rows, ""
    ordered = sorted((row for row in rows if row["photos"]), key=lambda row: -row["photos"])
    without = f" ({len(rows) - len(ordered)} have no photo)" if len(ordered) < len(rows) else ""
    told = f": the {ENDS} commonest and the {ENDS} rarest of {len(rows)}{without}; all are in {paths.EDA_CLASS_COUNTS}"
    return (ordered if len(ordered) <= 2 * ENDS else [*ordered[:ENDS], *ordered[-ENDS:]]), told


def check(report: "Report", width: int) -> Lines:
    """Whether all works and how long it will take, then what `stages.by_hand.check.run` looked at, and each stage's time."""
    findings, failed = report.findings, report.failed
    warnings = sum(finding.state == "warning" for finding in findings)
    if failed:
        answer = f"{failed[0].what} fails: {failed[0].detail}"
    else:
        answer = f"all works{f', with {warnings} to look at' if warnings else ''}: "
        answer += f"`dvc repro` will take about {duration(report.total_seconds)}"
    looked = Table(
        [Column("what"), Column("result"), Column("found", "prose")],
        [(finding.what, finding.state, finding.detail) for finding in findings],
        styles=[finding.state for finding in findings],
    )
    lines = [*plain([answer], width), ("", ""), *table(looked, width)]
    if failed:
        return lines
    rows = [(estimate.stage, estimate.speed, duration(estimate.seconds)) for estimate in report.estimates]
    times = Table(
        [Column("stage"), Column("measured", "number"), Column("time", "number")],
        [*rows, ("all", "", duration(report.total_seconds))],
        "Estimated time of `dvc repro`",
        [*[""] * len(rows), "all"],
    )
    return [*lines, ("", ""), *table(times, width)]


def _findings(found: dict[str, Any]) -> list[str]:
    unit = units(found)
    grouped = unit != "photos"
    whose = f"{found[unit]} {unit}, " if grouped else ""
    lines = [f"{whose}{found['photos']} training photos, {found['eval_photos']} eval photos"]
    pairs, with_eval = found["near_duplicates"], found["near_duplicates_with_eval"]
    if pairs:
        least = "" if found["near_duplicates_complete"] else "at least "
        lines.append(
            f"near-duplicates: {least}{pairs} {'pair' if pairs == 1 else 'pairs'}{f' under different {unit}' * grouped} "
            f"({with_eval} of them with eval photos); "
            f"they leak across folds (data.group_duplicates: true keeps each pair on one side): look at "
            f"{paths.EDA_DUPLICATES_PNG}, listed in {paths.EDA_DUPLICATES}"
        )
    else:
        lines.append(f"near-duplicates: none{f' across {unit}' * grouped}")
    if found["blank_photos"]:
        lines.append(f"blank: {found['blank_photos']} photos show one flat colour, listed in {paths.EDA_UNREADABLE}")
    if found["faults"]:
        lines.append(
            f"faults: {found['faults']} ({found['unreadable_photos']} unreadable photos), "
            f"listed in {paths.EDA_UNREADABLE}; the {unit} concerned are left out of the counts"
        )
    else:
        lines.append("faults: none")
    return [*lines, f"pictures: {paths.EDA}/*.png"]
