"""Nested cross-validation over people: what is chosen or fitted on some people is applied to, and scored on, others.

Varma & Simon 2006 (doi:10.1186/1471-2105-7-91); Cawley & Talbot 2010 (JMLR 11:2079). The groups are drawn afresh and are
not the training folds: what is fitted here (weights, offsets, views) is for the models as they stand, and an eval photo
meets the models that took part in fitting, so the held-out people should as well. All folds' predictions are OOF, and
runs whose folds differ can be judged together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

GROUPS = 5


@dataclass(frozen=True)
class Method:
    """A way to predict that has something fitted: fit(rows) -> fitted; apply(fitted, rows) -> scores [len(rows), C]."""

    fit: Callable[[np.ndarray], Any]
    apply: Callable[[Any, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Nested:
    """Scores [N, C] of each method, for every photo fitted on other people; `chosen` also chose the method there."""

    scores: dict[str, np.ndarray]
    chosen: np.ndarray
    choices: list[str]  # the method chosen for each group's people by the others
    choice: str  # by all people: the method to use
    fitted: dict[str, Any]  # each method fitted on all people, to use


def groups(person: np.ndarray, labels: np.ndarray, count: int = GROUPS, seed: int = 0) -> np.ndarray:
    """A group 0..count-1 for each photo, [N]: all photos of a person in one, people of like photos dealt out evenly.

    person, labels: [N]. People are alike whose lowest class number is: gender and age bin, where classes are mask x gender
    x age. With fewer people than `count` there are as many groups as people.
    """
    names, index = np.unique(person, return_inverse=True)
    kind = np.full(len(names), labels.max())
    np.minimum.at(kind, index, labels)
    shuffled = np.random.default_rng([seed, 2]).permutation(len(names))
    dealt = shuffled[np.argsort(kind[shuffled], kind="stable")]
    of_person = np.empty(len(names), np.int64)
    of_person[dealt] = np.arange(len(names)) % min(count, len(names))
    return of_person[index]


def cross_fit(
    methods: Mapping[str, Method],
    group: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    track: Callable[[list[Any]], Iterable[Any]] = iter,
) -> Nested:
    """Each method for each group's people fitted on the other groups; and the method itself chosen on these.

    group: [N]. score(rows, scores [len(rows), C]): higher is better. The choice for group g is by fits that leave out g and
    one group h, scored on h, for all h: nothing that is applied to g has seen g. Needs three groups for a choice among
    several; the choice for use is by the scores of the fits that leave out one group.
    """
    names = list(range(int(group.max()) + 1))
    several = len(methods) > 1
    left_out = [frozenset({g}) for g in names]
    if several:
        left_out += [frozenset({g, h}) for g in names for h in names if g < h]
    fits = {
        out: {name: method.fit(np.flatnonzero(~np.isin(group, list(out)))) for name, method in methods.items()}
        for out in track(left_out)
    }

    def held_out(name: str, outs: Iterator[tuple[int, frozenset[int]]]) -> tuple[np.ndarray, np.ndarray]:
        parts = [(rows, out) for g, out in outs for rows in [np.flatnonzero(group == g)]]
        found = [methods[name].apply(fits[out][name], rows) for rows, out in parts]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate(found)

    scores = {name: _in_place(*held_out(name, ((g, frozenset({g})) for g in names))) for name in methods}
    everyone = np.arange(len(group))
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
        chosen[group == g] = scores[choices[g]][group == g]
    fitted = {name: method.fit(everyone) for name, method in methods.items()}
    return Nested(scores, chosen, choices, max(outer, key=outer.__getitem__), fitted)


def _in_place(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Values of `rows`, a permutation of 0..N-1, in the order of the photos."""
    placed = np.empty_like(found)
    placed[rows] = found
    return placed
