"""Which labels of a training side are most likely wrong, and what training does about them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stages.data.fold_data import FoldData
from stages.data.task_and_classes import CONTEST, Task
from stages.learn import loader, noise_robust
from stages.learn.noise_robust import Found, Judged
from stages.params.schema import Params
from tests.conftest import small

MASKS = (0, 0, 0, 0, 0, 1, 2)


def people(count: int, seed: int = 0) -> tuple[FoldData, np.ndarray]:
    """Contest people, seven photos each; all but every fifth person train. And each photo's person."""
    rng = np.random.default_rng(seed)
    gender, age = rng.integers(0, 2, count), rng.integers(18, 70, count)
    bins = np.digitize(age, (30, 60))
    labels = (np.array(MASKS) * 6 + (gender * 3 + bins)[:, None]).ravel()
    person = np.repeat(np.arange(count), len(MASKS))
    val = person % 5 == 0
    numbers = np.repeat(age, len(MASKS)).astype(float)
    sides = np.flatnonzero(~val), np.flatnonzero(val)
    return FoldData(CONTEST, np.zeros((len(labels), 1, 1, 3), np.uint8), labels, labels, numbers, *sides), person


def knowing(task: Task, truth: np.ndarray, sure: float = 0.9) -> np.ndarray:
    """Probabilities [N, C] of models that are right, not always to the same degree."""
    logits = np.random.default_rng(1).normal(0, 0.5, (len(truth), task.classes))
    logits[np.arange(len(truth)), truth] += np.log(sure / (1 - sure) * task.classes)
    found = np.exp(logits)
    return (found / found.sum(1, keepdims=True)).astype(np.float32)


def judged(data: FoldData, group: np.ndarray, truth: np.ndarray, learnt: np.ndarray | None = None) -> Judged:
    side = data.train
    known = np.ones(len(side), bool) if learnt is None else learnt
    return Judged(side, knowing(data.task, truth[side]), group[side], known)


def with_labels(data: FoldData, labels: np.ndarray) -> FoldData:
    return replace(data, labels=labels, train_labels=labels)


def noise(action: str = "drop", **more: Any) -> Params:
    return small(label_noise={"action": action, **more})


@pytest.fixture
def planted() -> tuple[FoldData, np.ndarray, np.ndarray]:
    """The fold with the gender of three people and the mask of four photos of others planted wrong; persons; the truth."""
    data, person = people(100)
    labels = data.labels.copy()
    wrong = np.isin(person, (1, 2, 3))
    labels[wrong] += np.where(labels[wrong] // 3 % 2, -3, 3)
    for one in (11, 12, 13, 14):
        labels[one * 7] = (labels[one * 7] + 6) % 18
    return with_labels(data, labels), person, data.labels


def test_planted_mistakes_are_found_with_what_they_should_be(
    planted: tuple[FoldData, np.ndarray, np.ndarray],
) -> None:
    data, person, truth = planted
    found = noise_robust.find(judged(data, person, truth), data, noise())
    wrong = np.flatnonzero(data.labels != truth)
    right = np.isin(found.which, wrong)
    assert right.sum() >= 0.9 * len(wrong)
    assert right.mean() >= 0.9
    assert (found.suggested[right] == truth[found.which[right]]).all()
    assert not found.number[right].any()  # nobody's age is doubted
    assert found.looked == len(data.train)
    assert found.estimated == pytest.approx(len(wrong), abs=6)


def test_a_class_that_its_judge_has_not_learnt_is_not_doubted(planted: tuple[FoldData, np.ndarray, np.ndarray]) -> None:
    data, person, truth = planted
    unknown = (data.labels != truth)[data.train]
    found = noise_robust.find(judged(data, person, truth, ~unknown), data, noise())
    assert not set(data.train[unknown]) & set(found.which)


def test_a_share_takes_the_surest_and_no_more(planted: tuple[FoldData, np.ndarray, np.ndarray]) -> None:
    data, person, truth = planted
    everything = noise_robust.find(judged(data, person, truth), data, noise())
    few = noise_robust.find(judged(data, person, truth), data, noise(share=0.01))
    assert len(few.which) == int(0.01 * len(data.train)) < len(everything.which)
    assert set(few.which) <= set(everything.which)
    assert few.score.min() >= np.sort(everything.score)[-len(few.which)]


def test_an_age_next_to_an_edge_is_no_mistake_and_one_far_from_it_is() -> None:
    data, person = people(120)
    numbers, truth = data.numbers.copy(), data.labels
    near, far = (int(one) for one in np.unique(person[(numbers > 62) & np.isin(person, person[data.train])])[:2])
    labels = truth.copy()
    for one, age in ((near, 59.0), (far, 40.0)):
        own = person == one
        numbers[own], labels[own] = age, labels[own] - 1  # the models go on seeing somebody over 60
    noisy = replace(with_labels(data, labels), numbers=numbers)
    found = noise_robust.find(judged(noisy, person, truth), noisy, noise())
    assert set(person[found.which]) == {far}
    assert found.number.all()
    params = small(label_noise={"action": "drop"}, train_bins={"age": [30, 41]})
    moved = noise_robust.find(judged(noisy, person, truth), noisy, params)  # now 40 is next to an edge, and 59 is not
    assert set(person[moved.which]) == {near}


def test_no_class_loses_more_than_half_of_its_photos_and_those_left_are_the_least_doubted() -> None:
    labels = np.repeat([0, 1, 2], [60, 21, 20])
    score = np.where(labels == 0, 0.01, 0.99)
    score[60:65], score[95:] = 0.6, 0.6
    rows = noise_robust._surest(score, labels, 1000)
    assert np.bincount(labels[rows]).tolist() == [0, 10, 10]
    assert (score[rows] == 0.99).all()


def found_at(which: list[int], score: float = 0.8) -> Found:
    count = len(which)
    predicted = np.full((count, 18), 0.25 / 17, np.float32)
    predicted[:, 17] = 0.75
    number = np.arange(count) == 0
    return Found(
        np.array(which), np.full(count, score, np.float32), np.full(count, 17), predicted, number, 100, float(count)
    )


def test_dropped_photos_are_in_no_epoch_and_the_counts_know() -> None:
    data, _ = people(30)
    own = noise_robust.borne(data, found_at([7, 8, 9]), noise().label_noise)
    assert set(data.train) - set(own.train) == {7, 8, 9}
    assert own.class_counts.sum() == len(data.train) - 3
    assert (own.val == data.val).all()
    assert not set(loader.epoch_order(small(), own, 0, 0)) & {7, 8, 9}


@pytest.mark.parametrize("sampler", ["none", "weighted", "sqrt", "class_uniform"])
def test_weighted_photos_are_drawn_with_their_chance_and_classes_as_before(sampler: str) -> None:
    data, _ = people(30)
    which = data.train[data.train_labels[data.train] == data.train_labels[data.train[0]]][:8]
    own = noise_robust.borne(data, found_at(list(which), 0.75), noise("weight").label_noise)
    params = small(sampler=sampler)
    drawn = np.concatenate([loader.epoch_order(params, own, 0, epoch) for epoch in range(400)])
    before = np.concatenate([loader.epoch_order(params, data, 0, epoch) for epoch in range(400)])
    assert len(drawn) == len(before)
    counts = np.bincount(drawn, minlength=len(data.labels))
    same = data.train[data.train_labels[data.train] == data.train_labels[which[0]]]
    others = np.setdiff1d(same, which)
    assert counts[which].mean() / counts[others].mean() == pytest.approx(0.25, rel=0.15)
    assert not set(drawn) & set(data.val)
    assert own.class_counts.sum() == pytest.approx(len(data.train) - 6)
    if sampler in ("weighted", "class_uniform"):
        drawn_before, drawn_now = (np.isin(one, same).mean() for one in (before, drawn))
        assert drawn_now == pytest.approx(drawn_before, rel=0.1)


@pytest.mark.parametrize(("mix", "share"), [("auto", 0.8), (0.5, 0.5)])
def test_a_smoothed_label_is_given_or_predicted_as_often_as_the_mix_says(mix: Any, share: float) -> None:
    data, _ = people(30)
    own = noise_robust.borne(data, found_at([7, 8]), noise("smooth", mix=mix).label_noise)
    assert own.mixed is not None
    assert own.mixed.chances.sum(1) == pytest.approx(1)
    params, epochs = small(), 3000
    drawn = np.stack([loader.epoch_labels(params, own, 0, epoch)[[7, 8]] for epoch in range(epochs)])
    assert (drawn == 17).mean() == pytest.approx(0.75 * share, abs=0.03)
    assert (drawn == data.train_labels[[7, 8]]).mean() == pytest.approx(1 - share + 0.25 / 17 * share, abs=0.03)
    labels = loader.epoch_labels(params, own, 0, 5)
    others = np.setdiff1d(np.arange(len(labels)), [7, 8])
    assert (labels[others] == data.train_labels[others]).all()
    assert (labels == loader.epoch_labels(params, own, 0, 5)).all()  # goes on after a cut as it would have
    assert own.class_counts.sum() == pytest.approx(len(data.train))
    assert own.class_counts[17] == pytest.approx(data.class_counts[17] + 2 * 0.75 * share)


@pytest.mark.parametrize("action", ["weight", "smooth"])
def test_a_number_whose_level_is_doubted_is_unknown_to_training_and_all_others_stay(action: str) -> None:
    data, _ = people(30)
    own = noise_robust.borne(data, found_at([7, 8]), noise(action).label_noise)
    assert np.flatnonzero(np.isnan(own.numbers)).tolist() == [7]
    assert not np.isnan(data.numbers).any()


def test_a_batch_holds_the_labels_of_its_epoch() -> None:
    data, _ = people(10)
    data = replace(data, pixels=np.zeros((len(data.labels), 36, 36, 3), np.uint8))
    own = noise_robust.borne(data, found_at([int(one) for one in data.train[:10]]), noise("smooth").label_noise)
    params = small()
    augment = lambda photos, rng: np.zeros((len(photos), 32, 32, 3), np.uint8)  # noqa: E731
    order = loader.epoch_order(params, own, 0, 1)
    wanted = loader.epoch_labels(params, own, 0, 1)
    batches = list(loader.training(params, own, order, augment, loader.Place(0, 1)))
    assert all((batch.labels.numpy() == wanted[batch.which]).all() for batch in batches)
    assert (wanted != data.train_labels).any()


def test_what_was_found_is_told_in_one_line() -> None:
    assert noise_robust.in_words(found_at([1, 2]), "weight") == (
        "2 of 100 training photos have a label that is most likely wrong, and are drawn less often (label_noise.action: weight); "
        "estimated wrong: 2.0 %"
    )
    assert "1 of 100 training photos has a label that is most likely wrong, and is left out" in noise_robust.in_words(
        found_at([1]), "drop"
    )
    none = noise_robust.in_words(found_at([]), "drop")
    assert none == "none of 100 training photos has a label that is most likely wrong (label_noise)"
