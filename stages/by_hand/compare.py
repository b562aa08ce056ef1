"""compare: is one run's method better than another's? From the OOF predictions of revisions and experiments, paired over groups
(people), the luck of their trainings counted (stages/judge/paired_difference.py)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from stages.base import paths, revisions
from stages.base.errors import UserError, beside
from stages.base.files import load_npz, write_csv
from stages.base.talk import Talk
from stages.by_hand import compare_corrected
from stages.data import task_and_classes as tasks
from stages.data.corrections import Row
from stages.data.task_and_classes import CONTEST, Task
from stages.judge import bootstrap, matched_photos, paired_difference, training_noise
from stages.judge.bootstrap import Scores
from stages.judge.paired_difference import Comparison, Difference
from stages.judge.training_noise import Training
from stages.learn import same_task
from stages.records import past_runs, run_record
from stages.records.run_record import Record
from stages.report.verdicts import answer, of_untouched

FAR_APART = 3.0  # learning rates of two runs, one over the other, above which their difference is told


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
    rate: str = ""  # its learning rate and where that came from, in words; empty where nothing says
    corrections: tuple[Row, ...] = ()  # the decisions about labels beside it
    changed: np.ndarray | None = None  # bool [N] of groups whose labels the other run has otherwise; None: of none


ARRAYS = ("label", "fold", "selected", "last", "select", "seed")


@dataclass(frozen=True)
class Asked:
    """How runs are compared: which epochs (`selected`, `last`, or `auto`: selected if all runs chose by one rule, else last), the
    bootstrap, which scores (None: all), and how many comparisons share an error rate."""

    rule: str = "auto"
    replicates: int = 10_000
    seed: int = 0
    only: tuple[str, ...] | None = None
    comparisons: int = 1


def run(names: Sequence[str], asked: Asked, csv: Path | None, png: Path, talk: Talk) -> list[Comparison]:
    """Compare the first of `names` with each of the others (with the workspace if there is no other).

    Several candidates share one error rate, score by score. Writes a forest plot, and `csv` if given.
    Raises UserError if a run has no OOF predictions, or runs hold other photos or classes; Unwritten where the plot or the
    table cannot be written.
    """
    names = list(names) if len(names) > 1 else [names[0], revisions.WORKSPACE]
    if len(set(names)) < len(names):
        raise UserError(f"compare: {', '.join(names)}: the same run stands twice; name each once")
    base = load(names[0])
    candidates = [load(name) for name in names[1:]]
    asked = replace(asked, rule=settle_rule(asked.rule, [base, *candidates]), comparisons=len(candidates))
    found = [against(base, candidate, asked) for candidate in talk.track(candidates, len(candidates), "compare")]
    from stages.report.png.result_figures import forest  # matplotlib, which others that compare need not wait for

    with beside(found):
        if csv:
            write_csv(csv, _as_table(found))
        forest(png, [(result.run_b, result.rows) for result in found], base.name, base.task)
    return found


def against(base: Run, candidate: Run, asked: Asked) -> Comparison:
    """Scores of `candidate` against `base`, on the photos that both saw alike; asked.rule: selected or last."""
    told, same = of_records(base, candidate), same_models(base, candidate)
    base, candidate, truth, left_out = paired(base, candidate)
    told += [*[truth] * bool(truth), *left_out, *notes(base, candidate, asked.rule)]
    groups_of, rows, repeats = _differences(base, candidate, asked)
    found = Comparison(
        base.name,
        candidate.name,
        rows,
        told,
        base.task,
        same,
        groups=groups_of,
        trainings=repeats,
        rates=(base.rate, candidate.rate),
        truth=truth,
    )
    untouched = None if base.changed is None else np.flatnonzero(~base.changed)
    if untouched is None or not len(untouched):
        return found
    groups_of, rows, _ = _differences(_at(base, untouched), _at(candidate, untouched), asked)
    found = replace(found, untouched=replace(found, rows=rows, notes=[], groups=groups_of))
    return replace(found, notes=[*told, of_untouched(found)])


def _differences(base: Run, candidate: Run, asked: Asked) -> tuple[int, list[Difference], tuple[int, int]]:
    """How many groups two runs on the same photos are compared over, their scores, and the trainings of either."""
    cell, *folds = training_noise.of_cells(base.fold, candidate.fold)
    a, b = (trainings(run, asked, cell, own) for run, own in zip((base, candidate), folds, strict=True))
    how = paired_difference.Asked(
        asked.replicates, asked.seed, base.task.units, _groups_of_classes(base), asked.comparisons
    )
    return a[0].over_groups.groups, paired_difference.compare(a, b, how), (len(a), len(b))


def paired(base: Run, other: Run) -> tuple[Run, Run, str, list[str]]:
    """Both runs on the photos that both saw, under one truth where corrections.csv has changed it between them; that truth (or
    nothing) and what was left out, in words."""
    truth = ""
    if base.task.hash == other.task.hash:
        place = matched_photos.places(_photos(base), _photos(other))
        there = np.flatnonzero(place >= 0)
        base, other, truth = compare_corrected.settled(base, other, (there, place[there]))
    (base, other), left_out = alike([base, other])
    return base, other, truth, left_out


def load(name: str) -> Run:
    """Read a run's oof.npz, and what it was made with."""
    with revisions.opened(name, paths.OOF_ARRAYS) as content:
        return _load(name, content)


def _load(name: str, content: IO[bytes]) -> Run:
    record = past_runs.of_revision(name)
    try:
        # Names in UTF-8 and each at its own length take a third of the memory. First, while nothing else is there.
        photo = load_npz(content, ["photo"])["photo"].astype(np.dtypes.StringDType())
        arrays = load_npz(content, ARRAYS, optional=("person", "group", "content", "run", "task"))
        own = str(arrays.pop("run", ""))
        task = _task(arrays.pop("task", None), record)
        values: dict[str, Any] = arrays | {"select": str(arrays["select"]), "seed": int(arrays["seed"])}
        group = values.pop("person" if "person" in values else "group")
        rate = past_runs.rate_in_words(name, record)
        decided = past_runs.corrections_of(name)
        run = Run(name, task, photo, group, record=record, rate=rate, corrections=decided, **values)
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
        changed=None if run.changed is None else run.changed[which],
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
        same = f"{other.name} holds the same trained models as {base.name}: there is no difference to find"
        return [same, *past_runs.answered_otherwise((base.name, base.record), (other.name, other.record)), *found]
    differing = run_record.differing(base.record, other.record)
    if differing:
        found.append(f"{base.name} was trained with {run_record.in_words(differing, other.name)}")
    but = ("pixel_cache",) if differing else ()  # it follows from other photos and other image params
    return [*found, *run_record.settings_in_words({base.name: base.record, other.name: other.record}, but)]


def trainings(run: Run, asked: Asked, cell: np.ndarray, folds: np.ndarray) -> list[Training]:
    """Sums of each repeat by group and by cell: scores of the classes, then of each axis, where there are several.

    cell [N], folds [cells]: of training_noise.of_cells.
    """
    rows, group, task = np.arange(len(run.label)), groups(run), run.task
    chosen = run.selected if asked.rule == "selected" else run.last

    def summed(one: np.ndarray, units: np.ndarray) -> Scores:
        predictions, nll = one.argmax(1), -one[rows, run.label]
        own = bootstrap.of_run(units, run.label, predictions, nll, classes=task.classes, subsets=task.subsets)
        of_axes = bootstrap.of_axes(units, run.label, predictions, task.axis_sizes) if len(task.axes) > 1 else []
        found = bootstrap.beside([own, *of_axes])
        return bootstrap.pick(found, asked.only) if asked.only else found

    return [Training(summed(one, group), summed(one, cell), folds) for one in chosen]


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
            f"the folds differ: models were trained on other {base.task.units}; the luck of the split is counted with that of "
            "the trainings"
        )
    rates = [run.record.lr for run in (base, other) if run.record.lr]
    if len(rates) == 2 and max(rates) > FAR_APART * min(rates):
        found.append(
            f"the learning rates differ {max(rates) / min(rates):.2g}-fold, so part of the difference may be theirs: set `lr` to "
            "one number in both to compare the rest"
        )
    found.append(of_classes(base.task))
    return found


def as_rows(found: list[Comparison]) -> list[dict[str, Any]]:
    """One flat row a score and candidate: run_a, run_b, then the fields of Difference in the words of its units (`too few
    people`)."""
    return [{"run_a": result.run_a, "run_b": result.run_b, **_in_units(row)} for result in found for row in result.rows]


def _as_table(found: list[Comparison]) -> pd.DataFrame:
    """The rows; where labels were corrected between runs, `on` says of which groups: all, or those that are untouched."""
    untouched = [one.untouched for one in found if one.untouched]
    table = pd.DataFrame(as_rows(found))
    if not untouched:
        return table
    return pd.concat([table.assign(on="all"), pd.DataFrame(as_rows(untouched)).assign(on="untouched")])


def _in_units(row: Difference) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(row).items() if name != "units"}
    return fields | ({"verdict": f"too few {row.units}"} if row.verdict == paired_difference.TOO_FEW else {})


def as_json(found: list[Comparison]) -> str:
    """The answer, the learning rates and the notes on each comparison, and all its rows; `untouched`: rows of the groups whose
    labels nobody corrected between the runs, where some were."""
    told = {
        key: {result.run_b: of(result) for result in found}
        for key, of in (
            ("answers", answer),
            ("learning_rates", lambda one: list(one.rates)),
            ("notes", lambda one: one.notes),
        )
    }
    untouched = as_rows([one.untouched for one in found if one.untouched])
    more = {"untouched": untouched} if untouched else {}
    return json.dumps({**told, "comparisons": as_rows(found), **more}, allow_nan=False)


def of_classes(task: Task) -> str:
    """What to keep in mind on the F1 of single classes."""
    return (
        f"the F1 of {task.classes} classes is tested one by one: about one in twenty would look better or worse by luck, so "
        "decide by macro_f1"
    )


def settle_rule(rule: str, runs: list[Run]) -> str:
    if rule != "auto":
        return rule
    return "selected" if len({run.select for run in runs}) == 1 else "last"


def _groups_of_classes(run: Run) -> dict[str, int]:
    counts = bootstrap.groups_per_class(groups(run), run.label, run.task.classes)
    return {f"f1_{number}": int(count) for number, count in enumerate(counts)}
