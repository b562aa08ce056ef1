"""Pseudo-groups of stages.judge.bootstrap: how many are drawn, and how many photos one brings to a class.

These are one effective observation's worth. Photos of a group that are right or wrong together are one observation, those
that are so on their own as many as they are. The design effect tells: the variance of the summed hits of groups over that of
as many photos drawn alone (Kish 1965, Survey Sampling; Korn & Graubard 1998 divide by it to get the sample size of a
Clopper-Pearson interval). A class with few groups says little about it, and one without hits nothing. So it is taken from
the class's groups with one more that is all right and one that is all wrong: a class without hits then has whole groups.
"""

import numpy as np


def photos(hits: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Photos of a pseudo-group of each of K classes, [K]: between one and those that a unit (group) with any has on average.

    hits, true: photos that are right and all photos, of K classes in U units, [U, K].
    """
    most = _usual(true)
    right, of = hits.sum(0) + most, true.sum(0) + 2 * most
    share = right / of
    squares = ((hits, hits), (hits, true), (true, true))
    of_hits, of_both, of_true = (np.einsum("uk,uk->k", a, b).astype(float) for a, b in squares)
    spread = of_hits - 2 * share * of_both + share**2 * of_true + most**2 * ((1 - share) ** 2 + share**2)
    return np.clip(spread / (of * share * (1 - share)), 1, most)


def _usual(true: np.ndarray) -> np.ndarray:
    """Photos of a class that a unit with any has on average, [K]; of a class that none has, as of any class."""
    having = np.count_nonzero(true, axis=0)
    return np.where(having, true.sum(0) / np.maximum(having, 1), true.sum() / having.sum())


def expected(pseudo: np.ndarray, there: np.ndarray, many: bool) -> np.ndarray:
    """How many pseudo-groups all right, and all wrong, a replicate draws on average, float32 [E, 2, 1, J]: for the lower end,
    for the upper end, and of many classes for both without any; for both without any where there are none.

    pseudo: what they bring to J ratios, [2, J]. there: ratios that any unit brings something to, [J]; of the others, of which
    anything is possible, one of each is drawn for either end.
    """
    nothing = np.zeros((1, 2, 1, len(there)), np.float32)
    if not pseudo.any():
        return nothing
    of_end = np.array([[0, 1], [1, 0]], np.float32)[:, :, None, None]
    ends = np.where(there, of_end, 1) * (pseudo > 0)[:, None]
    return np.concatenate([ends, nothing]) if many else ends
