"""What people read on stdout of submit-now."""

from typing import Any

from cli.lines import Column, Lines, Table, described, plain, table


def submit_now(made: dict[str, Any], width: int) -> Lines:
    """What the submission is made of, and what was left out."""
    models = made["models"]
    how = f"{len(models)} model{'' if len(models) == 1 else 's'}, {made['vote']} vote, {', '.join(made['views'])}"
    lines = plain([f"{made['submission']}: {made['answers']} answers{f' ({how})' if models else ''}"], width)
    if models:
        columns = [Column("fold"), Column("val_f1", "number"), Column("model", "prose")]
        rows = [(_fold(source), _score(source), source["state"]) for source in models]
        lines += table(Table(columns, rows), width)
    texts = []
    for source in made["left_out"]:
        what = f"fold {_fold(source)}, {source['state']}, val_f1 {_score(source)}: {source['reason']}"
        texts.append(("left out", what))
    if made["folds_missing"] and models:
        texts.append(("no model of", f"folds {', '.join(map(str, made['folds_missing']))}"))
    if not models:
        texts.append(("no model", "every answer is the most common class: valid, and poor; train at least one epoch"))
    return [*lines, *described(texts, width)]


def _fold(source: dict[str, Any]) -> str:
    return f"{source['fold']}.{source['repeat']}" if source["repeat"] else str(source["fold"])


def _score(source: dict[str, Any]) -> str:
    known = source["val_f1"]
    return "not written yet" if known is None else f"{known:.4f}"
