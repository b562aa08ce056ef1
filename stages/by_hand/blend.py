"""blend: weights for several runs' probabilities, judged on groups they were not fitted on, and the blended submission."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stages.base import paths, revisions
from stages.base.errors import UserError
from stages.base.files import load_npz, write_json, write_npz
from stages.base.talk import Talk
from stages.by_hand import compare
from stages.by_hand.compare import Run
from stages.data import photos
from stages.judge import bootstrap, ensemble_weights, metrics, nested_folds
from stages.judge import paired_difference as judge
from stages.judge.nested_folds import Nested
from stages.judge.paired_difference import Difference
from stages.judge.training_noise import Training
from stages.records import past_runs
from stages.report.verdicts import in_brackets
from stages.submission import write

SCORES = ("macro_f1", "nll")


def run(names: Sequence[str], method: str, replicates: int, seed: int, talk: Talk) -> dict[str, Any]:
    """Write submission.csv, probabilities.npz (where there is an eval set) and weights.json; return what weights.json holds.

    method: equal, greedy, convex, or auto, which chooses among them. For every photo the weights, the method if auto, and
    the best single run that they are measured against are chosen by other groups' OOF predictions. Raises UserError if
    the runs are of other tasks, groups, labels or eval photos.
    """
    if len(names) < 2:
        raise UserError("blend: needs two runs or more, as `maskcli blend HEAD focal`; see `dvc exp show` for names")
    if len(set(names)) < len(names):
        raise UserError(f"blend: {', '.join(names)}: the same run stands twice; name each once")
    loaded = [compare.load(name) for name in names]
    told = list(dict.fromkeys(line for other in loaded[1:] for line in compare.of_records(loaded[0], other)))
    runs, left_out = compare.alike(loaded)
    predicted = read_eval(loaded) if _has_eval() else None
    oof = np.stack([np.exp(one.selected.astype(np.float64)).mean(0) for one in runs])
    oof /= oof.sum(axis=-1, keepdims=True)
    judged = Judged(runs[0], replicates, seed)
    found, weights = weigh(judged, names, oof, method, talk)
    if runs[0].task.unit != "photo":
        found[runs[0].task.units] = int(compare.groups(runs[0]).max()) + 1
    found["photos"] = len(runs[0].label)
    found["eval_photos"] = 0 if predicted is None else len(predicted[0])
    found["notes"] = [*told, *left_out, *notes(runs, names), *(of_offsets(loaded) if predicted is not None else [])]
    _write_answers(judged.base, weights, predicted)
    write_json(paths.BLEND_WEIGHTS, found)
    return found


def weigh(
    judged: "Judged", names: Sequence[str], oof: np.ndarray, method: str, talk: Talk
) -> tuple[dict[str, Any], np.ndarray]:
    """What weights.json holds, but for eval photos and notes, and the weights [K] to use, from OOF probabilities [K, N, C]."""
    base = judged.base
    blends, single = fit(judged, oof, talk)
    used = blends.choice if method == "auto" else method
    headline = blends.chosen if method == "auto" else blends.scores[method]
    rows = table(judged, oof, blends, single, headline)
    weights = blends.fitted[used]
    best_place = int(single.fitted["single"].argmax())
    best = names[best_place]
    alone = judged.against(oof[best_place], headline)["macro_f1"]
    found = {
        "method": used,
        "weights": dict(zip(names, map(float, weights), strict=True)),
        "best_single": best,
        "runs": {name: judged.macro_f1(one) for name, one in zip(names, oof, strict=True)},
        "nested": rows,
        "against_best_on_all": {
            "best": alone.a,
            "difference": alone.difference,
            "low": alone.low,
            "high": alone.high,
        },
        "all_weights": {
            name: dict(zip(names, map(float, fitted), strict=True)) for name, fitted in blends.fitted.items()
        },
        "verdict": in_words(rows[0], best, base.task.units),
    }
    return found, weights


def _has_eval() -> bool:
    """Whether the task has eval photos; without the table of them, the runs are asked."""
    return not (paths.EVAL.is_file() and photos.read_eval().empty)


def _write_answers(base: Run, weights: np.ndarray, predicted: tuple[np.ndarray, np.ndarray] | None) -> None:
    """The blended eval predictions and their submission; without an eval set none, and none of an earlier blend."""
    if predicted is None:
        paths.BLEND_PROBABILITIES.unlink(missing_ok=True)
        paths.BLEND_SUBMISSION.unlink(missing_ok=True)
        return
    images, probabilities = predicted
    blended = ensemble_weights.mix(weights, probabilities)
    write_npz(paths.BLEND_PROBABILITIES, image=images, probabilities=blended.astype(np.float32))
    write.write(paths.BLEND_SUBMISSION, base.task, images, blended.argmax(1))


@dataclass(frozen=True)
class Judged:
    """The run whose groups blends are compared on, and the bootstrap."""

    base: Run
    replicates: int
    seed: int

    @cached_property
    def group(self) -> np.ndarray:
        return compare.groups(self.base)

    def macro_f1(self, scores: np.ndarray) -> float:
        return metrics.macro_f1(self.base.label, scores.argmax(1), self.base.task.classes)

    def scores(self, probabilities: np.ndarray) -> bootstrap.Scores:
        """Per group sums of probabilities [N, C]."""
        labels = self.base.label
        true = np.maximum(probabilities[np.arange(len(labels)), labels], ensemble_weights.TINY)
        classes = self.base.task.classes
        own = bootstrap.of_run(self.group, labels, probabilities.argmax(1), -np.log(true), classes=classes)
        return bootstrap.pick(own, SCORES)

    def against(self, single: np.ndarray, blended: np.ndarray, comparisons: int = 1) -> dict[str, Difference]:
        """Each score of a blend against a single run. The answer is about these trained models, which a blend is made of."""
        asked = judge.Asked(self.replicates, self.seed, self.base.task.units, comparisons=comparisons, same_models=True)
        rows = judge.compare([Training(self.scores(single))], [Training(self.scores(blended))], asked)
        return {row.metric: row for row in rows}


def fit(judged: Judged, oof: np.ndarray, talk: Talk) -> tuple[Nested, Nested]:
    """The weightings, and beside them the best single run, each nested over the same parts of the groups. oof: [K, N, C]."""
    labels, classes = judged.base.label, judged.base.task.classes

    def method(weighting: ensemble_weights.Weighting) -> nested_folds.Method:
        return nested_folds.Method(
            fit=lambda rows: weighting(oof[:, rows], labels[rows]),
            apply=lambda weights, rows: ensemble_weights.mix(weights, oof[:, rows]),
        )

    def score(rows: np.ndarray, probabilities: np.ndarray) -> float:
        return metrics.macro_f1(labels[rows], probabilities.argmax(1), classes)

    part = nested_folds.parts(judged.group, labels, seed=judged.seed)
    if part.max() + 1 < nested_folds.FEWEST:
        units = judged.base.task.units
        raise UserError(
            f"blend: fewer than {nested_folds.FEWEST} {units}: weights cannot be fitted on some {units} and judged on others; "
            "submit one run alone"
        )
    methods = {name: method(weighting) for name, weighting in ensemble_weights.WEIGHTINGS.items()}
    blends = nested_folds.cross_fit(methods, part, score, lambda fits: talk.track(fits, len(fits), "fit weights"))
    return blends, nested_folds.cross_fit({"single": method(ensemble_weights.best_single)}, part, score)


def table(
    judged: Judged, oof: np.ndarray, blends: Nested, single: Nested, headline: np.ndarray
) -> list[dict[str, Any]]:
    """One row for the blend that is used, then one a weighting, which share one error rate; each against the best single run as
    other groups choose it.
    """
    reference, count = single.scores["single"], len(ensemble_weights.WEIGHTINGS)
    rows = [_row("blend", judged.against(reference, headline))]
    for name in ensemble_weights.WEIGHTINGS:
        flattering = judged.macro_f1(ensemble_weights.mix(blends.fitted[name], oof))
        found = judged.against(reference, blends.scores[name], count)
        rows.append(_row(name, found) | {"macro_f1_fitted": flattering})
    return rows


def read_eval(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Eval photos [N] in the first run's order, and the runs' probabilities of them, [K, N, C]."""
    answers = [_answers(run) for run in runs]
    images, contents = answers[0].images.tolist(), answers[0].content
    found = []
    for run, own in zip(runs, answers, strict=True):
        only = set(images) ^ set(own.images.tolist())
        if only:
            raise UserError(
                f"{runs[0].name} and {run.name}: not the same eval photos ({len(only)} only in one of them, first {min(only)}); "
                "blend runs on the same data"
            )
        place = {image: number for number, image in enumerate(own.images.tolist())}
        order = np.array([place[image] for image in images])
        if contents is not None and own.content is not None and (own.content[order] != contents).any():
            other = np.flatnonzero(own.content[order] != contents)
            raise UserError(
                f"{runs[0].name} and {run.name}: {len(other)} eval photos differ in content, first {images[other[0]]}; predict "
                "today's photos in both: `dvc repro tta-predict`"
            )
        found.append(own.probabilities[order])
    return answers[0].images, np.stack(found)


@dataclass(frozen=True)
class Answers:
    """A run's probabilities of N eval photos."""

    images: np.ndarray  # [N]
    probabilities: np.ndarray  # float64 [N, C]
    content: np.ndarray | None  # uint64 [N], what the photo files are; None where an earlier version did not keep it


def _answers(run: Run) -> Answers:
    try:
        arrays = load_npz(
            io.BytesIO(revisions.read(run.name, paths.PROBABILITIES)), ("image", "probabilities"), ("content", "run")
        )
    except ValueError:
        raise UserError(
            f"{run.name}: {paths.PROBABILITIES} is damaged; run `dvc repro tta-predict` there again"
        ) from None
    if str(arrays.get("run", "")) != run.record.run:
        raise UserError(
            f"{run.name}: {paths.PROBABILITIES} are of other folds than its OOF predictions; run `dvc repro tta-predict` there"
        )
    return Answers(arrays["image"], arrays["probabilities"].astype(np.float64), arrays.get("content"))


def notes(runs: list[Run], names: Sequence[str]) -> list[str]:
    """What the numbers leave out."""
    found = [
        "OOF predictions are one fold's models without test-time views, eval predictions join all folds and views: the "
        "weights are fitted on the former"
    ]
    if any((run.fold != runs[0].fold).any() for run in runs):
        found.append(
            "the folds differ: each prediction is still OOF, but part of the difference is the luck of the split"
        )
    flattering = [name for name, run in zip(names, runs, strict=True) if run.select != "last"]
    if flattering:
        found.append(
            f"{', '.join(flattering)}: epochs were chosen on the scored photos, so these runs look better than they are and "
            "get too much weight; train.select: last avoids it"
        )
    votes = {name: _vote(run) for name, run in zip(names, runs, strict=True)}
    odd = [f"{name} ({vote})" for name, vote in votes.items() if vote in ("hard", "rank")]
    if odd:
        found.append(
            f"{', '.join(odd)}: votes that are no probabilities are blended as if they were; set ensemble.vote: soft"
        )
    return found


def of_offsets(runs: Sequence[Run]) -> list[str]:
    """Runs whose own submission adds offsets to the probabilities that are blended, which the blend's does not."""
    reasons = {run.name: reason for run in runs if (reason := _offsets(run))}
    return [
        f"{name}: its own submission adds offsets ({reason}); the blend's does not, and all scores here are of the most probable "
        "class"
        for name, reason in reasons.items()
    ]


def _offsets(run: Run) -> str:
    """Why a run's submission was decided with offsets, in tta-predict's words; empty where it was not, or nothing says."""
    try:
        told = json.loads(revisions.read(run.name, paths.SUBMISSION_SUMMARY))
        return str(told["reason"]) if told["decision"] == "adjusted" and told["run"] == run.record.run else ""
    except (UserError, OSError, ValueError, TypeError, KeyError):
        return ""


def in_words(row: dict[str, Any], best: str, units: str) -> str:
    """The verdict on the blend, in one line."""
    gain = (
        f"{row['difference']:+.4f} macro F1{in_brackets(row['low'], row['high'], 4)} against the best single run, "
        f"both chosen on other {units}"
    )
    if row["verdict"] == "better":
        return f"the blend is better: {gain}"
    if row["verdict"] == "worse":
        return f"the blend is worse: {gain}; submit {best} alone"
    return f"the blend is not shown to be better than the best single run: {gain}; without evidence {best} alone is as good"


def _row(name: str, found: dict[str, Difference]) -> dict[str, Any]:
    row = found["macro_f1"]
    return {
        "weights": name,
        "macro_f1": row.b,
        "best_single": row.a,
        "difference": row.difference,
        "low": row.low,
        "high": row.high,
        "p_value": row.p_value,
        "detectable": row.detectable,
        "verdict": row.verdict,
        "nll_difference": found["nll"].difference,
        "nll_low": found["nll"].low,
        "nll_high": found["nll"].high,
    }


def _vote(run: Run) -> str:
    """ensemble.vote as the run's eval predictions were joined; soft where nothing says."""
    ensemble = past_runs.params_of(run.name, run.record).get("ensemble")
    return str((ensemble or {}).get("vote", "soft"))
