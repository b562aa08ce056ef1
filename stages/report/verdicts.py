"""Differences between runs in words: one sentence that answers, and what a row of a table says."""

from stages.judge.paired_difference import (
    BETTER,
    MODEL_BETTER,
    MODEL_WORSE,
    TOO_FEW,
    UNDECIDED,
    WORSE,
    Comparison,
    Difference,
)

SHORT = {UNDECIDED: "no evidence", TOO_FEW: "too few", MODEL_BETTER: "model better", MODEL_WORSE: "model worse"}
AS_TRAINED = (MODEL_BETTER, MODEL_WORSE)


def answer(found: Comparison) -> str:
    """Whether run b's method is better than run a's by macro F1, and what these groups and trainings could show."""
    a, b = found.run_a, found.run_b
    if found.same:
        return f"{b} holds the same trained models as {a}: there is no difference to find"
    row = _macro_f1(found)
    with_these = f"with {found.groups:,} {row.units} and {_trainings(found.trainings)}"
    if row.verdict in (BETTER, WORSE):
        return f"{b} is {row.verdict} than {a} ({_gain(row)}), {with_these}"
    if row.verdict in AS_TRAINED:
        scores = "higher" if row.verdict == MODEL_BETTER else "lower"
        models = f"macro F1 {row.difference:+.3f}, {row.models_low:+.3f} to {row.models_high:+.3f} over {row.units}"
        more = max(2, *(number + 1 for number in found.trainings))
        return (
            f"{b} against {a}: this trained model scores {scores} ({models}), but another seed could have made it so; "
            f"train.repeats: {more} in both would tell more of the method ({_shows(row, with_these)})"
        )
    return _untold(found, row, with_these)


def of_submissions(found: Comparison) -> str:
    """Whether submission b answers better than submission a by macro F1, as trained, and what these groups could show."""
    a, b = found.run_a, found.run_b
    if found.same:
        return f"{b} answers every photo as {a} does: there is no difference to find"
    row = _macro_f1(found)
    with_these = f"with {found.groups:,} {row.units}"
    if row.verdict in AS_TRAINED:
        return f"{b} answers {BETTER if row.verdict == MODEL_BETTER else WORSE} than {a} ({_gain(row)}), {with_these}"
    return _untold(found, row, with_these)


def interval(low: float, high: float, digits: int = 3) -> str:
    """Empty where no sample differs from another, as where no run answers a photo of the class rightly: that is no certainty."""
    return "" if low == high else f"{low:+.{digits}f} to {high:+.{digits}f}"


def in_brackets(low: float, high: float, digits: int = 3) -> str:
    """The interval as it follows a difference in a sentence, with the space before it; empty where there is none."""
    ends = interval(low, high, digits)
    return f" (95 % interval {ends})" if ends else ""


def _macro_f1(found: Comparison) -> Difference:
    return next(row for row in found.rows if row.metric == "macro_f1")


def _gain(row: Difference) -> str:
    return f"macro F1 {row.difference:+.3f}, {row.low:+.3f} to {row.high:+.3f}"


def _untold(found: Comparison, row: Difference, with_these: str) -> str:
    """The answer where these groups do not tell which is better."""
    pair = f"{found.run_b} against {found.run_a}"
    if row.verdict == TOO_FEW:
        return f"{pair}: too few {row.units} to tell (macro F1 {row.difference:+.3f})"
    if row.low == row.high:
        return f"{pair}: {UNDECIDED}, for both have the same macro F1 in every sample of {row.units}"
    return f"{pair}: {UNDECIDED} ({_gain(row)}); {_shows(row, with_these)}"


def of_untouched(found: Comparison) -> str:
    """Where labels were corrected between the runs, the answer over the groups whose labels are the same in both."""
    if found.untouched is None:
        return ""
    return f"on {found.untouched.rows[0].units} with the same labels in both runs: {answer(found.untouched)}"


def _shows(row: Difference, with_these: str) -> str:
    """How large a difference has to be to show."""
    if row.detectable is None:
        return f"{with_these} no difference can show"
    return f"{with_these} only differences of {row.detectable:.2g} or more show"


def _trainings(repeats: tuple[int, int]) -> str:
    a, b = repeats
    if a == b:
        return "one training each" if a == 1 else f"{a} trainings each"
    return f"{a} and {b} trainings"


def of_row(row: Difference) -> str:
    """The verdict on one score, and how large a difference would show where there is no evidence."""
    if row.verdict != UNDECIDED or row.detectable is None or row.difference == 0:
        return row.verdict
    return f"{row.verdict}; differences of {row.detectable:.2g} or more would show"
