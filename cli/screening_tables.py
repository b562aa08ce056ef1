"""The rich table of screen."""

from typing import Any

from rich.table import Table

from cli.tables import STYLES, _console
from stages import paths


def show_screen(found: dict[str, Any], top: int) -> None:
    """The best `top` rows, the base wherever it stands, and what the ranking can and cannot tell."""
    console = _console()
    table = Table(
        title=f"Heads on frozen features, against {found['base']} (params.yaml): {len(found['rows'])} combinations, "
        f"{found['folds']} folds x {found['repeats']} repeats, {found['people']} people",
        title_justify="left",
        pad_edge=False,
    )
    for name in ("", "loss", "sampler", "head"):
        table.add_column(name, justify="left" if name else "right")
    for name in ("macro F1", "difference", "95 % interval", "p (Holm)", "60+ F1", "val_nll"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in found["rows"]:
        is_base = row["verdict"] == "base"
        if row["rank"] > top and not is_base:
            continue
        table.add_row(
            *(str(row[name]) for name in ("rank", "loss", "sampler", "head")),
            f"{row['macro_f1']:.4f}",
            "" if is_base else f"{row['difference']:+.4f}",
            "" if is_base else f"{row['low']:+.4f} to {row['high']:+.4f}",
            "" if is_base else f"{row['p_value']:.3f}",
            f"{row['f1_60plus']:.4f}",
            f"{row['val_nll']:.4f}",
            row["verdict"].removesuffix(" either way"),
            style="bold" if is_base else STYLES.get(row["verdict"]),
        )
    console.print(table)
    console.print(f"backbone     {found['backbone']}", markup=False, soft_wrap=True)
    for note in found["notes"]:
        console.print(note, markup=False, soft_wrap=True)
    seconds = found["seconds"]
    console.print(
        f"time         {seconds['features']:.0f} s features, {seconds['heads']:.0f} s heads, {seconds['judge']:.0f} s comparison"
    )
    console.print(f"table        {paths.SCREEN_RANKING} (all rows)")
