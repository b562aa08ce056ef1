import numpy as np
import pytest

from stages.learn.samplers import SAMPLERS, draw, weights

LABELS = np.repeat([0, 1, 4], [700, 250, 50])


def expected_shares(name: str) -> np.ndarray:
    counts = np.array([700, 250, 50])
    raw = {"none": counts, "sqrt": np.sqrt(counts)}.get(name, np.ones(3))
    return raw / raw.sum()


@pytest.mark.parametrize("name", SAMPLERS)
def test_drawn_classes_follow_the_definition(name: str) -> None:
    drawn = np.concatenate([draw(name, LABELS, np.random.default_rng(seed)) for seed in range(20)])
    shares = np.array([(LABELS[drawn] == label).mean() for label in (0, 1, 4)])
    error = np.sqrt(expected_shares(name) * (1 - expected_shares(name)) / len(drawn))
    assert (np.abs(shares - expected_shares(name)) < 4 * error + 1e-9).all()
    assert len(drawn) == 20 * len(LABELS)


@pytest.mark.parametrize("name", ["weighted", "imbalanced", "class_uniform", "sqrt"])
def test_photos_of_one_class_are_equally_likely(name: str) -> None:
    drawn = np.concatenate([draw(name, LABELS, np.random.default_rng(seed)) for seed in range(200)])
    rare = np.bincount(drawn, minlength=len(LABELS))[LABELS == 4]
    assert rare.std() < 1.5 * np.sqrt(rare.mean())


def test_none_draws_every_photo_once_and_weights_sum_evenly_over_classes() -> None:
    assert sorted(draw("none", LABELS, np.random.default_rng(0))) == list(range(len(LABELS)))
    for label in (0, 1, 4):
        assert weights("weighted", LABELS)[label == LABELS].sum() == pytest.approx(1)
    assert weights("sqrt", LABELS)[0] == pytest.approx(1 / np.sqrt(700))


def test_class_uniform_draws_a_class_and_then_one_of_its_photos() -> None:
    labels = np.random.default_rng(1).permutation(LABELS)
    rng = np.random.default_rng(2)
    members = [np.flatnonzero(labels == label) for label in (0, 1, 4)]
    chosen = rng.integers(3, size=len(labels))
    within = rng.integers(np.array([len(own) for own in members])[chosen])
    wanted = [members[number][place] for number, place in zip(chosen, within, strict=True)]
    assert list(draw("class_uniform", labels, np.random.default_rng(2))) == wanted
