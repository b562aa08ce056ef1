"""What people read on stdout of compare: the answer in a sentence, then a table, at any width."""

from cli.lines import Column, Lines, Table, plain, table
from cli.tables.judged_rows import ENDS, SHOWS_FROM, above, with_mark
from stages.by_hand.compare import of_classes
from stages.data.task_and_classes import Task
from stages.judge.paired_difference import BETTER, TOO_FEW, Comparison, Difference
from stages.report import verdicts
from stages.report.class_lists import WHOLE, differing
from stages.report.score_names import of_class, title

LONGEST = 9  # letters of a run's name that stands above a column of numbers


def comparison(found: list[Comparison], classes: bool, width: int) -> Lines:
    """The answer, then the scores of one candidate or the ranking of several; every score of each, classes too, if `classes`."""
    several = len(found) > 1
    lines = plain([_of_several(found) if several else verdicts.answer(found[0])], width)
    lines += with_mark(_ranking(found), width) if several else []
    whole = found if classes or not several else []  # those whose own answer is printed
    for one in whole:
        heading = "" if not several else verdicts.answer(one)
        lines += [
            *([("", "")] * several),
            *plain([heading] * several, width),
            *plain([one.truth] * bool(one.truth), width),
        ]
        lines += scores(one, width)
        lines += _of_untouched(one, width)
        lines += [("", ""), *_of_classes(one, width)] if classes else []
    said = {words for one in whole for words in (verdicts.answer(one), one.truth, verdicts.of_untouched(one))}
    said |= set() if classes else {of_classes(one.task) for one in found}
    told = [] if several else _rates(found[0])
    told += [f"note: {note}" for one in found for note in one.notes if note not in said]
    spread = found[0].rows[0].seed_sd
    if not several and spread is not None:
        told.insert(
            0,
            f"macro F1 of one training varies by {spread:.4f} from seed to seed (standard deviation); the scores are means of "
            "single trainings, where `maskcli summary` has those of all repeats joined",
        )
    return [*lines, *plain(dict.fromkeys(told), width)]


def _of_several(found: list[Comparison]) -> str:
    """Which of several candidates are better than the base, and how large a difference would show."""
    rows = {one.run_b: _macro_f1(one) for one in found}
    better = [name for name, row in rows.items() if row.verdict == BETTER]
    better.sort(key=lambda name: -rows[name].difference)
    base, count = found[0].run_a, len(found)
    known = [row.detectable for row in rows.values() if row.detectable is not None]
    shows = f"; differences of {min(known):.2g} to {max(known):.2g} would show" if known else ""
    over = f"over {found[0].groups:,} {_macro_f1(found[0]).units}, {count} comparisons sharing one error rate"
    if better:
        return f"better than {base}: {', '.join(better)}, of {count} candidates ({over}{shows})"
    return f"none of {count} candidates is shown to be better than {base} ({over}{shows})"


def _ranking(found: list[Comparison]) -> Table:
    """All runs, best macro F1 first."""
    numbers = ("macro F1", "difference", "95 % interval", SHOWS_FROM)
    columns = [Column("run"), *(Column(name, "number") for name in numbers), Column("verdict")]
    rows = [
        (row.b, (one.run_b, f"{row.b:.4f}", *_judged(row)), row.verdict)
        for one, row in zip(found, map(_macro_f1, found), strict=True)
    ]
    base = found[0]
    rows.append((_macro_f1(base).a, (base.run_a, f"{_macro_f1(base).a:.4f}", "", "", "", "base"), "base"))
    rows.sort(key=lambda row: -row[0])
    return Table(columns, [cells for _, cells, _ in rows], "", [verdict for *_, verdict in rows])


def _macro_f1(found: Comparison) -> Difference:
    return next(row for row in found.rows if row.metric == "macro_f1")


def _rates(found: Comparison) -> list[str]:
    """The learning rate that either run had, and why."""
    if not any(found.rates):
        return []
    return [
        "learning rate: "
        + ", ".join(
            f"{name} {rate or 'not known'}" for name, rate in zip((found.run_a, found.run_b), found.rates, strict=True)
        )
    ]


def _judged(row: Difference) -> tuple[str, ...]:
    few = row.verdict == TOO_FEW
    return (
        f"{row.difference:+.3f}",
        "" if few else verdicts.interval(row.low, row.high),
        above(row.difference, row.detectable),
        verdicts.SHORT.get(row.verdict, row.verdict),
    )


def scores(found: Comparison, width: int) -> Lines:
    """The scores of all photos."""
    names = (found.run_a, found.run_b)
    heading = ""
    if max(map(len, names)) > LONGEST:
        heading, names = f"base: {found.run_a}; new: {found.run_b}", ("base", "new")
    numbers = (*names, "change", "95 % interval", SHOWS_FROM)
    columns = [Column("score"), *(Column(name, "number") for name in numbers), Column("verdict")]
    rows = [row for row in found.rows if not of_class(row.metric)]
    cells = [(title(row.metric, found.task), f"{row.a:.3f}", f"{row.b:.3f}", *_judged(row)) for row in rows]
    return with_mark(Table(columns, cells, heading, [row.verdict for row in rows]), width)


def _of_untouched(found: Comparison, width: int) -> Lines:
    """Where labels were corrected between the runs: the answer and scores over the groups whose labels are the same in both."""
    if found.untouched is None:
        return []
    told = verdicts.of_untouched(found)
    return [("", ""), *plain([told[0].upper() + told[1:]], width), *scores(found.untouched, width)]


def _of_classes(found: Comparison, width: int) -> Lines:
    """The F1 of every class; of many classes, of those that differ most."""
    rows, told = [row for row in found.rows if of_class(row.metric)], ""
    if len(rows) > WHOLE:
        shown_ones = differing(rows, 2 * ENDS)
        told = f"The {len(shown_ones)} of {len(rows)} classes that differ most; all are in --json and --csv"
        rows = sorted((row for row in rows if row.metric in shown_ones), key=lambda row: shown_ones.index(row.metric))
    numbers = ("base", "new", "change", "95 % interval")
    columns = [Column("F1 of class"), *(Column(name, "number") for name in numbers), Column("verdict")]
    cells = []
    for row in rows:
        change, ends, _, verdict = _judged(row)
        cells.append((_class_name(row, found.task), f"{row.a:.3f}", f"{row.b:.3f}", change, ends, verdict))
    return table(Table(columns, cells, told, [row.verdict for row in rows]), width)


def _class_name(row: Difference, task: Task) -> str:
    return title(row.metric, task).removeprefix("F1 ")
