import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from stages.data.task import CONTEST
from stages.judge import metrics, votes

ANSWERS = st.lists(st.tuples(st.integers(0, 17), st.integers(0, 17)), min_size=1, max_size=60)


@given(ANSWERS)
def test_macro_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    assert metrics.macro_f1(labels, predictions) == pytest.approx(
        f1_score(labels, predictions, average="macro", zero_division=0)
    )


def test_factored_logits_multiply_to_a_joint_probability() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 8))
    joint = np.exp(metrics.joint_log_probabilities(logits, CONTEST.factors))
    mask, gender, age = (np.exp(metrics.log_softmax(logits[:, part])) for part in CONTEST.factors)
    assert joint.sum(1) == pytest.approx(np.ones(5))
    for label in range(18):
        assert joint[:, label] == pytest.approx(mask[:, label // 6] * gender[:, label // 3 % 2] * age[:, label % 3])


def test_votes_with_known_answers() -> None:
    views = np.array([[[0.6, 0.4, 0.0]], [[0.6, 0.4, 0.0]], [[0.0, 0.9, 0.1]]])
    assert votes.hard(views).argmax(1) == [0]  # two of three
    assert votes.soft(views).argmax(1) == [1]  # 1.7 against 1.2
    assert votes.geometric(views).argmax(1) == [1]
    assert votes.soft(views)[0] == pytest.approx([0.4, 1.7 / 3, 0.1 / 3])
    for vote in votes.VOTES.values():
        assert vote(views).sum(1) == pytest.approx([1.0])


def test_a_tied_hard_vote_goes_to_the_larger_sum() -> None:
    views = np.array([[[0.55, 0.45, 0.0]], [[0.0, 0.9, 0.1]]])
    assert votes.hard(views).argmax(1) == [1]
    assert votes.hard(views[::-1]).argmax(1) == [1]
