"""What people read on stdout of pseudo-label."""

from typing import Any

from cli.lines import Lines, described, next_steps, plain


def pseudo_label(found: dict[str, Any], width: int) -> Lines:
    """How many photos are labelled, for each fold and for a refit."""
    counts = {name.removeprefix("fold_"): count for name, count in found.items() if name.startswith("fold_")}
    together = counts.pop("all")
    none = [name for name, count in counts.items() if not count]
    answer = (
        f"{together} of {found['eval_photos']} eval photos are sure enough for a refit, {min(counts.values())} to "
        f"{max(counts.values())} for each fold"
    )
    texts = [
        ("labels", found["labels"]),
        ("each fold", ", ".join(f"{name}: {count}" for name, count in counts.items())),
    ]
    if none:
        texts.append(("none for", f"fold {', '.join(none)}: nothing changes for their training"))
    texts.append(("no label of", found["classes_without_any"]))
    labels = found["labels"]
    commands = [f"git add {labels}", f"dvc exp run -n pseudo -S pseudo.labels={labels}", "maskcli compare HEAD pseudo"]
    next_ = next_steps("train with them, and see whether they help", commands, width)
    return [*plain([answer], width), *described(texts, width), *next_]
