"""The class to answer, from probabilities: argmax, or argmax after an offset per class that favours macro F1.

argmax of the probabilities is best for accuracy. For macro F1 a rare class is worth answering earlier; how much earlier is
fitted here, on OOF predictions, and judged by stages.judge.nested_folds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.base import large_arrays
from stages.judge.metrics import f1_from_counts, macro_f1

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]  # log probabilities [N, C], labels [N] -> offsets [C]
LIMIT = 3.0  # nats: largest offset
PENALTY = 0.03  # macro F1 that a root mean square offset of 1 nat must bring at least
SWEEPS = 10
TAUS = np.arange(0, 41) / 20
MOST = (
    30_000_000  # photos x classes of which offsets are fitted one by one: with more it takes longer than many trainings
)


def adjusted(log_probabilities: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Log probabilities [N, C] plus offsets [C], normalised again; argmax is the answer."""
    shifted = log_probabilities + offsets
    top = shifted.max(axis=-1, keepdims=True)
    normalised: np.ndarray = shifted - top - np.log(np.exp(shifted - top).sum(axis=-1, keepdims=True))
    return normalised


def answers(log_probabilities: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The class of the highest log probability [N, C] plus offset [C], of each photo, [N]."""
    return large_arrays.by_rows(lambda which: (log_probabilities[which] + offsets).argmax(1), *log_probabilities.shape)


def fit_logit_adjustment(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Offsets [C] of post-hoc logit adjustment, -tau * log(prior), with the tau in 0..2 of highest macro F1 (the smallest
    of equal ones). The prior is the class frequencies of `labels`, one photo added to each class (Menon et al. 2021,
    arXiv:2007.07314, equation 9).
    """
    classes = log_probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes) + 1.0
    prior = np.log(counts / counts.sum())
    found = [macro_f1(labels, answers(log_probabilities, -tau * prior), classes) for tau in TAUS]
    return _centred(-TAUS[int(np.argmax(found))] * prior)


def fit_offsets(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Offsets [C] that maximise macro F1 - PENALTY * mean(offsets^2), by coordinate ascent, within +-LIMIT.

    With the other classes' offsets held, each photo goes to class c above one value of c's offset, so sorting these values
    gives the macro F1 of every possible offset exactly. (Thresholds for F1: Lipton, Elkan & Naryanaswamy 2014,
    arXiv:1402.1892.) The penalty keeps classes with few groups from being moved by one of them. Classes that `labels`
    lacks stay at 0. Takes time in proportion to photos x classes, a few seconds for ten million.
    """
    classes = log_probabilities.shape[1]
    offsets = np.zeros(classes)
    order = np.argsort(np.bincount(labels, minlength=classes), kind="stable")
    best = macro_f1(labels, log_probabilities.argmax(1), classes)
    leading = _Leading.of(log_probabilities + offsets)
    for _ in range(SWEEPS):
        before = best
        for number in order:
            if not (labels == number).any():
                continue
            offset, value = _best_offset(leading, offsets, labels, int(number))
            if value > best + 1e-9:
                offsets[number], best = offset, value
                leading.change(int(number), log_probabilities[:, number] + offsets[number])
        if best <= before:
            break
    return offsets


RULES: dict[str, Rule] = {
    "logit_adjustment": fit_logit_adjustment,
    "offsets": fit_offsets,
}


def rules(photos: int, classes: int) -> dict[str, Rule]:
    """Those rules that can be fitted in reasonable time: offsets one by one only up to MOST photos x classes."""
    few = photos * classes <= MOST
    return {name: rule for name, rule in RULES.items() if few or name != "offsets"}


@dataclass
class _Leading:
    """Log probabilities with offsets, and each photo's two leading classes, the lower number first where two are equal."""

    shifted: np.ndarray  # [N, C], column by column in memory
    first: np.ndarray  # [N]
    second: np.ndarray  # [N]
    first_value: np.ndarray  # [N]
    second_value: np.ndarray  # [N]

    @staticmethod
    def of(shifted: np.ndarray) -> "_Leading":
        return _Leading(np.asfortranarray(shifted), *_two_highest(shifted))

    def rivals(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Each photo's leading class among the others than this one, and its value, [N]."""
        own = self.first == number
        return np.where(own, self.second, self.first), np.where(own, self.second_value, self.first_value)

    def change(self, number: int, values: np.ndarray) -> None:
        """Give class `number` another column, [N]; photos that it leads, led or nearly leads are looked at anew."""
        self.shifted[:, number] = values
        places = np.flatnonzero((self.first == number) | (self.second == number) | (values >= self.second_value))
        found = _two_highest(self.shifted[places])
        self.first[places], self.second[places], self.first_value[places], self.second_value[places] = found


def _two_highest(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns of the highest and the next highest of each row of [N, C], of equal ones the first; and their values."""
    rows, first = np.arange(len(values)), values.argmax(1)
    rest = values.copy()
    rest[rows, first] = -np.inf
    second = rest.argmax(1)
    return first, second, values[rows, first], rest[rows, second]


def _best_offset(leading: _Leading, offsets: np.ndarray, labels: np.ndarray, number: int) -> tuple[float, float]:
    """The best offset of one class and the penalised macro F1 there; `leading` has all offsets, its own too."""
    classes = leading.shifted.shape[1]
    rival, value = leading.rivals(number)
    # A photo turns to the class where its offset exceeds this.
    turning = value - leading.shifted[:, number] + offsets[number]
    near = np.flatnonzero(turning < LIMIT)  # the others never turn; of many classes nearly all photos
    order = near[np.argsort(turning[near], kind="stable")]
    scores = _scores_as_photos_turn(rival, labels, order, number, classes)
    last = LIMIT if len(near) == len(turning) else np.where(turning < LIMIT, np.inf, turning).min()
    bounds = np.concatenate([[-LIMIT], turning[order], [last]])
    middle = np.clip((bounds[:-1] + bounds[1:]) / 2, -LIMIT, LIMIT)
    # Between two turning points every offset answers alike: the middle is farthest from both, and 0 costs nothing.
    middle = np.where((bounds[:-1] < 0) & (bounds[1:] > 0), 0.0, middle)
    reachable = (bounds[:-1] < bounds[1:]) & (bounds[1:] > -LIMIT) & (bounds[:-1] < LIMIT)
    rest = (offsets**2).sum() - offsets[number] ** 2
    values = np.where(reachable, scores - PENALTY * (rest + middle**2) / classes, -np.inf)
    place = int(values.argmax())
    return float(middle[place]), float(values[place])


def _scores_as_photos_turn(
    rival: np.ndarray, labels: np.ndarray, order: np.ndarray, number: int, classes: int
) -> np.ndarray:
    """Macro F1 after the first k of K photos, `order` [K], have turned from their rival class [N] to class `number`, [K + 1]."""
    count = len(order)
    true, hit = np.bincount(labels, minlength=classes), rival == labels
    predicted, hits = np.bincount(rival, minlength=classes), np.bincount(rival[hit], minlength=classes)
    rival, labels, hit = rival[order], labels[order], hit[order]
    # What a photo's turning does to its rival class: count losses class by class, photos of one class side by side.
    sides = np.argsort(rival, kind="stable")
    of = rival[sides]
    start = np.searchsorted(of, np.arange(classes))
    turned = np.arange(count) - start[of] + 1
    hits_before = np.concatenate([[0], np.cumsum(hit[sides])])
    missed = hits_before[1:] - hits_before[start[of]]
    f1 = f1_from_counts(hits[of] - missed, true[of], predicted[of] - turned)
    earlier = f1_from_counts(hits[of] - missed + hit[sides], true[of], predicted[of] - turned + 1)
    change, gone = np.empty(count), np.empty(count)
    change[sides] = f1 - earlier
    gone[sides] = (true[of] == 0) & (predicted[of] == turned)
    alone = np.concatenate([[0], np.cumsum(labels == number)])
    own = f1_from_counts(alone, true[number], np.arange(count + 1))
    total = f1_from_counts(hits, true, predicted).sum() + np.concatenate([[0], np.cumsum(change)]) + own
    others = ((true + predicted > 0) & (np.arange(classes) != number)).sum() - np.concatenate([[0], np.cumsum(gone)])
    return np.asarray(total / (others + (true[number] + np.arange(count + 1) > 0)))


def _centred(offsets: np.ndarray) -> np.ndarray:
    """Offsets with mean 0: a constant added to all changes no answer."""
    centred: np.ndarray = offsets - offsets.mean()
    return centred
