"""Wrong labels are found, scored by how likely they are wrong, and told from what is only hard to see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.judge import label_suspects
from stages.judge.label_suspects import suspects
from stages.judge.metrics import log_softmax

STRENGTH = 3.5  # of what a photo shows of its level


def shown(true: np.ndarray, levels: int, rng: np.random.Generator, strength: float = STRENGTH) -> np.ndarray:
    """Probabilities [N, K] that a model with just this to see would give."""
    seen = rng.normal(0, 1, (len(true), levels))
    seen[np.arange(len(true)), true] += strength
    return np.exp(log_softmax(strength * seen))


def people(count: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Group [N], true levels of mask, gender and age, and class probabilities [N, 18] of the contest's people."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(count), 7)
    mask = np.tile([0, 0, 0, 0, 0, 1, 2], count)
    gender, age = (np.repeat(rng.integers(0, levels, count), 7) for levels in (2, 3))
    true = [mask, gender, age]
    each = [shown(levels, size, rng) for levels, size in zip(true, CONTEST.sizes, strict=True)]
    joint = np.einsum("na,nb,nc->nabc", *each).reshape(len(group), -1)
    return group, true, joint.astype(np.float32)


def found_among_first(score: np.ndarray, wrong: np.ndarray) -> float:
    """Precision among as many as are wrong."""
    return float(wrong[np.argsort(-score, kind="stable")[: int(wrong.sum())]].mean())


def flat(levels: int) -> Task:
    return Task("folder", (Axis("label", tuple(f"c{number}" for number in range(levels))),), "photo")


def test_a_persons_gender_is_judged_by_all_their_photos() -> None:
    group, true, probabilities = people(200)
    wrong = np.isin(group, [3, 50, 77, 120])
    given_levels = (true[0], np.where(wrong, 1 - true[1], true[1]), true[2])
    found = suspects(probabilities, CONTEST.numbers(given_levels), group, CONTEST)
    of_gender = found.axes["gender"]
    assert sorted(of_gender.group[np.argsort(-of_gender.score)[:4]]) == [3, 50, 77, 120]
    assert of_gender.score[[3, 50, 77, 120]].min() > 0.9
    assert (of_gender.suggested[[3, 50]] == true[1][[21, 350]]).all()
    assert (CONTEST.parts(found.suggested)[1][wrong] == true[1][wrong]).all()
    assert found.score[wrong].min() > 0.9
    assert np.median(found.score[~wrong]) < 0.05


def test_two_photos_with_each_others_label_are_a_swap_that_neither_would_be_alone() -> None:
    """Photos that show little: alone each is unlikely to be wrong, and together they tell on each other."""
    rng = np.random.default_rng(0)
    group, true = np.repeat(np.arange(400), 2), np.tile([0, 1], 400)
    swapped = np.isin(group, rng.choice(400, 20, replace=False))
    given_levels = np.where(swapped, 1 - true, true)
    axis = Axis("mask", ("incorrect", "none"))
    task = Task("contest", (axis,), "person")
    probabilities = shown(true, 2, rng, 2.5)
    found = suspects(probabilities, given_levels, group, task)
    alone = suspects(probabilities, given_levels, np.arange(800), task)
    assert found_among_first(found.score, swapped) > found_among_first(alone.score, swapped) + 0.05
    assert found.axes["mask"].swapped[swapped].mean() > 0.5
    assert not alone.axes["mask"].swapped.any()


@pytest.mark.parametrize("classes", [2, 18, 200])
def test_scores_mean_what_they_say(classes: int) -> None:
    """Their sum is the number of wrong labels, within a third of it."""
    rng = np.random.default_rng(classes)
    true = rng.integers(0, classes, 4000)
    wrong = rng.random(4000) < 0.05
    labels = np.where(wrong, (true + rng.integers(1, classes, 4000)) % classes, true)
    found = suspects(shown(true, classes, rng, 5.0), labels, np.arange(4000), flat(classes))
    wrong = labels != true
    assert found.score.sum() == pytest.approx(wrong.sum(), rel=0.33)
    assert found_among_first(found.score, wrong) > 0.85
    assert (found.suggested[wrong] == true[wrong]).mean() > 0.85
    assert (found.suggested != labels).all()


def test_a_model_that_is_too_sure_of_itself_gives_nearly_the_same_scores() -> None:
    rng = np.random.default_rng(5)
    true = rng.integers(0, 4, 2000)
    labels = np.where(rng.random(2000) < 0.05, (true + 1) % 4, true)
    probabilities = shown(true, 4, rng)
    too_sure = np.exp(log_softmax(2.5 * np.log(probabilities)))
    one, other = (suspects(each, labels, np.arange(2000), flat(4)).score for each in (probabilities, too_sure))
    assert np.abs(one - other).max() < 0.1


def test_mistakes_that_models_have_learnt_are_not_all_taken_for_their_doubt() -> None:
    """As more of them are with every round that fits the temperature again: 0.87 of the first suspects, of 0.95, by 16."""
    told, so = [], []
    for seed in range(5):
        rng, people_, prior = np.random.default_rng(seed), 900, np.array([0.4, 0.6])
        true = rng.choice(2, people_, p=prior)
        labels = np.where(rng.permutation(people_) < people_ // 10, 1 - true, true)
        alike, own = np.repeat(rng.normal(size=(people_, 2)), 7, axis=0), rng.normal(size=(7 * people_, 2))
        seen = 1.5 * np.eye(2)[np.repeat(true, 7)] + np.sqrt(0.5) * (alike + own)
        probabilities = np.exp(log_softmax(np.log(prior) + 1.5 * seen)) @ np.array([[0.9, 0.1], [0.1, 0.9]])
        group = np.repeat(np.arange(people_), 7)
        axis = CONTEST.axis("gender")
        found = label_suspects.of_axis(np.log(probabilities), np.repeat(labels, 7), group, axis, True, None)
        first = np.argsort(-found.score, kind="stable")[:50]
        told.append(found.score[first].mean())
        so.append((labels != true)[first].mean())
    assert np.mean(so) > 0.9
    assert np.mean(told) == pytest.approx(np.mean(so), abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_label_of_few_is_seen_where_the_models_are_sure_of_all(seed: int) -> None:
    """24 people, equally easy: that one contradicts its label might as well mean that the models are ten times too sure."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, 24)
    labels = true.copy()
    labels[8] = 1 - labels[8]
    task = Task("contest", (CONTEST.axis("gender"),), "person")
    group = np.repeat(np.arange(24), 7)
    found = suspects(shown(true[group], 2, rng, 4.0), labels[group], group, task).axes["gender"]
    assert found.score[8] > 0.9
    assert np.delete(found.score, 8).max() < 0.1


def test_clean_labels_that_are_easy_to_see_raise_no_suspicion() -> None:
    rng = np.random.default_rng(2)
    true = rng.integers(0, 3, 1000)
    assert suspects(shown(true, 3, rng, 7.0), true, np.arange(1000), flat(3)).score.max() < 0.5


def test_levels_that_the_models_cannot_tell_apart_are_told_as_such() -> None:
    rng = np.random.default_rng(3)
    true = rng.integers(0, 3, 3000)
    probabilities = shown(np.minimum(true, 1), 3, rng)  # of the last two levels it shows which pair, and no more
    both = probabilities[:, 1:].sum(1) / 2
    probabilities[:, 1:] = both[:, None] * np.exp(rng.normal(0, 0.01, (3000, 2)))
    probabilities /= probabilities.sum(1, keepdims=True)
    found = suspects(probabilities, true, np.arange(3000), flat(3)).axes["label"]
    between = (found.given > 0) & (found.suggested > 0)
    assert between.any()
    assert not found.told_apart[between].any()
    assert found.told_apart[found.given == 0].all()
    assert not found.ambiguous.any()


@pytest.mark.parametrize(
    ("value", "given_level", "suggested", "ambiguous"),
    [
        (59, 1, 2, True),
        (60, 2, 1, True),
        (58, 1, 2, True),
        (57, 1, 2, False),
        (29, 0, 1, True),
        (30, 1, 0, True),
        (31, 1, 2, False),  # next to the other edge
        (60, 2, 0, False),  # the bin suggested lies beyond the neighbour
    ],
)
def test_a_number_next_to_the_edge_of_the_suggested_bin_is_ambiguous(
    value: int, given_level: int, suggested: int, ambiguous: bool
) -> None:
    """Of the contest's age, with a scale of 10 years, next to is within 2."""
    near = label_suspects.next_to_edge(
        CONTEST.axis("age"), np.array([value]), np.array([given_level]), np.array([suggested])
    )
    assert near.tolist() == [ambiguous]


def test_whole_numbers_are_next_to_an_edge_within_1_whatever_the_scale() -> None:
    axis = Axis("count", ("<5", "5+"), (5.0,))
    one = np.array([1])
    assert label_suspects.next_to_edge(axis, np.array([4]), one - 1, one).all()
    assert not label_suspects.next_to_edge(axis, np.array([4.1, 3.5]), np.zeros(2, int), np.ones(2, int)).any()


def test_classes_without_photos_and_of_one_photo_are_borne() -> None:
    rng = np.random.default_rng(4)
    true = np.append(rng.integers(0, 5, 300), 7)
    found = suspects(shown(true, 10, rng), true, np.arange(301), flat(10))
    assert np.isfinite(found.score).all()
    assert (found.suggested < 10).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 40), st.integers(1, 8))
def test_any_task_gets_scores_between_0_and_1_and_another_class(
    seed: int, classes: int, photos: int, of_each: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, photos)
    group = np.arange(photos) // of_each
    task = Task("folder", flat(classes).axes, "group")
    probabilities = rng.dirichlet(np.full(classes, 0.1), photos)
    found = suspects(probabilities, labels, group, task)
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert (found.suggested != labels).all()
    assert (found.suggested < classes).all()
