"""What people read on stdout of blend."""

from typing import Any

from cli.lines import Column, Lines, Table, described, plain, table, units
from cli.tables.judged_rows import judged
from stages.base import paths
from stages.report.verdicts import in_brackets


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
    nested = judged(
        f"Weights fitted on other {units(found)}, against the best single run chosen there ({base:.4f})",
        "weights",
        "weights",
        found["nested"],
        width,
    )
    flattering = ", ".join(
        f"{row['weights']} {row['macro_f1_fitted']:.4f}" for row in found["nested"] if "macro_f1_fitted" in row
    )
    alone = found["against_best_on_all"]
    told = [
        f"scored where they were fitted, which flatters: {flattering}",
        f"{found['best_single']} itself scores {alone['best']:.4f}, flattered by having been chosen on these "
        f"{units(found)}; the blend against it: {alone['difference']:+.4f}{in_brackets(alone['low'], alone['high'])}",
        *(f"note: {note}" for note in found["notes"]),
    ]
    lines = [*plain([found["verdict"]], width), ("", ""), *table(runs, width), ("", ""), *nested]
    made = {
        "submission": f"{paths.BLEND_SUBMISSION} ({found['method']} weights)"
        if found["eval_photos"]
        else "none: there is no eval set",
        "weights": str(paths.BLEND_WEIGHTS),
    }
    return [*lines, ("", ""), *plain(told, width), *described(list((made).items()), width)]
