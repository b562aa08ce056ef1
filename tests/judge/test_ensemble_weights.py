import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judge import ensemble_weights
from stages.judge.metrics import log_softmax, macro_f1


def runs(count: int, photos: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [count, photos, classes] of models of differing worth, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, photos)
    logits = rng.normal(size=(count, photos, classes))
    logits[:, np.arange(photos), labels] += rng.uniform(0, 2, (count, 1))
    return np.exp(log_softmax(logits)), labels


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(5, 50), st.integers(2, 6), st.integers(0, 10**6))
def test_weights_are_shares_and_blends_are_probabilities(count: int, photos: int, classes: int, seed: int) -> None:
    probabilities, labels = runs(count, photos, classes, seed)
    for name, weighting in (ensemble_weights.WEIGHTINGS | {"single": ensemble_weights.best_single}).items():
        weights = weighting(probabilities, labels)
        assert weights.shape == (count,)
        assert (weights >= 0).all(), name
        assert weights.sum() == pytest.approx(1)
        assert ensemble_weights.mix(weights, probabilities).sum(1) == pytest.approx(np.ones(photos))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(5, 50), st.integers(0, 10**6))
def test_greedy_is_never_worse_than_the_best_single_run_where_it_is_fitted(count: int, photos: int, seed: int) -> None:
    probabilities, labels = runs(count, photos, 4, seed)
    blended = ensemble_weights.mix(ensemble_weights.greedy(probabilities, labels), probabilities)
    best = max(macro_f1(labels, one.argmax(1), 4) for one in probabilities)
    assert macro_f1(labels, blended.argmax(1), 4) >= best - 1e-12
    with pytest.MonkeyPatch.context() as patch:  # nor is it for having gone on
        for rounds in (2, 3, 5):
            patch.setattr(ensemble_weights, "ROUNDS", rounds)
            shorter = ensemble_weights.mix(ensemble_weights.greedy(probabilities, labels), probabilities)
            assert macro_f1(labels, shorter.argmax(1), 4) >= best - 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(0, 10**6))
def test_convex_has_the_lowest_log_loss_of_all_weights(count: int, seed: int) -> None:
    probabilities, labels = runs(count, 60, 4, seed)

    def loss(weights: np.ndarray) -> float:
        return float(-np.log(ensemble_weights.mix(weights, probabilities)[np.arange(60), labels]).mean())

    found = loss(ensemble_weights.convex(probabilities, labels))
    others = np.random.default_rng(seed).dirichlet(np.ones(count), 50)
    assert all(found <= loss(weights) + 1e-6 for weights in [*others, *np.eye(count)])


def test_convex_recovers_the_mixture_that_the_labels_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.3), (3, 30_000))
    truth = np.array([0.6, 0.4, 0.0])
    mixture = ensemble_weights.mix(truth, probabilities)
    labels = (mixture.cumsum(1) > rng.random((30_000, 1))).argmax(1)
    assert ensemble_weights.convex(probabilities, labels) == pytest.approx(truth, abs=0.03)


def test_greedy_takes_what_completes_the_best_run_and_leaves_out_what_does_not() -> None:
    labels = np.array([0, 1, 2] * 20)
    right = np.eye(3)[labels]
    odd = np.arange(60) % 2 == 0
    # Each of the first two runs is sure of one half of the photos and undecided, wrongly by a hair, on the other.
    unsure = np.full((60, 3), 0.3) + np.eye(3)[(labels + 1) % 3] * 0.1
    first, second = np.where(odd[:, None], right, unsure), np.where(odd[:, None], unsure, right)
    third = np.eye(3)[(labels + 1) % 3]
    weights = ensemble_weights.greedy(np.stack([first, second, third]), labels)
    assert weights.tolist() == [0.5, 0.5, 0]
    assert ensemble_weights.best_single(np.stack([third, first, second]), labels).tolist() == [0, 1, 0]


def test_equal_weights_need_no_labels() -> None:
    assert ensemble_weights.equal(np.ones((4, 2, 2)), np.array([])).tolist() == [0.25] * 4
