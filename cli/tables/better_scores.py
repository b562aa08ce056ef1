"""What people read on stdout of tta-search and blend."""

from typing import Any

from cli.lines import Column, Lines, Table, counted, labelled, plain, table, units
from cli.tables.answers import SHORT, interval
from stages.base import paths


def views(found: dict[str, Any], width: int) -> Lines:
    """What to set and what it brings; each set of views against identity, and the votes."""
    same = set(found["recommended"]) == set(found["current"])
    gain = (
        f"{found['gain_nested']:+.4f} macro F1 where the views were chosen on other {units(found)} (95 % interval "
        f"{interval(found['gain_nested_low'], found['gain_nested_high'])}); {found['gain_on_all']:+.4f} on the photos "
        "that they were chosen on"
    )
    others = [view for view in found["recommended"] if view != "identity"]
    helps = f"{', '.join(others)} help{'s' if len(others) == 1 else ''}" if others else "no view is shown to help"
    advice = f"{helps}; {'keep' if same else 'set'} {found['line']}"
    lines = plain([advice], width)
    lines += plain([f"gain of this search: {gain}"], width)
    alone = f"{found['identity_macro_f1']:.4f} on {'OOF photos of ' * (units(found) != 'photos')}{counted(found)}"
    rows = [{**row, "views": _without_identity(row["views"])} for row in found["views"]]
    shown = _judged(f"Views joined with identity, against identity alone: macro F1 {alone}", "view", "views", rows)
    lines += [("", ""), *table(shown, width)]
    if found["votes"]:
        lines += [
            ("", ""),
            *table(_judged("Votes over repeats and tta.views, against soft", "vote", "vote", found["votes"]), width),
        ]
    lines += [("", ""), *plain([f"note: {note}" for note in found["notes"]], width)]
    files = f"{paths.TTA_VIEWS} {paths.TTA_VOTES}"
    line = f"{found['line']}{'  (as it stands)' if same else ''}"
    return [*lines, *_labelled({"params.yaml": line, "tables": files}, width)]


def blend(found: dict[str, Any], width: int) -> Lines:
    """The verdict, the runs with their weights, and the nested scores."""
    runs = Table(
        [Column("run"), *(Column(name, "number") for name in ("macro F1", *found["all_weights"]))],
        [
            (name, f"{score:.4f}", *(f"{weights[name]:.3f}" for weights in found["all_weights"].values()))
            for name, score in found["runs"].items()
        ],
        "Runs: OOF macro F1, and their weights by each way of weighting",
    )
    base = found["nested"][0]["best_single"]
    nested = _judged(
        f"Weights fitted on other {units(found)}, against the best single run chosen there ({base:.4f})",
        "weights",
        "weights",
        found["nested"],
    )
    flattering = ", ".join(
        f"{row['weights']} {row['macro_f1_fitted']:.4f}" for row in found["nested"] if "macro_f1_fitted" in row
    )
    alone = found["against_best_on_all"]
    told = [
        f"scored where they were fitted, which flatters: {flattering}",
        f"{found['best_single']} itself scores {alone['best']:.4f}, flattered by having been chosen on these "
        f"{units(found)}; the blend against it: {alone['difference']:+.4f} ({interval(alone['low'], alone['high'])})",
        *(f"note: {note}" for note in found["notes"]),
    ]
    lines = [*plain([found["verdict"]], width), ("", ""), *table(runs, width), ("", ""), *table(nested, width)]
    made = {
        "submission": f"{paths.BLEND_SUBMISSION} ({found['method']} weights)"
        if found["eval_photos"]
        else "none: there is no eval set",
        "weights": str(paths.BLEND_WEIGHTS),
    }
    return [*lines, ("", ""), *plain(told, width), *_labelled(made, width)]


def _judged(title: str, head: str, key: str, rows: list[dict[str, Any]]) -> Table:
    """Rows of macro F1 against a base, named by their `key`."""
    numbers = ("macro F1", "difference", "95 % interval", "p Holm")
    columns = [Column(head), *(Column(name, "number") for name in numbers), Column("verdict")]
    cells = [
        (
            row[key],
            f"{row['macro_f1']:.4f}",
            f"{row['difference']:+.4f}",
            interval(row["low"], row["high"]),
            f"{row['p_value']:.3f}",
            SHORT.get(row["verdict"], row["verdict"]),
        )
        for row in rows
    ]
    return Table(columns, cells, title, [row["verdict"] for row in rows])


def _without_identity(names: str) -> str:
    """What joins identity; many views by their number."""
    others = [name for name in names.split() if name != "identity"]
    return " ".join(others) if len(others) <= 2 else f"{len(others)} views"


def _labelled(texts: dict[str, str], width: int) -> Lines:
    return [(line, "") for label, text in texts.items() for line in labelled(label, text, width)]
