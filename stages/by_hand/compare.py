"""compare: is one run better than another? Paired over groups (people), from the OOF predictions of revisions and experiments."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths, revisions
from stages.base.errors import UserError
from stages.base.files import load_npz, write_csv
from stages.base.talk import Talk
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import CONTEST, Task
from stages.judge import bootstrap, matched_photos, paired_difference
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import Comparison, Difference
from stages.learn import same_task
from stages.records import past_runs, run_record
from stages.records.run_record import Record
from stages.report.png.result_figures import forest


@dataclass(frozen=True)
class Run:
    """The OOF predictions of one revision: N photos of C classes, R repeats."""

    name: str
    task: Task  # what was classified, with the subsets of then
    photo: np.ndarray  # [N]
    group: np.ndarray  # [N] whose photos they are
    label: np.ndarray  # [N]
    fold: np.ndarray  # [N]
    selected: np.ndarray  # [R, N, C] log probabilities
    last: np.ndarray  # [R, N, C]
    select: str
    seed: int
    content: np.ndarray | None = None  # uint64 [N], a hash of each photo's file; None in results of an earlier version
    record: Record = field(default_factory=Record)  # what was run


ARRAYS = ("label", "fold", "selected", "last", "select", "seed")


@dataclass(frozen=True)
class Asked:
    """How runs are compared: which epochs (`selected`, `last`, or `auto`: selected if all runs chose by one rule, else last), and
    the bootstrap."""

    rule: str = "auto"
    replicates: int = 10_000
    seed: int = 0


def run(names: Sequence[str], asked: Asked, csv: Path | None, png: Path, talk: Talk) -> list[Comparison]:
    """Compare the first of `names` with each of the others (with the workspace if there is no other).

    Several candidates share one error rate: p-values are Holm's, per score. Writes a forest plot, and `csv` if given.
    Raises UserError if a run has no OOF predictions, or runs hold other photos or classes.
    """
    names = list(names) if len(names) > 1 else [names[0], revisions.WORKSPACE]
    if len(set(names)) < len(names):
        raise UserError(f"compare: {', '.join(names)}: the same run stands twice; name each once")
    base = load(names[0])
    candidates = [load(name) for name in names[1:]]
    rule = settle_rule(asked.rule, [base, *candidates])
    found = [
        against(base, candidate, rule, asked.replicates, asked.seed)
        for candidate in talk.track(candidates, len(candidates), "compare")
    ]
    found = corrected(found)
    if csv:
        write_csv(csv, pd.DataFrame(as_rows(found)))
    forest(png, [(result.run_b, result.rows) for result in found], base.name, base.task)
    return found


def against(base: Run, candidate: Run, rule: str, replicates: int, seed: int) -> Comparison:
    """Every score of `candidate` against `base`, on the photos that both saw alike; no correction for several candidates."""
    told, same = of_records(base, candidate), same_models(base, candidate)
    (base, candidate), left_out = alike([base, candidate])
    a, b = scores(base, rule), scores(candidate, rule)
    rows = paired_difference.compare(a, b, _groups_of_classes(base), replicates, seed, base.task.units)
    told += [*left_out, *notes(base, candidate, rule)]
    return Comparison(base.name, candidate.name, rows, told, base.task, same)


def load(name: str) -> Run:
    """Read a run's oof.npz, and what it was made with."""
    content = revisions.read(name, paths.OOF_ARRAYS)
    record = past_runs.of_revision(name)
    try:
        # Names in UTF-8 and each at its own length take a third of the memory. First, while nothing else is there.
        photo = load_npz(io.BytesIO(content), ["photo"])["photo"].astype(np.dtypes.StringDType())
        arrays = load_npz(io.BytesIO(content), ARRAYS, optional=("person", "group", "content", "run", "task"))
        own = str(arrays.pop("run", ""))
        task = _task(arrays.pop("task", None), record)
        values: dict[str, Any] = arrays | {"select": str(arrays["select"]), "seed": int(arrays["seed"])}
        group = values.pop("person" if "person" in values else "group")
        run = Run(name=name, task=task, photo=photo, group=group, record=record, **values)
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{name}: {paths.OOF_ARRAYS} is damaged or of another version; run `dvc repro oof-ensemble` there again"
        ) from None
    if own != record.run:
        raise UserError(
            f"{name}: {paths.OOF_ARRAYS} and {paths.OOF_RUN} are of two runs; run `dvc checkout`, or `dvc repro` there"
        )
    return run


def _task(told: np.ndarray | None, record: Record) -> Task:
    """What a run classified, from oof.npz; before it told this, runs were of the contest."""
    if told is not None:
        return tasks.from_json(json.loads(str(told)))
    bins = record.params.get("data", {}).get("age_bins")
    if not bins:
        return CONTEST
    mask, gender, age = CONTEST.axes
    age = replace(age, bins=tuple(bins), levels=tasks.bin_names(tuple(bins)))
    return replace(CONTEST, axes=(mask, gender, age))


def alike(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs on the photos that all of them saw alike, in the order of the first; and what was left out, in words.

    Photos are told apart by content, not by name (stages/judge/matched_photos.py). Raises UserError if the
    runs are of different tasks, or if fewer than half of a run's photos are alike.
    """
    base, *others = runs
    place = [np.arange(len(base.photo))]
    told = []
    for other in others:
        _same_task(base, other)
        found = matched_photos.pair(_photos(base), _photos(other))
        if 2 * len(found.a) < min(len(base.photo), len(other.photo)):
            raise UserError(
                f"{base.name} and {other.name}: not the same photos ({found.only_a} only in the first, {found.only_b} only in "
                f"the second, {found.relabelled} of another {_truth(base.task)}, first {found.first}); compare runs on the same "
                "data, or run one of them again"
            )
        own = np.full(len(base.photo), -1)
        own[found.a] = found.b
        place.append(own)
        told += _left_out(base, other, found)
    kept = np.min(place, axis=0) >= 0
    return [_at(run, own[kept]) for run, own in zip(runs, place, strict=True)], told


def _photos(run: Run) -> matched_photos.Photos:
    content = np.zeros(len(run.photo), np.uint64) if run.content is None else run.content
    # Where each photo is its own group, another name of it makes it no other's.
    group = np.zeros(len(run.photo), np.uint8) if run.task.unit == "photo" else run.group
    return matched_photos.Photos(run.photo, group, run.label, content)


def _truth(task: Task) -> str:
    return "label" if task.unit == "photo" else f"label or {task.unit}"


def _same_task(base: Run, other: Run) -> None:
    if base.task.hash == other.task.hash:
        return
    one, two = same_task.in_words(base.task, other.task)
    raise UserError(
        f"{base.name} and {other.name}: not the same task ({one}; {two}), so they are scored by different truths; compare runs "
        "of one task, or set its axes in params.yaml and run one of them again"
    )


def _left_out(base: Run, other: Run, found: matched_photos.Pairing) -> list[str]:
    """What differs between the photos of two runs, and what that means."""
    lines = []
    kinds = {
        f"{found.only_a} only in {base.name}": found.only_a,
        f"{found.only_b} only in {other.name}": found.only_b,
        f"{found.relabelled} of another {_truth(base.task)}": found.relabelled,
        f"{found.remade} of other content": 0 if found.by_name else found.remade,
    }
    counted = [words for words, count in kinds.items() if count]
    if counted:
        lines.append(
            f"{base.name} and {other.name} saw other photos or labels: {', '.join(counted)}, first {found.first}; they are left "
            f"out, and the {len(found.a)} photos that both saw alike are compared: the difference is that of method and data "
            "together"
        )
    if found.by_name:
        lines.append(
            f"{found.remade} of {len(found.a)} photos of {base.name} and {other.name} differ in content, first {found.first}: "
            "they are taken, by their names, for the same photos made anew; the difference is that of method and photos together"
        )
    if not found.known and (base.content is None) != (other.content is None):
        older = base if base.content is None else other
        lines.append(
            f"{older.name} is of an earlier version, which did not keep what its photos are: they are matched by name"
        )
    return lines


def _at(run: Run, which: np.ndarray) -> Run:
    """The run with the photos at these positions alone, in this order."""
    if len(which) == len(run.photo) and (which == np.arange(len(which))).all():
        return run  # nearly always; a copy of a million photos takes its memory
    return replace(
        run,
        photo=run.photo[which],
        group=run.group[which],
        label=run.label[which],
        fold=run.fold[which],
        selected=run.selected[:, which],
        last=run.last[:, which],
        content=None if run.content is None else run.content[which],
    )


def same_models(base: Run, other: Run) -> bool:
    """Whether two runs hold the predictions of the same trained models, by their run key or to the last digit."""
    if base.record.run and base.record.run == other.record.run:
        return True
    return base.selected.shape == other.selected.shape and np.array_equal(base.selected, other.selected)


def of_records(base: Run, other: Run) -> list[str]:
    """What was run on either side, where that is not what the names of the revisions promise; and what differs."""
    found = [line for run in (base, other) if (line := past_runs.not_run(run.name, run.record))]
    if same_models(base, other):
        return [f"{other.name} holds the same trained models as {base.name}: there is no difference to find", *found]
    differing = run_record.differing(base.record, other.record)
    if differing:
        found.append(f"{base.name} was trained with {run_record.in_words(differing, other.name)}")
    but = ("pixel_cache",) if differing else ()  # it follows from other photos and other image params
    return [*found, *run_record.settings_in_words({base.name: base.record, other.name: other.record}, but)]


def scores(run: Run, rule: str) -> list[Scores]:
    """Per group sums of each repeat, one entry a repeat: scores of the classes, then of each axis, where there are several."""
    rows, group, task = np.arange(len(run.label)), groups(run), run.task
    chosen = run.selected if rule == "selected" else run.last
    found = []
    for one in chosen:
        predictions, nll = one.argmax(1), -one[rows, run.label]
        own = bootstrap.of_run(group, run.label, predictions, nll, classes=task.classes, subsets=task.subsets)
        of_axes = bootstrap.of_axes(group, run.label, predictions, task.axis_sizes) if len(task.axes) > 1 else []
        found.append(bootstrap.beside([own, *of_axes]))
    return found


def groups(run: Run) -> np.ndarray:
    """What the bootstrap draws, numbered, [N]: groups, or each photo by its place, which runs that are alike share."""
    return np.arange(len(run.photo)) if run.task.unit == "photo" else bootstrap.numbered(run.group)


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
            f"the folds differ: models were trained on other {base.task.units}, so part of the difference is the luck of the "
            "split"
        )
    found.append(of_classes(base.task))
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
    adjusted = [
        paired_difference.holm([result.rows[place].p_value for result in found]) for place in range(len(found[0].rows))
    ]
    return [
        replace(result, rows=[with_p(row, adjusted[place][number]) for place, row in enumerate(result.rows)])
        for number, result in enumerate(found)
    ]


def as_rows(found: list[Comparison]) -> list[dict[str, Any]]:
    """One flat row a score and candidate: run_a, run_b, then the fields of Difference in the words of its units (`more_people`,
    `too few people`)."""
    return [{"run_a": result.run_a, "run_b": result.run_b, **_in_units(row)} for result in found for row in result.rows]


def _in_units(row: Difference) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(row).items() if name != "units"}
    verdict = f"too few {row.units}" if row.verdict == paired_difference.TOO_FEW else row.verdict
    return {
        f"more_{row.units}" if name == "more_needed" else name: verdict if name == "verdict" else value
        for name, value in fields.items()
    }


def as_json(found: list[Comparison]) -> str:
    """The rows, and the notes of each comparison."""
    remarks = {result.run_b: result.notes for result in found}
    return json.dumps({"comparisons": as_rows(found), "notes": remarks}, allow_nan=False)


def of_classes(task: Task) -> str:
    """What to keep in mind on the F1 of single classes."""
    return (
        f"the F1 of {task.classes} classes is tested one by one: about one in twenty would look better or worse by luck, so "
        "decide by macro_f1"
    )


def with_p(row: Difference, p_value: float) -> Difference:
    """The row with a corrected p-value; a verdict that does not survive it becomes no evidence."""
    lost = row.verdict in ("better", "worse") and p_value >= 0.05
    return replace(row, p_value=p_value, verdict=paired_difference.UNDECIDED if lost else row.verdict)


def settle_rule(rule: str, runs: list[Run]) -> str:
    if rule != "auto":
        return rule
    return "selected" if len({run.select for run in runs}) == 1 else "last"


def _groups_of_classes(run: Run) -> dict[str, int]:
    counts = bootstrap.groups_per_class(groups(run), run.label, run.task.classes)
    return {f"f1_{number}": int(count) for number, count in enumerate(counts)}
