"""What people read on stdout of epochs."""

from typing import Any

from cli.lines import Column, Lines, Table, plain, table


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
    runs = "folds and repeats" if any("." in run for run in found["runs"]) else "folds"
    spread = f"best epochs spread by {found['best_epoch_sd']:.1f} (standard deviation over {runs})"
    return [
        *plain([found["advice"], spread], width),
        *[("", ""), *table(folds, width)],
        *[("", ""), *table(curve, width)],
    ]
