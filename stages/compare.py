"""compare: is one run better than another? Paired over people, from the OOF predictions of revisions and experiments."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages import paths, revisions
from stages.data.layout import AGES, CLASSES, class_name, parts
from stages.errors import UserError
from stages.files import load_npz, write_csv
from stages.judge import bootstrap, compare, metrics
from stages.judge.bootstrap import Scores
from stages.judge.compare import Comparison, Difference
from stages.report.figures import forest
from stages.talk import Talk

TITLES = {
    "macro_f1": "macro F1",
    "f1_60plus": "60+ F1",
    "nll": "val_nll",  # as in plots and histories
    "f1_mask": "mask F1",
    "f1_gender": "gender F1",
    "f1_age": "age F1",
}
OF_CLASSES = (
    f"the F1 of {CLASSES} classes is tested one by one: about one in twenty would look better or worse by luck, so decide "
    "by macro_f1"
)


@dataclass(frozen=True)
class Run:
    """The OOF predictions of one revision: N photos, R repeats."""

    name: str
    photo: np.ndarray  # [N]
    person: np.ndarray  # [N]
    label: np.ndarray  # [N]
    fold: np.ndarray  # [N]
    selected: np.ndarray  # [R, N, 18] log probabilities
    last: np.ndarray  # [R, N, 18]
    select: str
    seed: int


def run(
    names: Sequence[str], rule: str, replicates: int, seed: int, csv: Path | None, png: Path, talk: Talk
) -> list[Comparison]:
    """Compare the first of `names` with each of the others (with the workspace if there is no other).

    rule: which epochs are compared, `selected`, `last`, or `auto`: selected if all runs chose by the same rule, else last.
    Several candidates share one error rate: p-values are Holm's, per score. Writes a forest plot, and `csv` if given.
    Raises UserError if a run has no OOF predictions, or runs hold different people or scoring labels.
    """
    names = list(names) if len(names) > 1 else [names[0], revisions.WORKSPACE]
    if len(set(names)) < len(names):
        raise UserError(f"compare: {', '.join(names)}: the same run stands twice; name each once")
    base = load(names[0])
    candidates = [aligned(base, load(name)) for name in names[1:]]
    rule = settle_rule(rule, [base, *candidates])
    found = [
        against(base, candidate, rule, replicates, seed)
        for candidate in talk.track(candidates, len(candidates), "compare")
    ]
    found = corrected(found)
    if csv:
        write_csv(csv, pd.DataFrame(as_rows(found)))
    forest(png, [(result.run_b, result.rows) for result in found], base.name)
    return found


def against(base: Run, candidate: Run, rule: str, replicates: int, seed: int) -> Comparison:
    """Every score of `candidate`, aligned to `base`, against it; no correction for several candidates."""
    rows = compare.compare(scores(base, rule), scores(candidate, rule), _people_of_classes(base), replicates, seed)
    return Comparison(base.name, candidate.name, rows, notes(base, candidate, rule))


def load(name: str) -> Run:
    """Read a run's oof.npz."""
    content = revisions.read(name, paths.OOF_ARRAYS)
    try:
        # Names in UTF-8 and each at its own length take a third of the memory. First, while nothing else is there.
        photo = load_npz(io.BytesIO(content), ["photo"])["photo"].astype(np.dtypes.StringDType())
        arrays = load_npz(
            io.BytesIO(content), [field.name for field in fields(Run) if field.name not in ("name", "photo")]
        )
        values: dict[str, Any] = arrays | {"select": str(arrays["select"]), "seed": int(arrays["seed"])}
        return Run(name=name, photo=photo, **values)
    except (ValueError, TypeError):
        raise UserError(
            f"{name}: {paths.OOF_ARRAYS} is damaged or of another version; run `dvc repro oof-ensemble` there again"
        ) from None


def aligned(base: Run, other: Run) -> Run:
    """`other` with its photos in the order of `base`. Raises UserError if photos or scoring labels differ."""
    if np.array_equal(base.photo, other.photo):  # nearly always; a million names in sets and dicts take their time
        return _in_order(base, other, slice(None))
    order = {photo: place for place, photo in enumerate(other.photo)}
    only = [set(base.photo) - set(order), set(order) - set(base.photo)]
    if any(only):
        raise UserError(
            f"{base.name} and {other.name}: not the same photos ({len(only[0])} only in the first, {len(only[1])} only in the "
            "second); compare runs on the same data"
        )
    return _in_order(base, other, np.array([order[photo] for photo in base.photo]))


def _in_order(base: Run, other: Run, which: np.ndarray | slice) -> Run:
    """`other` with the photos at `which`, which are those of `base`."""
    differ = (other.label[which] != base.label) | (other.person[which] != base.person)
    if differ.any():
        raise UserError(
            f"{base.name} and {other.name}: {int(differ.sum())} photos have other scoring labels or people, "
            f"first {base.photo[differ.argmax()]}; set the same data.age_bins and data, then run one of them again"
        )
    return replace(
        other,
        photo=base.photo,
        person=base.person,
        label=base.label,
        fold=other.fold[which],
        selected=other.selected[:, which],
        last=other.last[:, which],
    )


def scores(run: Run, rule: str) -> list[Scores]:
    """Per person sums of each repeat, one entry a repeat: scores of the classes, then of mask, gender and age bin apart."""
    rows, person = np.arange(len(run.label)), bootstrap.numbered(run.person)
    chosen = run.selected if rule == "selected" else run.last
    return [
        bootstrap.beside(
            [
                bootstrap.of_run(person, run.label, one.argmax(1), -one[rows, run.label]),
                *_of_parts(person, run.label, one.argmax(1)),
            ]
        )
        for one in chosen
    ]


def _of_parts(person: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> list[Scores]:
    """Macro F1 of mask, gender and age bin, each as the one score of its own levels."""
    found = []
    for name, true, predicted in zip(metrics.PARTS, parts(labels), parts(predictions), strict=True):
        own = bootstrap.pick(bootstrap.of_run(person, true, predicted, classes=len(AGES)), ("macro_f1",))
        found.append(replace(own, names=(name,)))
    return found


def notes(base: Run, other: Run, rule: str) -> list[str]:
    """What differs between two runs besides the method, and what that means for the interval."""
    found = []
    if rule == "last" and base.select != other.select:
        found.append(
            f"epochs were chosen by different rules ({base.select}, {other.select}): the last epochs are compared instead"
        )
    elif rule == "selected" and base.select != "last":
        found.append(
            f"epochs were chosen by {base.select} on the scored photos in both runs: both scores flatter alike"
        )
    if (base.fold != other.fold).any():
        found.append(
            "the folds differ: models were trained on other people, so part of the difference is the luck of the split"
        )
    found.append(OF_CLASSES)
    fewest = min(len(base.selected), len(other.selected))
    if fewest < 2:
        seeds = "the same seed" if base.seed == other.seed else f"seeds {base.seed} and {other.seed}"
        found.append(
            f"one training a fold ({seeds}): the interval is about these trained models and leaves out the noise of the seed; "
            "train.repeats: 3 in both runs would take it in"
        )
    return found


def corrected(found: list[Comparison]) -> list[Comparison]:
    """Holm's correction over the candidates, score by score; a verdict that does not survive becomes no evidence."""
    adjusted = [compare.holm([result.rows[place].p_value for result in found]) for place in range(len(found[0].rows))]
    return [
        replace(result, rows=[with_p(row, adjusted[place][number]) for place, row in enumerate(result.rows)])
        for number, result in enumerate(found)
    ]


def as_rows(found: list[Comparison]) -> list[dict[str, Any]]:
    """One flat row a score and candidate: run_a, run_b, then the fields of Difference."""
    return [{"run_a": result.run_a, "run_b": result.run_b, **asdict(row)} for result in found for row in result.rows]


def as_json(found: list[Comparison]) -> str:
    """The rows, and the notes of each comparison."""
    remarks = {result.run_b: result.notes for result in found}
    return json.dumps({"comparisons": as_rows(found), "notes": remarks}, allow_nan=False)


def title(metric: str) -> str:
    """The score's name for people: the class's number and name for f1_<number>."""
    number = metric.removeprefix("f1_")
    return f"F1 {int(number):02d} {class_name(int(number))}" if number.isdigit() else TITLES.get(metric, metric)


def with_p(row: Difference, p_value: float) -> Difference:
    """The row with a corrected p-value; a verdict that does not survive it becomes no evidence."""
    lost = row.verdict in ("better", "worse") and p_value >= 0.05
    return replace(row, p_value=p_value, verdict="no evidence either way" if lost else row.verdict)


def settle_rule(rule: str, runs: list[Run]) -> str:
    if rule != "auto":
        return rule
    return "selected" if len({run.select for run in runs}) == 1 else "last"


def _people_of_classes(run: Run) -> dict[str, int]:
    counts = bootstrap.people_per_class(bootstrap.numbered(run.person), run.label)
    return {f"f1_{number}": int(count) for number, count in enumerate(counts)}
