import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from stages.data.task_and_classes import Axis, Task
from stages.judge import metrics, votes

SIZES = st.lists(st.integers(2, 6), min_size=1, max_size=4)
DRAWS = (SIZES, st.integers(1, 60), st.integers(0, 10**6))


def axes_of(sizes: list[int]) -> dict[str, int]:
    return {f"axis{place}": size for place, size in enumerate(sizes)}


def answers(classes: int, photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of some of the classes: others are absent from both."""
    rng = np.random.default_rng(seed)
    there = rng.choice(classes, rng.integers(1, classes + 1), replace=False)
    return rng.choice(there, photos), rng.choice(there, photos)


@given(st.integers(2, 1000), st.integers(1, 60), st.integers(0, 10**6))
def test_macro_f1_is_scikit_learns_whatever_the_number_of_classes(classes: int, photos: int, seed: int) -> None:
    labels, predictions = answers(classes, photos, seed)
    expected = f1_score(labels, predictions, average="macro", zero_division=0)
    assert metrics.macro_f1(labels, predictions, classes) == pytest.approx(expected)
    # As training stores them.
    assert metrics.macro_f1(labels, predictions.astype(np.uint16), classes) == pytest.approx(expected)


@given(*DRAWS)
def test_an_axis_is_scored_as_if_its_levels_were_all_that_is_asked(sizes: list[int], photos: int, seed: int) -> None:
    labels, predictions = answers(int(np.prod(sizes)), photos, seed)
    found = metrics.axis_f1(labels, predictions, axes_of(sizes))
    true, predicted = np.unravel_index(labels, sizes), np.unravel_index(predictions, sizes)
    for place, name in enumerate(axes_of(sizes)):
        expected = f1_score(true[place], predicted[place], average="macro", zero_division=0)
        assert found[f"f1_{name}"] == pytest.approx(expected)
    if len(sizes) == 1:
        assert found == {"f1_axis0": metrics.macro_f1(labels, predictions, sizes[0])}


@given(*DRAWS)
def test_f1_is_the_mean_of_subsets_that_share_out_the_classes(sizes: list[int], photos: int, seed: int) -> None:
    classes = int(np.prod(sizes))
    labels, predictions = answers(classes, photos, seed)
    middle = classes // 2
    subsets = {"low": tuple(range(middle)), "high": tuple(range(middle, classes)), "all": tuple(range(classes))}
    found = metrics.subset_f1(labels, predictions, classes, subsets)
    assert found["f1_all"] == metrics.macro_f1(labels, predictions, classes)
    there = metrics.present(labels, predictions)
    parts = [(found["f1_low"], (there < middle).sum()), (found["f1_high"], (there >= middle).sum())]
    assert sum(f1 * count for f1, count in parts if count) / len(there) == pytest.approx(found["f1_all"])
    assert all(np.isnan(f1) == (count == 0) for f1, count in parts)


def test_a_subset_may_be_one_class() -> None:
    labels, predictions = np.array([0, 0, 1, 299]), np.array([0, 1, 1, 44])
    found = metrics.subset_f1(labels, predictions, 300, {"one": (1,), "last": (299,), "absent": (7,)})
    assert found["f1_one"] == pytest.approx(2 / 3)
    assert found["f1_last"] == 0  # 44 is 299 where class numbers wrap at 256
    assert np.isnan(found["f1_absent"])


@given(SIZES, st.integers(0, 10**6))
def test_factored_logits_multiply_to_a_joint_probability(sizes: list[int], seed: int) -> None:
    task = Task("table", tuple(Axis(name, ("a",) * size) for name, size in axes_of(sizes).items()), "photo")
    logits = np.random.default_rng(seed).normal(size=(5, sum(sizes)))
    joint = np.exp(metrics.joint_log_probabilities(logits, task.factors))
    assert joint.shape == (5, task.classes)
    assert joint.sum(1) == pytest.approx(np.ones(5))
    of_axes = [np.exp(metrics.log_softmax(logits[:, place])) for place in task.factors]
    for label in range(task.classes):
        codes = np.unravel_index(label, sizes)
        expected = np.prod([axis[:, code] for axis, code in zip(of_axes, codes, strict=True)], axis=0)
        assert joint[:, label] == pytest.approx(expected)


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
