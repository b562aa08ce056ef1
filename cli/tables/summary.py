"""What people read on stdout of summary."""

from typing import Any

from cli.lines import Lines, counted, described, next_steps, plain, units


def summary(found: dict[str, Any], width: int) -> Lines:
    """The score, the files that are here, how to get the others, and what to type next."""
    score = (
        f"OOF macro F1 {found['macro_f1']:.4f}, 95 % interval {found['macro_f1_low']:.4f} to {found['macro_f1_high']:.4f} "
        f"({f'{counted(found)}, ' * (units(found) != 'photos')}{found['photos']} photos)"
    )
    several = found.get("repeats", 1) > 1 and "macro_f1_seed_mean" in found
    alone = f"of a repeat alone, on average: {found['macro_f1_seed_mean']:.4f}; " if several else ""
    others = (
        f"last {found['macro_f1_last']:.4f}; {alone}fixed from the other folds {found['macro_f1_other_folds']:.4f}; best (chosen "
        f"on the scored photos, so too high) {found['macro_f1_best_epochs']:.4f}"
    )
    texts = [("epochs", others), *found["files"].items()]
    if found["missing"]:
        texts.append(("not here", f"{', '.join(found['missing'].values())} (`{found['get']}` brings them)"))
    elif "report" not in found["files"]:
        texts.append(("report", "`maskcli report` writes it: one page for any browser"))
    texts += [("plots", "`maskcli plots`, or: `dvc plots show`, `tensorboard --logdir out/train`")]
    return [*plain([score], width), *described(texts, width), *next_steps(found["why"], found["next"], width)]
