"""Rich tables of tta-search and blend."""

from typing import Any

from rich.table import Table

from cli.tables import STYLES, _console
from stages import paths

JUDGED = ("difference", "95 % interval", "P(improved)", "p (Holm)")


def show_views(found: dict[str, Any]) -> None:
    """Each set of views against identity, the votes, and the line for params.yaml."""
    console = _console()
    console.print(
        f"identity alone: macro F1 {found['identity_macro_f1']:.4f} on OOF photos of {found['people']} people"
    )
    console.print(_judged("Views joined with identity, against identity alone", "views", found["views"]))
    if found["votes"]:
        console.print(_judged("Votes over repeats and tta.views, against soft", "vote", found["votes"]))
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    console.print(
        f"gain of this search: {found['gain_nested']:+.4f} macro F1 where the views were chosen on other people (95 % "
        f"interval {found['gain_nested_low']:+.4f} to {found['gain_nested_high']:+.4f}); {found['gain_on_all']:+.4f} on "
        "the photos that they were chosen on",
        markup=False,
        soft_wrap=True,
    )
    same = set(found["recommended"]) == set(found["current"])
    console.print(f"params.yaml  {found['line']}{'  (as it stands)' if same else ''}", markup=False, soft_wrap=True)
    console.print(f"tables       {paths.TTA_VIEWS} {paths.TTA_VOTES}")


def show_blend(found: dict[str, Any]) -> None:
    """The runs with their weights, the nested scores, and the verdict."""
    console = _console()
    runs = Table(title="Runs", title_justify="left", pad_edge=False)
    runs.add_column("run")
    for name in ("OOF macro F1", *found["all_weights"]):
        runs.add_column(name, justify="right")
    for name, score in found["runs"].items():
        runs.add_row(name, f"{score:.4f}", *(f"{weights[name]:.3f}" for weights in found["all_weights"].values()))
    console.print(runs)
    base = found["nested"][0]["best_single"]
    table = _judged(
        f"Weights fitted on other people, against the best single run chosen there ({base:.4f})",
        "weights",
        found["nested"],
    )
    console.print(table)
    flattering = ", ".join(
        f"{row['weights']} {row['macro_f1_fitted']:.4f}" for row in found["nested"] if "macro_f1_fitted" in row
    )
    console.print(f"scored where they were fitted, which flatters: {flattering}")
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    alone = found["against_best_on_all"]
    console.print(
        f"{found['best_single']} itself scores {alone['best']:.4f}, flattered by having been chosen on these people; the blend "
        f"against it: {alone['difference']:+.4f} ({alone['low']:+.4f} to {alone['high']:+.4f})",
        markup=False,
        soft_wrap=True,
    )
    console.print(found["verdict"], markup=False, soft_wrap=True)
    console.print(f"submission   {paths.BLEND_SUBMISSION} ({found['method']} weights, in {paths.BLEND_WEIGHTS})")


def _judged(title: str, first: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column(first)
    for name in ("macro F1", *JUDGED):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in rows:
        table.add_row(
            _short(row[first]),
            f"{row['macro_f1']:.4f}",
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
            f"{row['p_improved']:.3f}",
            f"{row['p_value']:.3f}",
            row["verdict"],
            style=STYLES.get(row["verdict"]),
        )
    return table


def _short(name: str) -> str:
    """Many views by their number; votes and weights as they are."""
    words = name.split()
    return name if len(words) <= 4 else f"{words[0]} and {len(words) - 1} others"
