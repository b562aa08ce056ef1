"""Labels of the training side that are most likely wrong: which they are, and what training does about them.

Confident learning (Northcutt, Jiang & Chuang 2021, doi:10.1613/jair.1.12125; stages/judge/label_suspects.py) on predictions of
models that never saw the photo's group (stages/learn/inner_models.py). Nothing here looks at a validation photo.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from stages.data.fold_data import FoldData, MixedLabels
from stages.data.task_and_classes import Task
from stages.judge import label_suspects
from stages.params.model_and_training import LabelNoise
from stages.params.schema import Params

MOST_OF_A_CLASS = 0.5  # of its photos that are taken for wrong: a rare class is hard, and not to be learnt away
WORDS = {"drop": "left out", "weight": "drawn less often", "smooth": "learnt with a mixed label"}


@dataclass(frozen=True)
class Found:
    """S photos of a training side whose given class is more likely wrong than right, by position."""

    which: np.ndarray  # int64 [S], rising
    score: np.ndarray  # float32 [S] estimated probability that the class is wrong
    suggested: np.ndarray  # int64 [S] class
    predicted: np.ndarray  # float32 [S, C] by models that never saw their group
    number: np.ndarray  # bool [S] the level of the regressed axis is more likely wrong than right
    looked: int  # photos judged
    estimated: float  # of them with a wrong class: the sum of the scores, those of ambiguous levels left out
    limit: str = ""  # the time limit that shortened those models' training, if one did


@dataclass(frozen=True)
class Judged:
    """N photos of a training side with what models say that never saw their group."""

    photos: np.ndarray  # int64 [N] positions
    probabilities: np.ndarray  # float32 [N, C]
    group: np.ndarray  # int64 [N]
    learnt: np.ndarray  # bool [N] whether those models have seen a photo of its class


def find(judged: Judged, data: FoldData, params: Params) -> Found:
    """The suspects among the photos judged, by the labels that training learns (train_bins).

    A photo is one where its score is above 1/2, unless the level that is doubted is ambiguous (its number next to a bin's edge,
    or two levels that the models cannot tell apart) or its class was unknown to the models that judged it. At most
    label_noise.share of the photos, and MOST_OF_A_CLASS of any class.
    """
    labels = data.train_labels[judged.photos]
    task = _with_bins(data.task, params.train_bins)
    regressed = task.regressed
    values = {} if regressed is None else {regressed.name: data.numbers[judged.photos]}
    seen = label_suspects.suspects(judged.probabilities, labels, judged.group, task, values)
    score = np.where(judged.learnt & _doubted_for_good(seen), seen.score, 0.0)
    estimated, share = float(score.sum()), params.label_noise.share
    most = round(estimated) if share == "auto" else int(share * len(labels))
    rows = _surest(score, labels, most)
    number = np.zeros(len(rows), bool)
    if regressed is not None:
        of_axis = seen.axes[regressed.name]
        number = (of_axis.score > 0.5)[of_axis.unit][rows]
    return Found(
        judged.photos[rows],
        score[rows].astype(np.float32),
        seen.suggested[rows].astype(np.int64),
        judged.probabilities[rows].astype(np.float32),
        number,
        len(labels),
        estimated,
    )


def _with_bins(task: Task, bins: Mapping[str, tuple[float, ...]]) -> Task:
    """The task with the bins that training labels are cut by: numbers are next to an edge of these."""
    return replace(task, axes=tuple(replace(axis, bins=bins.get(axis.name, axis.bins)) for axis in task.axes))


def _doubted_for_good(seen: label_suspects.Suspects) -> np.ndarray:
    """Whether a photo's most doubted level, and not one that is ambiguous, is what makes it suspect, [N]."""
    scores = np.stack([one.score[one.unit] for one in seen.axes.values()])
    ambiguous = np.stack([(one.ambiguous | ~one.told_apart)[one.unit] for one in seen.axes.values()])
    clear = np.where(ambiguous, 0.0, scores)
    return np.asarray((clear.max(0) > 0.5) | ~ambiguous[scores.argmax(0), np.arange(scores.shape[1])])


def _surest(score: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Rows [S], rising, of the highest scores above 1/2: at most so many, and MOST_OF_A_CLASS of each class."""
    order = np.argsort(-score, kind="stable")
    order = order[score[order] > 0.5]
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels[by_class], minlength=labels.max() + 1)
    rank = np.arange(len(by_class)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    allowed = np.zeros(len(score), bool)
    allowed[by_class] = rank < MOST_OF_A_CLASS * np.bincount(labels)[labels[by_class]] - 0.5
    return np.sort(order[allowed[order]][:most])


def borne(data: FoldData, found: Found, noise: LabelNoise) -> FoldData:
    """The fold as training takes it; its validation side is as it was.

    drop: the suspects are left out. weight: they are drawn with the chance 1 - score. smooth: their label is mixed with what was
    predicted, at the share label_noise.mix (bootstrapping of Reed et al. 2015, arXiv:1412.6596, of suspects alone and by a model
    that did not learn the label). A suspect's number of a regressed axis is unknown from here on where its level is doubted.
    """
    if noise.action == "drop":
        return replace(data, train=data.train[~np.isin(data.train, found.which)])
    numbers = data.numbers.astype(np.float64)
    numbers[found.which[found.number]] = np.nan
    if noise.action == "weight":
        chances = np.ones(len(data.labels))
        chances[found.which] = 1 - found.score.astype(np.float64)
        return replace(data, numbers=numbers, chances=chances)
    share = (found.score if noise.mix == "auto" else np.full(len(found.which), noise.mix)).astype(np.float64)[:, None]
    given = np.eye(data.task.classes)[data.train_labels[found.which]]
    predicted = found.predicted.astype(np.float64)
    mixed = (1 - share) * given + share * predicted / predicted.sum(1, keepdims=True)
    return replace(data, numbers=numbers, mixed=MixedLabels(found.which, mixed))


def in_words(found: Found, action: str) -> str:
    """What was found and what is done about it."""
    count = len(found.which)
    rate = found.estimated / max(1, found.looked)
    if not count:
        return f"none of {found.looked} training photos has a label that is most likely wrong (label_noise)"
    have, are = ("has", "is") if count == 1 else ("have", "are")
    return (
        f"{count} of {found.looked} training photos {have} a label that is most likely wrong, and {are} {WORDS[action]} "
        f"(label_noise.action: {action}); estimated wrong: {100 * rate:.1f} %"
    )
