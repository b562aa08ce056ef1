"""What people read on stdout of screen --frozen."""

from typing import Any

from cli.lines import Column, Lines, Table, counted, labelled, plain
from cli.tables.judged_rows import SHOWS_FROM, above, with_mark
from stages.base import paths
from stages.report.verdicts import SHORT, in_brackets, interval


def heads(found: dict[str, Any], top: int, width: int) -> Lines:
    """Whether anything is better than the base; the best `top` rows, the base wherever it stands; what that can tell."""
    shown = [row for row in found["rows"] if row["rank"] <= top or row["verdict"] == "base"]
    several = len({row["head"] for row in found["rows"]}) > 1
    names = ("loss", "sampler", "head") if several else ("loss", "sampler")
    numbers = ("macro F1", "difference", "95 % interval", SHOWS_FROM, *found["titles"].values(), "val_nll")
    columns = [Column("#", "text"), *(Column(name) for name in names), Column("verdict")]
    columns += [Column(name, "number") for name in numbers]
    head = "" if several else f" ({found['rows'][0]['head']})"
    title = (
        f"Heads{head} on frozen features, against {found['base']} (params.yaml): {len(found['rows'])} combinations, "
        f"{found['folds']} folds x {found['repeats']} repeat{'' if found['repeats'] == 1 else 's'}, {counted(found)}"
    )
    rows = [_cells(row, names, list(found["titles"])) for row in shown]
    seconds = found["seconds"]
    took = " ".join(f"{seconds[key]:.0f} s {name}," for key, name in _TIMES).rstrip(",")
    below = {"backbone": found["backbone"], "time": took, "table": f"{paths.SCREEN_HEADS} (all rows)"}
    return [
        *plain([_answer(found)], width),
        ("", ""),
        *with_mark(Table(columns, rows, title, [row["verdict"] for row in shown]), width),
        ("", ""),
        *plain(found["notes"], width),
        *((line, "") for label, text in below.items() for line in labelled(label, text, width)),
    ]


_TIMES = (("features", "features"), ("heads", "heads"), ("judge", "comparison"))


def _answer(found: dict[str, Any]) -> str:
    rows, base = found["rows"], next(row for row in found["rows"] if row["verdict"] == "base")
    against = f"{found['base']} of params.yaml (macro F1 {base['macro_f1']:.4f})"
    better = [_name(row) for row in rows if row["verdict"] == "better"]
    if better:
        more = f" and {len(better) - 3} more" if len(better) > 3 else ""
        return f"better than {against}: {', '.join(better[:3])}{more} of {len(rows) - 1} tried"
    answer = f"none of {len(rows) - 1} others is shown to be better than {against}"
    first = rows[0]
    if first is base:
        return f"{answer}, which stands first"
    return (
        f"{answer}; first stands {_name(first)}, {first['macro_f1']:.4f}, {first['difference']:+.4f}"
        f"{in_brackets(first['low'], first['high'])}"
    )


def _name(row: dict[str, Any]) -> str:
    return " ".join(row[name] for name in ("loss", "sampler", "head"))


def _cells(row: dict[str, Any], names: tuple[str, ...], subsets: list[str]) -> tuple[str, ...]:
    is_base = row["verdict"] == "base"
    return (
        str(row["rank"]),
        *(row[name] for name in names),
        SHORT.get(row["verdict"], row["verdict"]),
        f"{row['macro_f1']:.4f}",
        "" if is_base else f"{row['difference']:+.4f}",
        "" if is_base else interval(row["low"], row["high"]),
        "" if is_base else above(row["difference"], row["detectable"]),
        *(f"{row[name]:.4f}" for name in subsets),
        f"{row['val_nll']:.4f}",
    )
