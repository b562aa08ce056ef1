"""What people read on stdout of compare: the answer in a sentence, then tables, at any width."""

from cli.lines import Column, Lines, Table, plain, table
from cli.tables.judged_rows import ENDS, SHORT, interval
from stages.by_hand.compare import of_classes
from stages.data.task_and_classes import Task
from stages.judge.paired_difference import TOO_FEW, Comparison, Difference, in_words
from stages.report.class_lists import WHOLE, differing
from stages.report.score_names import of_class, title

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
