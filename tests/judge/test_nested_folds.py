from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.judge import nested_folds
from stages.judge.nested_folds import Method

PERSON = np.repeat(np.arange(30), 7)
LABELS = np.repeat(np.arange(30) % 6, 7)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(2, 8), st.integers(0, 3))
def test_parts_never_divide_a_group_and_differ_by_one_group_at_most(
    people: int, photos: int, count: int, seed: int
) -> None:
    person = np.repeat([f"p{number}" for number in range(people)], photos)
    labels = np.random.default_rng(seed).integers(0, 4, len(person))
    group = nested_folds.parts(person, labels, count, seed)
    assert all(len(set(group[person == name])) == 1 for name in set(person))
    sizes = np.bincount(group) / photos
    assert len(sizes) == min(count, people)
    assert sizes.max() - sizes.min() <= 1


def test_people_of_each_kind_are_dealt_out_evenly() -> None:
    group = nested_folds.parts(PERSON, LABELS, 5)
    assert all((np.bincount(group[kind == LABELS]) == 7).all() for kind in range(6))
    assert (group != nested_folds.parts(PERSON, LABELS, 5, seed=1)).any()


def spy(seen: list[set[int]], value: float) -> Method:
    """A method that notes the people it was fitted on; its scores are the value, the photo, and the number of the fit."""

    def fit(rows: np.ndarray) -> int:
        seen.append(set(PERSON[rows].tolist()))
        return len(seen) - 1

    def apply(fitted: int, rows: np.ndarray) -> np.ndarray:
        return np.column_stack([np.full(len(rows), value), rows, np.full(len(rows), fitted)])

    return Method(fit, apply)


def test_nothing_is_applied_to_people_it_was_fitted_on_not_even_in_the_choice_of_method() -> None:
    seen: list[set[int]] = []
    everyone = set(PERSON.tolist())
    group = nested_folds.parts(PERSON, LABELS, 5)
    choosing_for: list[set[int]] = []

    def score(rows: np.ndarray, scores: np.ndarray) -> float:
        assert (scores[:, 1] == rows).all()
        scored = set(PERSON[rows].tolist())
        for row, (_, _, fitted) in zip(rows, scores, strict=True):
            assert PERSON[row] not in seen[int(fitted)]
            assert not seen[int(fitted)] & (everyone - scored)  # nor on those that the choice is for
        choosing_for.append(everyone - scored)
        return float(scores[:, 0].mean())

    found = nested_folds.cross_fit({"low": spy(seen, 1.0), "high": spy(seen, 2.0)}, group, score)
    for result in (found.chosen, *found.scores.values()):
        assert (result[:, 1] == np.arange(len(PERSON))).all()
        assert all(person not in seen[int(fitted)] for person, (_, _, fitted) in zip(PERSON, result, strict=True))
    assert found.choices == ["high"] * 5
    assert found.choice == "high"
    assert (found.chosen[:, 0] == 2).all()
    for g in range(5):
        assert choosing_for.count(set(PERSON[group == g].tolist())) == 2  # each method scored once for each group
    assert sum(people == everyone for people in seen) == 2  # only the fits for use see everyone


def test_the_method_is_chosen_apart_for_each_group() -> None:
    group = np.repeat([0, 1, 2], 2)
    good_on = {"a": {0, 1}, "b": {1, 2}}

    def method(name: str) -> Method:
        def apply(fitted: Any, rows: np.ndarray) -> np.ndarray:
            return np.array([[float(group[row] in good_on[name]), ord(name)] for row in rows])

        return Method(lambda rows: None, apply)

    found = nested_folds.cross_fit(
        {"a": method("a"), "b": method("b")}, group, lambda rows, scores: scores[:, 0].mean()
    )
    # For group 0 the others (1, 2) prefer b; for group 2 they (0, 1) prefer a: just what is bad there.
    assert found.choices == ["b", "a", "a"]
    assert found.chosen[:, 1].tolist() == [ord("b")] * 2 + [ord("a")] * 4
    assert found.chosen[:, 0].tolist() == [0, 0, 1, 1, 0, 0]


def test_a_method_fitted_on_noise_gains_where_it_was_fitted_and_nothing_nested() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    candidates = rng.integers(0, 2, (200, 200))  # guesses, one column a candidate

    def agree(rows: np.ndarray, guessed: np.ndarray) -> float:
        return float((guessed[:, 0] == labels[rows]).mean())

    method = Method(
        lambda rows: int((candidates[rows] == labels[rows, None]).mean(0).argmax()),
        lambda best, rows: candidates[rows][:, [best]],
    )
    found = nested_folds.cross_fit({"best": method}, np.arange(200) % 5, agree)
    everyone = np.arange(200)
    assert agree(everyone, candidates[:, [found.fitted["best"]]]) > 0.58
    assert agree(everyone, found.chosen) < 0.55
