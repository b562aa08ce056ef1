import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.base import large_arrays
from stages.judge import votes

RAW = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0.01, 1))
)


def normalised(raw: np.ndarray) -> np.ndarray:
    return raw / raw.sum(axis=-1, keepdims=True)


@given(RAW, st.randoms(use_true_random=False))
def test_votes_sum_to_one_and_do_not_depend_on_the_order_of_the_views(raw: np.ndarray, random: object) -> None:
    views = normalised(raw)
    order = list(range(len(views)))
    random.shuffle(order)  # type: ignore[attr-defined]
    for name, vote in votes.VOTES.items():
        joined = vote(views)
        assert joined.shape == views.shape[1:]
        assert joined.sum(axis=-1) == pytest.approx(np.ones(views.shape[1])), name
        assert vote(views[order]) == pytest.approx(joined), name


@given(RAW)
def test_a_vote_of_one_voter_is_that_voters_answer(raw: np.ndarray) -> None:
    views = normalised(raw)[:1]
    for name, vote in votes.VOTES.items():
        joined = vote(views)
        best = np.take_along_axis(views[0], joined.argmax(1)[:, None], axis=1)[:, 0]
        assert best == pytest.approx(views[0].max(1)), name  # equal up to ties and rounding


def test_rank_on_numbers_done_by_hand() -> None:
    views = np.array([[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[0.5, 0.5], [0.7, 0.3], [0.3, 0.7]]])
    # Ranks of class 0: 3, 2, 1 and 2, 3, 1; means 2.5, 2.5, 1. Sorted values averaged: 0.25, 0.55, 0.8; at 2.5: 0.675.
    # Ranks of class 1: 1, 2, 3 and 2, 1, 3; means 1.5, 1.5, 3. Sorted values averaged: 0.2, 0.45, 0.75; at 1.5: 0.325.
    expected = np.array([[0.675, 0.325], [0.675, 0.325], [0.25, 0.75]])
    assert votes.rank(views) == pytest.approx(expected)


def test_rank_gives_equal_probabilities_their_mean_rank() -> None:
    views = np.array([[[0.5, 0.5], [0.5, 0.5], [0.8, 0.2]], [[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]]])
    # Ranks of class 0: 1.5, 1.5, 3 and 1, 2, 3; means 1.25, 1.75, 3. Sorted values averaged: 0.4, 0.55, 0.85.
    # Ranks of class 1: 2.5, 2.5, 1 and 3, 2, 1; means 2.75, 2.25, 1. Sorted values averaged: 0.15, 0.45, 0.6.
    assert votes.rank(views) == pytest.approx(np.array([[0.4375, 0.5625], [0.5125, 0.4875], [0.85, 0.15]]))


def test_rank_does_not_let_one_sharp_view_rule_where_soft_does() -> None:
    mild = np.array([[0.45, 0.55], [0.48, 0.52], [0.40, 0.60], [0.55, 0.45]])
    sharp = np.array([[0.999, 0.001], [0.001, 0.999], [0.001, 0.999], [0.001, 0.999]])
    soft, rank = votes.soft(np.stack([mild, sharp])), votes.rank(np.stack([mild, sharp]))
    assert soft[3, 0] < soft[0, 0]
    # By rank the two views' first choices (photo 3 of mild, photo 0 of sharp) differ less.
    assert soft[0, 0] - soft[3, 0] > rank[0, 0] - rank[3, 0]


def test_the_mean_over_repeats_is_of_their_probabilities_whole_or_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    repeats = normalised(np.random.default_rng(0).random((3, 50, 4)))
    found = votes.of_repeats(np.log(repeats))
    assert found == pytest.approx(np.log(repeats.mean(0)))
    monkeypatch.setattr(large_arrays, "BLOCK", 28)
    assert (votes.of_repeats(np.log(repeats)) == found).all()
    assert (votes.of_repeats(np.log(repeats)[:1]) == np.log(repeats)[0]).all()
    never = np.array([[[0, -np.inf]], [[0, -np.inf]]])
    assert np.isfinite(votes.of_repeats(never)).all()


def test_within_takes_each_groups_vote_apart() -> None:
    views = normalised(np.random.default_rng(0).random((3, 8, 4)))
    group = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    joined = votes.within(votes.rank, views, group)
    for number in (0, 1):
        assert joined[group == number] == pytest.approx(votes.rank(views[:, group == number]))
    assert not np.allclose(joined, votes.rank(views))
