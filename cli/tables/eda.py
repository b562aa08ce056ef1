"""What people read on stdout of eda."""

from typing import Any

from cli.lines import Column, Lines, Table, plain, table, units
from cli.tables.judged_rows import ENDS
from stages.base import paths
from stages.report.class_lists import WHOLE


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
