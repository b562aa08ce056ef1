"""What people read on stdout of screen."""

from typing import Any

from cli.lines import Column, Lines, Table, counted, duration, labelled, next_steps, plain, table, units
from stages.base import paths
from stages.report.verdicts import AS_TRAINED, SHORT, in_brackets, interval


def screen(found: dict[str, Any], top: int, width: int) -> Lines:
    """What to train next, and why; the best `top` rows, the base wherever it stands; what that can tell, and what to type."""
    if not found["rows"]:
        return plain([_nothing_yet(found)], width)
    shown = [row for row in found["rows"] if row["rank"] <= top or row["verdict"] == "base"]
    numbers = ("epochs x folds", "macro F1", "difference", "95 % interval", "val_nll")
    columns = [Column("#"), Column("change"), *(Column(name, "number") for name in numbers), Column("verdict")]
    title = (
        f"{found['tried']} changes of params.yaml, each beside it after the same epochs on the same folds; "
        f"{counted(found)}, learning rate {found['lr']:.3g}"
    )
    below = {"time": _times(found), "table": f"{paths.SCREEN_RANKING} (all rows)"}
    return [
        *plain(filter(None, [answer(found), why(found)]), width),
        ("", ""),
        *table(Table(columns, [_cells(row) for row in shown], title, [row["verdict"] for row in shown]), width),
        ("", ""),
        *plain(_notes(found), width),
        *((line, "") for label, text in below.items() for line in labelled(label, text, width)),
        *_next(found, width),
    ]


def answer(found: dict[str, Any]) -> str:
    """What to train next, and by how much it stands above params.yaml."""
    if found["next"] is None:
        return f"train params.yaml as it is: none of {found['tried']} changes stood above it"
    first = found["rows"][0]
    early = "" if found["whole"] else "so far: "
    return f"{early}train {first['change']} next: macro F1 {_gain(first)} over params.yaml"


def why(found: dict[str, Any]) -> str:
    """How the best was found, and how sure that is."""
    if found["next"] is None:
        second = next((row for row in found["rows"] if row["verdict"] not in ("base", "failed")), None)
        return "" if second is None else f"nearest stands {second['change']}: {_gain(second)} after {_trained(second)}"
    first = found["rows"][0]
    return f"the best of {found['tried']} changes, after {_trained(first)}; {_sure(first, found)}"


def _gain(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.3f}{in_brackets(row['low'], row['high'])}"


def _trained(row: dict[str, Any]) -> str:
    epochs = f"{row['epochs']} epoch{'s' if row['epochs'] > 1 else ''}"
    return f"{epochs} on {row['folds']} fold{'s' if row['folds'] > 1 else ''}"


def _sure(first: dict[str, Any], found: dict[str, Any]) -> str:
    """What the verdict on the best says, in words."""
    if first["verdict"] == "better":
        return "that shows, even after choosing the best of all"
    if first["verdict"] in AS_TRAINED:
        return "these models are better, but another seed could have made them so"
    return f"with these {units(found)} that is no evidence yet, only the best bet"


def _nothing_yet(found: dict[str, Any]) -> str:
    return "nothing is known yet: the time was up before params.yaml was trained once; the same command goes on"


def _times(found: dict[str, Any]) -> str:
    rungs = [
        f"{one['candidates']} x {one['folds']} fold{'s' if one['folds'] > 1 else ''} x {100 * one['share']:.0f} % of the epochs: "
        f"{duration(one['core_seconds'])} of a core"
        for one in found["rungs"]
    ]
    return f"{duration(found['seconds'])} now; {'; '.join(rungs)}"


def _notes(found: dict[str, Any]) -> list[str]:
    """What keeps the ranking from being read as more than it is."""
    told = [
        f"intervals hold for all {found['tried']} changes together, so also for the best, which was chosen on these "
        f"{units(found)}; its macro F1 and its difference flatter. Rows with fewer epochs were dropped on the way: each is "
        "compared with params.yaml after as many, so read their difference, not their macro F1"
    ]
    if not found["whole"]:
        told.append("the time was up before all was trained: the same command goes on where it stopped")
    return told + [f"{row['change']}: {row['fault']}" for row in found["rows"] if row["fault"]]


def _next(found: dict[str, Any], width: int) -> Lines:
    """How to confirm it on all folds, and what that costs."""
    following = found["next"]
    if following is None:
        return []
    run = f"dvc exp run -n {following['name']} {following['switches']}"
    why = f"all {found['folds']} folds at full length, about {duration(following['seconds'])}, to confirm it:"
    commit = "git add -A && git commit -m base"  # of a first run no result is known to git, and compare needs them
    base = [] if following["base_is_committed"] else ["dvc repro", commit]
    return next_steps(why, [*base, run, f"maskcli compare HEAD {following['name']}"], width)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    trained = f"{row['epochs']} x {row['folds']}"
    if row["verdict"] == "failed":
        return (str(row["rank"]), row["change"], trained, "", "", "", "", "failed")
    is_base = row["verdict"] == "base"
    return (
        str(row["rank"]),
        "params.yaml" if is_base else row["change"],
        trained,
        f"{row['macro_f1']:.3f}",
        "" if is_base else f"{row['difference']:+.3f}",
        "" if is_base else interval(row["low"], row["high"]),
        f"{row['val_nll']:.3f}",
        SHORT.get(row["verdict"], row["verdict"]),
    )
