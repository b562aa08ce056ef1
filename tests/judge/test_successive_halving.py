"""Successive halving: who goes on, who is dropped, and what it costs."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stages.judge import successive_halving
from stages.judge.successive_halving import Rung, kept, order, rungs

BASE = 0


def test_fifteen_candidates_on_five_folds_take_little_more_than_a_third_of_what_all_would() -> None:
    plan = rungs(15, 5)
    assert plan == [Rung(15, 0.25, 2), Rung(5, 0.5, 3), Rung(3, 1.0, 3)]
    assert [rung.epochs(20) for rung in plan] == [5, 10, 20]
    assert [rung.cost(20) for rung in plan] == [32 * 5, 18 * 10, 12 * 20]
    assert sum(rung.cost(20) for rung in plan) < 0.4 * 16 * 5 * 20


def test_a_rung_that_would_drop_nobody_is_left_out() -> None:
    assert rungs(3, 5) == [Rung(3, 1.0, 3)]
    assert rungs(8, 2) == [Rung(8, 0.25, 2), Rung(3, 1.0, 2)]
    assert rungs(1, 2) == [Rung(1, 1.0, 2)]


def test_the_base_goes_on_beside_the_candidates_and_takes_nobodys_place() -> None:
    scores = {BASE: (0.9,), 1: (0.5,), 2: (0.7,), 3: (0.6,)}
    assert kept(scores, 2, BASE) == [2, 3]


def test_equal_scores_are_told_apart_by_their_further_numbers_then_by_the_order_asked_for() -> None:
    scores = {1: (0.5, -2.0), 2: (0.5, -1.0), 3: (0.5, -1.0)}
    assert kept(scores, 2, BASE) == [2, 3]
    assert kept({1: (0.5,), 2: (0.5,), 3: (0.5,)}, 1, BASE) == [1]


def test_who_came_further_stands_higher_and_the_base_where_it_earned_it() -> None:
    first = {BASE: (0.1,), 1: (0.2,), 2: (0.3,), 3: (0.4,)}
    last = {BASE: (0.9,), 2: (0.5,), 3: (0.4,)}
    assert order([first, last], BASE) == [
        2,
        3,
        1,
        BASE,
    ]  # worse than all that went on: what it does later is for comparing
    assert order([first | {BASE: (0.35,)}, last], BASE) == [BASE, 2, 3, 1]
    assert order([first], BASE) == [3, 2, 1, BASE]
    assert order([], BASE) == []


@st.composite
def screenings(draw: st.DrawFn) -> list[dict[int, tuple[float, ...]]]:
    """Scores of every rung of a screening, whichever they are."""
    candidates = draw(st.integers(1, 40))
    value = st.floats(0, 1).map(lambda number: (round(number, 1), number))
    reached, numbers = [], list(range(candidates + 1))
    plan = rungs(candidates, draw(st.integers(2, 6)))
    for place, rung in enumerate(plan):
        assert len(numbers) == rung.candidates + 1
        reached.append({number: draw(value) for number in numbers})
        if place + 1 < len(plan):
            numbers = [BASE, *kept(reached[-1], plan[place + 1].candidates, BASE)]
    return reached[: draw(st.integers(1, len(reached)))]


@given(screenings())
def test_nobody_is_dropped_who_beat_one_that_was_kept(reached: list[dict[int, tuple[float, ...]]]) -> None:
    for before, after in itertools.pairwise(reached):
        going_on = set(after) - {BASE}
        for one in set(before) - set(after):
            assert all(before[one] <= before[other] for other in going_on)


@given(screenings())
def test_all_stand_in_the_order_once_and_those_who_came_further_before_the_others(
    reached: list[dict[int, tuple[float, ...]]],
) -> None:
    found = order(reached, BASE)
    assert sorted(found) == sorted(reached[0])
    came_to = {one: max(place for place, rung in enumerate(reached) if one in rung) for one in found}
    candidates = [one for one in found if one != BASE]
    assert [came_to[one] for one in candidates] == sorted((came_to[one] for one in candidates), reverse=True)
    for one, other in itertools.pairwise(candidates):
        if came_to[one] == came_to[other]:
            assert reached[came_to[one]][one] >= reached[came_to[one]][other]


@given(st.integers(1, 100), st.integers(2, 10), st.integers(1, 200))
def test_rungs_narrow_and_lengthen_and_their_costs_add_up(candidates: int, folds: int, full: int) -> None:
    plan = rungs(candidates, folds)
    assert plan[0].candidates == candidates
    assert plan[-1].epochs(full) == full
    assert plan[-1].candidates <= successive_halving.FINALISTS
    for before, after in itertools.pairwise(plan):
        assert before.candidates > after.candidates
        assert before.epochs(full) <= after.epochs(full)
        assert before.folds <= after.folds <= folds
    singly = [rung.epochs(full) for rung in plan for _ in range(rung.candidates + 1) for _ in range(rung.folds)]
    assert sum(rung.cost(full) for rung in plan) == sum(singly)
