"""Joining predictions of several folds and views: probabilities [views, N, C] in, probabilities [N, C] out.

A vote of one voter is that voter's answer: every vote here keeps the argmax of a single view. No vote depends on the
order of the views.
"""

from collections.abc import Callable

import numpy as np

from stages.base import large_arrays

Vote = Callable[[np.ndarray], np.ndarray]
LEAST = 1e-30  # a probability of 0 still has a finite logarithm


def soft(probabilities: np.ndarray) -> np.ndarray:
    """Mean of the probabilities."""
    return probabilities.mean(axis=0)


def geometric(probabilities: np.ndarray) -> np.ndarray:
    """Geometric mean of the probabilities, normalised to sum 1."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST)).mean(axis=0)
    raw = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return raw / raw.sum(axis=-1, keepdims=True)


def hard(probabilities: np.ndarray) -> np.ndarray:
    """Plurality: the share of views that choose each class; ties go to the larger summed probability.

    The summed probability is added below the size of one vote, so that argmax of the result is the vote's winner.
    """
    ballots = np.zeros(probabilities.shape[1:])
    for view in probabilities:
        ballots[np.arange(len(view)), view.argmax(axis=-1)] += 1
    tie_break = probabilities.sum(axis=0, dtype=np.float64)
    shares = ballots + tie_break / (tie_break.sum(axis=-1, keepdims=True) + 1e-30) * 0.5
    return shares / shares.sum(axis=-1, keepdims=True)


def rank(probabilities: np.ndarray) -> np.ndarray:
    """Mean rank over the photos, put back on the scale of probabilities, normalised to sum 1.

    In each view and class the N photos are ranked 1..N by the class's probability, equal ones sharing their mean rank; the
    ranks of a photo are averaged over views (Ho, Hull & Srihari 1994, doi:10.1109/34.273716, with photos in place of
    classes). Ranks alone would make all classes equally frequent, so each mean rank is replaced by the value that the
    class's sorted probabilities, averaged over views, have there, between two ranks by a straight line (quantile
    normalisation, Bolstad et al. 2003, doi:10.1093/bioinformatics/19.2.185). It forgives views that differ in sharpness.
    The answer for a photo depends on the other photos that are joined with it.
    """
    from scipy.stats import rankdata  # here, because importing it takes longer than half of the votes

    photos, classes = probabilities.shape[1:]
    values = probabilities.astype(np.float64)
    ranks = rankdata(values, axis=1).mean(axis=0)
    scale = np.sort(values, axis=1).mean(axis=0)
    places = np.arange(1, photos + 1)
    joined = np.stack([np.interp(ranks[:, number], places, scale[:, number]) for number in range(classes)], axis=1)
    return joined / np.maximum(joined.sum(axis=-1, keepdims=True), 1e-30)


def within(vote: Vote, probabilities: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The vote taken apart in each group of photos, [N]: on OOF photos the fold, whose voters the others do not share."""
    joined = np.empty(probabilities.shape[1:], np.float64)
    for number in np.unique(group):
        rows = np.flatnonzero(group == number)
        joined[rows] = vote(probabilities[:, rows])
    return joined


def of_repeats(log_probabilities: np.ndarray) -> np.ndarray:
    """Log of the mean probability over repeats, [R, N, C] to [N, C]; of one repeat its own."""
    if len(log_probabilities) == 1:
        own: np.ndarray = log_probabilities[0]
        return own
    found = large_arrays.room(log_probabilities.shape[1:], np.float64)
    for which in large_arrays.blocks(*found.shape):
        mean = np.exp(log_probabilities[:, which].astype(np.float64)).mean(0)
        found[which] = np.log(np.maximum(mean, LEAST))
    return found


VOTES: dict[str, Vote] = {"soft": soft, "geometric": geometric, "hard": hard, "rank": rank}
