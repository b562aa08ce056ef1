"""tta-search: is a test-time view worth its time? Every OOF photo under every view, by the models that never saw it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from stages.base import paths
from stages.base.errors import UserError, beside
from stages.base.files import write_csv, write_json
from stages.base.talk import Talk
from stages.data import photos
from stages.data import task_and_classes as tasks
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, nested_folds, paired_difference, votes
from stages.judge.paired_difference import BETTER, Asked, Difference
from stages.judge.training_noise import Training
from stages.learn import predict
from stages.params import tta_view_names
from stages.params.schema import Params
from stages.records import run_record

DEFAULT = (
    "hflip",
    *tta_view_names.SHIFTS,
    *tta_view_names.CROPS,
    "scale_0.9",
    "scale_1.1",
    "rotate_-5",
    "rotate_5",
    "brightness_0.9",
    "brightness_1.1",
)
BASE: tuple[str, ...] = ("identity",)
Views = tuple[str, ...]
NESTED_REPLICATES = 1000


@dataclass(frozen=True)
class Predicted:
    """OOF probabilities of N photos by R repeats under each view."""

    task: Task
    of_view: dict[str, np.ndarray]  # each float32 [R, N, C]
    label: np.ndarray  # [N]
    group: np.ndarray  # [N], numbered
    fold: np.ndarray  # [N]


def run(params: Params, views: Sequence[str], replicates: int, talk: Talk) -> dict[str, Any]:
    """Write views.csv, votes.csv and summary.json; return what summary.json holds.

    views: those to try (DEFAULT if none), each joined with identity by ensemble.vote. Also tried are all of them together
    and params.yaml's tta.views. Raises UserError for a view that is not one or does not fit image.margin.
    """
    tried = candidates(params, views)
    record = run_record.joined(params, talk, "tta-search")
    names = tuple(dict.fromkeys([*BASE, *(view for one in tried for view in one), *params.tta.views]))
    found = predict_oof(params, names, talk)
    joined = joiner(found, params.ensemble.vote)
    everyone = np.arange(len(found.label))
    rows = judge(found, joined, tried, everyone, replicates, params.seed)
    chosen = recommended(rows, tried)
    method = nested_folds.Method(
        fit=lambda some: recommended(
            judge(found, joined, tried, some, min(replicates, NESTED_REPLICATES), params.seed), tried
        ),
        apply=lambda fitted, some: joined(fitted)[some],
    )
    inside = nested_folds.cross_fit(
        {"search": method},
        nested_folds.parts(found.group, found.label, seed=params.seed),
        lambda some, scores: 0.0,
        lambda fits: talk.track(fits, len(fits), f"search again on other {found.task.units}"),
    )
    asked = Asked(replicates, params.seed, found.task.units, same_models=True)
    honest = _against(found, joined(BASE), inside.chosen, everyone, asked)
    flattering = _against(found, joined(BASE), joined(chosen), everyone, asked)
    by_vote = judge_votes(params, found, replicates)
    result = {
        "run": record.run,
        "recommended": list(chosen),
        "line": f"tta: {{views: [{', '.join(chosen)}]}}",
        "current": list(params.tta.views),
        "identity_macro_f1": honest.a,
        "gain_on_all": flattering.difference,
        "gain_nested": honest.difference,
        "gain_nested_low": honest.low,
        "gain_nested_high": honest.high,
        "views": rows,
        "votes": by_vote,
        found.task.units: int(found.group.max()) + 1,
        "notes": notes(found.task, chosen, by_vote),
    }
    with beside(result):
        write_csv(paths.TTA_VIEWS, pd.DataFrame(rows))
        write_csv(paths.TTA_VOTES, pd.DataFrame(by_vote, columns=["vote", *_COLUMNS]))
        write_json(paths.TTA_SUMMARY, result)
    return result


def candidates(params: Params, views: Sequence[str]) -> list[Views]:
    """Sets of views to compare with identity alone: each view with identity, all together, and today's tta.views."""
    if views:
        try:
            tta_view_names.check(tuple(views))
        except ValueError as error:
            raise UserError(f"tta-search: --view {str(error).partition(': ')[2]}") from None
        wide = next((name for name in views if tta_view_names.margin_needed(name) > params.image.margin), None)
        if wide:
            raise UserError(
                f"tta-search: --view {wide}: needs image.margin: {tta_view_names.margin_needed(wide)} or more, it is "
                f"{params.image.margin}"
            )
    kept = [name for name in views or DEFAULT if tta_view_names.margin_needed(name) <= params.image.margin]
    single = [(*BASE, name) for name in kept if name not in BASE]
    if not single:
        raise UserError("tta-search: --view identity: every view is compared with identity; name another one")
    several = [(*BASE, *(one[1] for one in single)), params.tta.views]
    # Keyed by the set, so that tta.views is not tried twice where it is one of the others in another order.
    by_set: dict[frozenset[str], Views] = {frozenset(BASE): BASE}
    for one in single + several:
        by_set.setdefault(frozenset(one), one)
    return list(by_set.values())[1:]


def predict_oof(params: Params, names: Views, talk: Talk) -> Predicted:
    """Every training photo under every view, by the models of its own fold, which never saw its group."""
    table = photos.read(tasks.read(params))
    fold_of = np.zeros(len(table), np.int64)
    folds = {fold: open_fold(params, fold) for fold in params.folds}
    task = folds[params.folds[0]].task
    shape = params.train.repeats, len(table), task.classes
    of_view = {name: np.zeros(shape, np.float32) for name in names}
    repeats = range(params.train.repeats)
    predicted = (
        (data.val[places], repeat, part)
        for fold, data in folds.items()
        for repeat, places, part in predict.of_weights(
            [paths.weights(fold, repeat) for repeat in repeats],
            predict.Asked(data.task, data.pixels, data.val, names),
            params,
            talk,
        )
    )
    total = sum(predict.count(len(repeats), len(data.val), params) for data in folds.values())
    for which, repeat, part in talk.track(predicted, total, "predict OOF photos"):
        for name, probabilities in zip(names, part, strict=True):
            of_view[name][repeat, which] = probabilities
    for fold, data in folds.items():
        fold_of[data.val] = fold
    labels = folds[params.folds[0]].labels
    return Predicted(task, of_view, labels, bootstrap.numbered(table["group"].to_numpy(str)), fold_of)


def joiner(found: Predicted, vote: str) -> Callable[[Views], np.ndarray]:
    """A function of a set of views to the OOF probabilities [N, C] that its views and all repeats join to."""

    @cache
    def joined(views: Views) -> np.ndarray:
        voters = np.concatenate([found.of_view[name] for name in views])
        return votes.within(votes.VOTES[vote], voters, found.fold)

    return joined


def judge(
    found: Predicted,
    joined: Callable[[Views], np.ndarray],
    tried: list[Views],
    places: np.ndarray,
    replicates: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Macro F1 of each set of views against identity alone on the photos at `places`; all share one error rate."""
    asked = Asked(replicates, seed, found.task.units, comparisons=len(tried), same_models=True)
    rows = [_against(found, joined(BASE), joined(one), places, asked) for one in tried]
    return [{"views": " ".join(one), **_flat(row)} for one, row in zip(tried, rows, strict=True)]


def recommended(rows: list[dict[str, Any]], tried: list[Views]) -> Views:
    """Identity and every view that is shown to help with it; failing these, the best set that is; else identity alone."""
    good = [(one, row["difference"]) for one, row in zip(tried, rows, strict=True) if row["verdict"] == BETTER]
    single = [one for one, _ in good if len(one) == 2 and one[0] == BASE[0]]
    if single:
        return (*BASE, *(one[1] for one in single))
    return max(good, key=lambda pair: pair[1])[0] if good else BASE


def judge_votes(params: Params, found: Predicted, replicates: int) -> list[dict[str, Any]]:
    """Each vote against soft, over the repeats and today's tta.views; nothing where there is one voter only."""
    if len(params.tta.views) * params.train.repeats < 2:
        return []
    joined = {name: joiner(found, name)(params.tta.views) for name in votes.VOTES}
    everyone = np.arange(len(found.label))
    names = [name for name in joined if name != "soft"]
    asked = Asked(replicates, params.seed, found.task.units, comparisons=len(names), same_models=True)
    rows = [_against(found, joined["soft"], joined[name], everyone, asked) for name in names]
    return [{"vote": name, **_flat(row)} for name, row in zip(names, rows, strict=True)]


_COLUMNS = ("macro_f1", "difference", "low", "high", "p_value", "detectable", "verdict")


def _flat(row: Difference) -> dict[str, Any]:
    return {"macro_f1": row.b, **{name: getattr(row, name) for name in _COLUMNS[1:]}}


def notes(task: Task, chosen: Views, by_vote: list[dict[str, Any]]) -> list[str]:
    """What the numbers leave out."""
    found = [
        "views are judged for these trained models; after training again, search again",
        "an OOF photo is predicted by one fold's models; on eval photos the folds vote as well, so a view may bring less there",
        "folds vote on eval photos only (no two of them may predict the same OOF photo), so that vote is not scored here",
    ]
    if not by_vote:
        found.append("one view and one repeat: there is nothing to vote on, so the votes are not compared")
    if chosen == BASE:
        found.append(
            "no view is shown to help: identity alone is enough, and the fastest; with more "
            f"{task.units} smaller gains could be seen"
        )
    return found


def _against(found: Predicted, base: np.ndarray, other: np.ndarray, places: np.ndarray, asked: Asked) -> Difference:
    """Macro F1 of probabilities [N, C] against others' of the same trained models, on the photos at `places`."""
    group, labels, task = found.group[places], found.label[places], found.task
    a, b = (
        bootstrap.pick(bootstrap.of_run(group, labels, one[places].argmax(1), classes=task.classes), ("macro_f1",))
        for one in (base, other)
    )
    return paired_difference.compare([Training(a)], [Training(b)], asked)[0]
