"""Which of two runs' labels are right, by the decisions of corrections.csv on either side."""

from collections.abc import Sequence

import numpy as np
import pytest

from stages.data.corrections import Row
from stages.data.task_and_classes import CONTEST, Axis
from stages.judge.corrected_truth import Side, Truth, code_of, settle

WEAR, NONE = 0, 12  # a man below 30, with a mask and without
FEMALE = 3


def rows(*lines: str) -> list[Row]:
    made = []
    for line in lines:
        name, axis, old, new, *more = line.split(" ")
        made.append(Row(name, axis, old, new, "ann", "", "".join(more)))
    return made


def side(labels: Sequence[int], decided: Sequence[Row] = (), group: Sequence[str] = ("p1", "p1", "p2")) -> Side:
    return Side(np.array(["p1/a", "p1/b", "p2/a"]), np.array(group), np.array(labels), decided)


def told(found: Truth) -> tuple[list[int], list[bool]]:
    return found.label.tolist(), found.known.tolist()


BEFORE, AFTER = [WEAR] * 3, [NONE, WEAR, WEAR]
SWAP = rows("p1/a mask wear none")


@pytest.mark.parametrize(
    ("text", "code"), [("3e-05", 1), ("2E+1", None), ("high", 2), ("1e-06", 0), ("0.5", 2), ("many", None)]
)
def test_a_number_may_have_the_exponent_that_review_writes(text: str, code: int | None) -> None:
    axis = Axis("dose", ("low", "middle", "high"), bins=(1e-5, 1e-4))
    assert code_of(axis, text) == code


@pytest.mark.parametrize("turned", [False, True])
def test_the_label_that_was_decided_is_the_truth_whichever_run_has_it(turned: bool) -> None:
    sides = side(BEFORE), side(AFTER, SWAP)
    found = settle(CONTEST, *(sides[::-1] if turned else sides))
    assert told(found) == (AFTER, [True] * 3)
    assert (found.of_a, found.of_b) == ((1, 0) if turned else (0, 1))
    assert found.differs.tolist() == [True, False, False]


def test_what_a_person_is_is_decided_for_all_their_photos() -> None:
    found = settle(CONTEST, side(BEFORE), side([FEMALE, FEMALE, WEAR], rows("p1 gender male female")))
    assert told(found) == ([FEMALE, FEMALE, WEAR], [True] * 3)


def test_a_decision_that_was_taken_back_leaves_what_stood_before() -> None:
    found = settle(CONTEST, side(AFTER, SWAP), side(BEFORE, [*SWAP, *rows("p1/a mask none wear undone")]))
    assert told(found) == (BEFORE, [True] * 3)


def test_two_branches_that_decided_on_other_photos_are_both_right() -> None:
    other = rows("p2/a mask wear none")
    found = settle(CONTEST, side(AFTER, SWAP), side([WEAR, WEAR, NONE], other))
    assert told(found) == ([NONE, WEAR, NONE], [True] * 3)
    assert (found.of_a, found.of_b) == (1, 1)


def test_numbers_are_read_by_their_levels() -> None:
    for new in ("60+", "61"):
        found = settle(CONTEST, side(BEFORE), side([2, 2, WEAR], rows(f"p1 age 25 {new}")))
        assert told(found) == ([2, 2, WEAR], [True] * 3)


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [
        ([], []),  # train.csv was edited
        ([], rows("p1/b mask wear none")),  # of another photo
        ([], rows("p1/a mask wear incorrect")),  # to what neither run has
        (rows("p1/a mask wear wear"), SWAP),  # two who disagree
    ],
)
def test_what_no_decision_explains_is_not_known(of_a: list[Row], of_b: list[Row]) -> None:
    assert told(settle(CONTEST, side(BEFORE, of_a), side(AFTER, of_b))) == (BEFORE, [False, True, True])


def test_joined_groups_are_one_in_both_runs() -> None:
    join = rows("p2 group p2 p1")
    found = settle(CONTEST, side(BEFORE), side(BEFORE, join, group=("p1", "p1", "p1")))
    assert found.group.tolist() == ["p1"] * 3
    assert (found.known.tolist(), found.differs.tolist()) == ([True] * 3, [False, False, True])
    assert settle(CONTEST, side(BEFORE), side(BEFORE, group=("p1", "p1", "p1"))).known.tolist() == [True, True, False]


def test_a_decision_on_one_of_joined_groups_is_one_on_all() -> None:
    decided = rows("p2 group p2 p1", "p2 gender male female")
    found = settle(CONTEST, side(BEFORE), side([FEMALE] * 3, decided, group=("p1", "p1", "p1")))
    assert told(found) == ([FEMALE] * 3, [True] * 3)
