"""What people read on stdout of refit."""

from typing import Any

from cli.lines import Lines, described
from stages.base import paths

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
        return described([*answered, NO_SCORE], width)
    if found["equal_answers"] is None:
        answers = f"not compared: {paths.SUBMISSION} is not there, or has other photos (`dvc repro`)"
    else:
        answers = f"{found['equal_answers']:.1%} equal those of the fold ensemble, {paths.SUBMISSION}"
    decision = [
        ("decision", "with offsets (decision: adjusted) that were fitted and judged on the folds' models, not on these")
    ]
    texts = [
        ("submission", f"{paths.REFIT_SUBMISSION} ({made})"),
        ("answers", answers),
        *decision * (found["decision"] == "adjusted"),
        NO_SCORE,
    ]
    return described(texts, width)
