"""What people read on stdout of summary, refit, pseudo-label and submit-now: an answer in a sentence, then a line a thing."""

from typing import Any

from cli.lines import GAP, Column, Lines, Table, counted, labelled, plain, table, units
from stages.base import paths


def summary(found: dict[str, Any], width: int) -> Lines:
    """The score, the files that are here, how to get the others, and what to type next."""
    score = (
        f"OOF macro F1 {found['macro_f1']:.4f}, 95 % interval {found['macro_f1_low']:.4f} to {found['macro_f1_high']:.4f} "
        f"({f'{counted(found)}, ' * (units(found) != 'photos')}{found['photos']} photos)"
    )
    others = (
        f"last {found['macro_f1_last']:.4f}; fixed from the other folds {found['macro_f1_other_folds']:.4f}; best (chosen "
        f"on the scored photos, so too high) {found['macro_f1_best_epochs']:.4f}"
    )
    texts = [("epochs", others), *found["files"].items()]
    if found["missing"]:
        texts.append(("not here", f"{', '.join(found['missing'].values())} (`{found['get']}` brings them)"))
    elif "report" not in found["files"]:
        texts.append(("report", "`maskcli report` writes it: one page for any browser"))
    texts += [("plots", "`maskcli plots`, or: `dvc plots show`, `tensorboard --logdir out/train`")]
    return [*plain([score], width), *_lines(texts, width), *_next(found["why"], found["next"], width)]


NO_SCORE = (
    "score",
    "none: every training photo was learnt from. The fold ensemble's OOF score (`maskcli summary`) is of models that learnt "
    "from fewer; whether the refit is better cannot be seen without new ones",
)


def refit(found: dict[str, Any], width: int) -> Lines:
    """What was written, and what can be said of it."""
    made = f"{found['seeds']} seeds x {found['epochs']} epochs of {found['train_photos']} photos"
    if not found["eval_photos"]:
        answered = [("models", f"{paths.REFIT_MODELS} ({made}); no submission: there is no eval set")]
        return _lines([*answered, NO_SCORE], width)
    if found["equal_answers"] is None:
        answers = f"not compared: {paths.SUBMISSION} is not there, or has other photos (`dvc repro`)"
    else:
        answers = f"{found['equal_answers']:.1%} equal those of the fold ensemble, {paths.SUBMISSION}"
    texts = [
        ("submission", f"{paths.REFIT_SUBMISSION} ({made})"),
        ("answers", answers),
        NO_SCORE,
    ]
    return _lines(texts, width)


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
    next_ = _next("train with them, and see whether they help", commands, width)
    return [*plain([answer], width), *_lines(texts, width), *next_]


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
    return [*lines, *_lines(texts, width)]


def _fold(source: dict[str, Any]) -> str:
    return f"{source['fold']}.{source['repeat']}" if source["repeat"] else str(source["fold"])


def _score(source: dict[str, Any]) -> str:
    known = source["val_f1"]
    return "not written yet" if known is None else f"{known:.4f}"


def _lines(texts: list[tuple[str, str]], width: int) -> Lines:
    return [(line, "") for label, text in texts for line in labelled(label, text, width)]


def _next(why: str, commands: list[str], width: int) -> Lines:
    """Commands to type, each whole on a line of its own, to be copied."""
    return [*_lines([("next", why)], width), *((GAP + command, "") for command in commands)]
