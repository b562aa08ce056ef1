"""The class to answer, from probabilities: argmax, or argmax after an offset per class that favours macro F1.

argmax of the probabilities is best for accuracy. For macro F1 a rare class is worth answering earlier; how much earlier is
fitted here, on OOF predictions, and judged by stages.judge.nested_folds.
"""

from collections.abc import Callable

import numpy as np

from stages.judge.metrics import f1_from_counts, macro_f1

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]  # log probabilities [N, C], labels [N] -> offsets [C]
LIMIT = 3.0  # nats: largest offset
PENALTY = 0.03  # macro F1 that a root mean square offset of 1 nat must bring at least
SWEEPS = 10
TAUS = np.arange(0, 41) / 20


def adjusted(log_probabilities: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Log probabilities [N, C] plus offsets [C], normalised again; argmax is the answer."""
    shifted = log_probabilities + offsets
    top = shifted.max(axis=-1, keepdims=True)
    normalised: np.ndarray = shifted - top - np.log(np.exp(shifted - top).sum(axis=-1, keepdims=True))
    return normalised


def fit_logit_adjustment(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Offsets [C] of post-hoc logit adjustment, -tau * log(prior), with the tau in 0..2 of highest macro F1 (the smallest
    of equal ones). The prior is the class frequencies of `labels`, one photo added to each class (Menon et al. 2021,
    arXiv:2007.07314, equation 9).
    """
    classes = log_probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes) + 1.0
    prior = np.log(counts / counts.sum())
    found = [macro_f1(labels, (log_probabilities - tau * prior).argmax(1), classes) for tau in TAUS]
    return _centred(-TAUS[int(np.argmax(found))] * prior)


def fit_offsets(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Offsets [C] that maximise macro F1 - PENALTY * mean(offsets^2), by coordinate ascent, within +-LIMIT.

    With the other classes' offsets held, each photo goes to class c above one value of c's offset, so sorting these values
    gives the macro F1 of every possible offset exactly. (Thresholds for F1: Lipton, Elkan & Naryanaswamy 2014,
    arXiv:1402.1892.) The penalty keeps classes with few people from being moved by one of them. Classes that `labels`
    lacks stay at 0.
    """
    classes = log_probabilities.shape[1]
    offsets = np.zeros(classes)
    order = np.argsort(np.bincount(labels, minlength=classes), kind="stable")
    best = macro_f1(labels, log_probabilities.argmax(1), classes)
    for _ in range(SWEEPS):
        before = best
        for number in order:
            if not (labels == number).any():
                continue
            offset, value = _best_offset(log_probabilities + offsets, offsets, labels, int(number))
            if value > best + 1e-9:
                offsets[number], best = offset, value
        if best <= before:
            break
    return offsets


RULES: dict[str, Rule] = {
    "logit_adjustment": fit_logit_adjustment,
    "offsets": fit_offsets,
}


def _best_offset(shifted: np.ndarray, offsets: np.ndarray, labels: np.ndarray, number: int) -> tuple[float, float]:
    """The best offset of one class and the penalised macro F1 there; `shifted` has all offsets, its own too."""
    photos, classes = shifted.shape
    others = shifted.copy()
    others[:, number] = -np.inf
    rival = others.argmax(1)
    # A photo turns to the class where its offset exceeds this.
    turning = others[np.arange(photos), rival] - shifted[:, number] + offsets[number]
    order = np.argsort(turning, kind="stable")
    turning = turning[order]
    scores = _scores_as_photos_turn(rival[order], labels[order], number, classes)
    bounds = np.concatenate([[-LIMIT], turning, [LIMIT]])
    middle = np.clip((bounds[:-1] + bounds[1:]) / 2, -LIMIT, LIMIT)
    # Between two turning points every offset answers alike: the middle is farthest from both, and 0 costs nothing.
    middle = np.where((bounds[:-1] < 0) & (bounds[1:] > 0), 0.0, middle)
    reachable = (bounds[:-1] < bounds[1:]) & (bounds[1:] > -LIMIT) & (bounds[:-1] < LIMIT)
    rest = (offsets**2).sum() - offsets[number] ** 2
    values = np.where(reachable, scores - PENALTY * (rest + middle**2) / classes, -np.inf)
    place = int(values.argmax())
    return float(middle[place]), float(values[place])


def _scores_as_photos_turn(rival: np.ndarray, labels: np.ndarray, number: int, classes: int) -> np.ndarray:
    """Macro F1 after the first k of N photos have turned from their rival class to class `number`, [N + 1]."""
    photos = len(labels)
    true, hit = np.bincount(labels, minlength=classes), rival == labels
    # What a photo's turning does to its rival class: count losses class by class, photos of one class side by side.
    sides = np.argsort(rival, kind="stable")
    of = rival[sides]
    start = np.searchsorted(of, np.arange(classes))
    turned = np.arange(photos) - start[of] + 1
    hits_before = np.concatenate([[0], np.cumsum(hit[sides])])
    missed = hits_before[1:] - hits_before[start[of]]
    predicted = np.bincount(rival, minlength=classes)
    hits = np.bincount(rival[hit], minlength=classes)
    f1 = f1_from_counts(hits[of] - missed, true[of], predicted[of] - turned)
    earlier = f1_from_counts(hits[of] - missed + hit[sides], true[of], predicted[of] - turned + 1)
    change, gone = np.empty(photos), np.empty(photos)
    change[sides] = f1 - earlier
    gone[sides] = (true[of] == 0) & (predicted[of] == turned)
    alone = np.concatenate([[0], np.cumsum(labels == number)])
    own = f1_from_counts(alone, true[number], np.arange(photos + 1))
    total = f1_from_counts(hits, true, predicted).sum() + np.concatenate([[0], np.cumsum(change)]) + own
    others = ((true + predicted > 0) & (np.arange(classes) != number)).sum() - np.concatenate([[0], np.cumsum(gone)])
    return np.asarray(total / (others + (true[number] + np.arange(photos + 1) > 0)))


def _centred(offsets: np.ndarray) -> np.ndarray:
    """Offsets with mean 0: a constant added to all changes no answer."""
    centred: np.ndarray = offsets - offsets.mean()
    return centred
