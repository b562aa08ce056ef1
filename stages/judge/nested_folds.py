"""Nested cross-validation over groups (people, say): what is chosen or fitted on some is applied to, and scored on, others.

Varma & Simon 2006 (doi:10.1186/1471-2105-7-91); Cawley & Talbot 2010 (JMLR 11:2079). The parts are drawn afresh and are
not the training folds: what is fitted here (weights, offsets, views) is for the models as they stand, and an eval photo
meets the models that took part in fitting, so the held-out groups should as well. All folds' predictions are OOF, and
runs whose folds differ can be judged together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PARTS = 5
FEWEST = 3  # parts for a choice among several methods: one to fit on, one to choose by, one to score


@dataclass(frozen=True)
class Method:
    """A way to predict that has something fitted: fit(rows) -> fitted; apply(fitted, rows) -> scores [len(rows), C], or, where
    no more is asked of it, answers [len(rows)].
    """

    fit: Callable[[np.ndarray], Any]
    apply: Callable[[Any, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Nested:
    """Scores [N, C] (or answers [N]) of each method, each photo fitted on other groups; `chosen` chose the method there too."""

    scores: dict[str, np.ndarray]
    chosen: np.ndarray
    choices: list[str]  # the method chosen for each part by the others
    choice: str  # by all: the method to use
    fitted: dict[str, Any]  # each method fitted on all, to use


def parts(group: np.ndarray, labels: np.ndarray, count: int = PARTS, seed: int = 0) -> np.ndarray:
    """A part 0..count-1 for each photo, [N]: all photos of a group in one, groups of like photos dealt out evenly.

    group, labels: [N]. Groups are alike whose lowest class number is: in the contest gender and age bin, where classes are
    mask x gender x age. With fewer groups than `count` there are as many parts as groups.
    """
    names, index = np.unique(group, return_inverse=True)
    kind = np.full(len(names), labels.max())
    np.minimum.at(kind, index, labels)
    shuffled = np.random.default_rng([seed, 2]).permutation(len(names))
    dealt = shuffled[np.argsort(kind[shuffled], kind="stable")]
    of_group = np.empty(len(names), np.int64)
    of_group[dealt] = np.arange(len(names)) % min(count, len(names))
    return of_group[index]


def cross_fit(
    methods: Mapping[str, Method],
    part: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    track: Callable[[list[Any]], Iterable[Any]] = iter,
) -> Nested:
    """Each method for each part fitted on the other parts; and the method itself chosen on these.

    part: [N]. score(rows, scores [len(rows), C]): higher is better. The choice for part g is by fits that leave out g and
    one part h, scored on h, for all h: nothing that is applied to g has seen g. Needs FEWEST parts for a choice among
    several; the choice for use is by the scores of the fits that leave out one part.
    """
    names = list(range(int(part.max()) + 1))
    several = len(methods) > 1
    left_out = [frozenset({g}) for g in names]
    if several:
        left_out += [frozenset({g, h}) for g in names for h in names if g < h]
    fits = {
        out: {name: method.fit(np.flatnonzero(~np.isin(part, list(out)))) for name, method in methods.items()}
        for out in track(left_out)
    }

    def held_out(name: str, outs: Iterator[tuple[int, frozenset[int]]]) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(rows, out) for g, out in outs for rows in [np.flatnonzero(part == g)]]
        found = [methods[name].apply(fits[out][name], rows) for rows, out in pairs]
        return np.concatenate([rows for rows, _ in pairs]), np.concatenate(found)

    scores = {name: _in_place(*held_out(name, ((g, frozenset({g})) for g in names))) for name in methods}
    everyone = np.arange(len(part))
    outer = {name: score(everyone, found) for name, found in scores.items()}
    choices = []
    for g in names:
        inner = (
            {name: score(*held_out(name, ((h, frozenset({g, h})) for h in names if h != g))) for name in methods}
            if several
            else outer
        )
        choices.append(max(inner, key=inner.__getitem__))
    chosen = np.empty_like(scores[choices[0]])
    for g in names:
        chosen[part == g] = scores[choices[g]][part == g]
    fitted = {name: method.fit(everyone) for name, method in methods.items()}
    return Nested(scores, chosen, choices, max(outer, key=outer.__getitem__), fitted)


def _in_place(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Values of `rows`, a permutation of 0..N-1, in the order of the photos."""
    placed = np.empty_like(found)
    placed[rows] = found
    return placed
