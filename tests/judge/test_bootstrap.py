import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judge import bootstrap, metrics


def answers(people: int, seed: int, right: float = 0.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    person, labels = np.repeat(np.arange(people), 7), rng.integers(0, 18, people * 7)
    return person, labels, np.where(rng.random(people * 7) < right, labels, rng.integers(0, 18, people * 7))


@given(st.integers(2, 20), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_estimate_is_the_score_itself(people: int, seed: int) -> None:
    person, labels, predictions = answers(people, seed)
    nll = np.random.default_rng(seed).random(len(labels))
    scores = bootstrap.of_run(person, labels, predictions, nll)
    found = dict(zip(scores.names, bootstrap.estimate(scores), strict=True))
    assert found["macro_f1"] == pytest.approx(metrics.macro_f1(labels, predictions))
    assert found["f1_60plus"] == pytest.approx(metrics.f1_60plus(labels, predictions))
    assert found["accuracy"] == pytest.approx(metrics.accuracy(labels, predictions))
    assert found["nll"] == pytest.approx(nll.mean())
    assert [found[f"f1_{number}"] for number in range(18)] == pytest.approx(
        metrics.f1_per_class(labels, predictions).tolist()
    )


def test_a_replicate_is_the_score_of_the_people_drawn_and_its_error_their_spread() -> None:
    person, labels, predictions = answers(40, 1)
    scores = bootstrap.of_run(person, labels, predictions)
    drawn = np.random.default_rng(0).integers(0, 40, 40)
    rows = np.concatenate([np.arange(7) + 7 * who for who in drawn])
    times = np.bincount(drawn, minlength=40).astype(np.float32)[None]
    value, error = bootstrap._scored(scores, times)
    f1 = metrics.f1_per_class(labels[rows], predictions[rows])
    assert value[0, scores.names.index("macro_f1")] == pytest.approx(f1.mean(), abs=1e-6)
    # The delta method agrees with the bootstrap's own spread where there is enough data.
    big = bootstrap.pick(bootstrap.of_run(*answers(800, 2)), ("macro_f1", "f1_3", "accuracy"))
    found = bootstrap.replicate(big, 2000, 0)
    assert found.error == pytest.approx(found.values.std(0), rel=0.06)
    assert error.shape == (1, 22)


def test_people_are_drawn_whole_so_seven_photos_hold_the_evidence_of_one() -> None:
    rng = np.random.default_rng(0)
    person, labels, _ = answers(60, 0)
    by_person = np.where(np.repeat(rng.random(60) < 0.6, 7), labels, (labels + 1) % 18)
    low, high = bootstrap.macro_f1_interval(person, labels, by_person, 1000, 0)
    low_by_photo, high_by_photo = bootstrap.macro_f1_interval(np.arange(420), labels, by_person, 1000, 0)
    assert low < metrics.macro_f1(labels, by_person) < high
    assert high - low > 1.3 * (high_by_photo - low_by_photo)
    assert (low, high) == bootstrap.macro_f1_interval(person, labels, by_person, 1000, 0)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_groups_hold_all_people_once_and_few_people_stay_alone(people: int, units: int, seed: int) -> None:
    scores = bootstrap.of_run(*answers(people, seed))
    grouped = bootstrap.in_groups(scores, seed, units)
    assert len(grouped.numerators) <= units
    assert (grouped.numerators.sum(0) == scores.numerators.sum(0)).all()
    photos = grouped.denominators[:, -1]  # seven a person
    assert photos.sum() == 7 * people
    assert photos.max() - photos.min() <= 7
    assert (grouped is scores) == (people <= units)


def test_groups_of_people_have_the_standard_error_of_the_people() -> None:
    scores = bootstrap.pick(bootstrap.of_run(*answers(4000, 3)), ("macro_f1", "f1_60plus", "f1_3", "accuracy"))
    alone = bootstrap.replicate(scores, 1, 0).error
    by_hundreds = [bootstrap.replicate(bootstrap.in_groups(scores, seed, 400), 1, 0).error for seed in range(60)]
    # Each has the noise of 400 squares, 1 / sqrt(800) = 3.5 %; their mean a 60th of its variance.
    assert np.mean(by_hundreds, axis=0) == pytest.approx(alone, rel=0.02)
    assert np.std(by_hundreds, axis=0) / alone == pytest.approx(np.full(4, 0.035), abs=0.015)


def test_many_people_take_no_longer_than_the_most_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draws = bootstrap._draws
    monkeypatch.setattr(bootstrap, "_draws", lambda units, *rest: drawn.append(units) or draws(units, *rest))
    person = np.repeat(np.arange(25_000), 2)
    labels = np.zeros(50_000, int)
    bootstrap.replicate(bootstrap.of_run(person, labels, np.arange(50_000) % 2), 3, 0)
    bootstrap.replicate(bootstrap.of_run(person[:20_000], labels[:20_000], labels[:20_000]), 3, 0)
    assert drawn == [8333, 10_000]


def test_people_per_class_counts_each_person_once() -> None:
    person = bootstrap.numbered(np.array(["b", "b", "a", "c", "c"]))
    assert person.tolist() == [1, 1, 0, 2, 2]
    assert bootstrap.people_per_class(person, np.array([0, 0, 0, 1, 0]), 3).tolist() == [3, 1, 0]


@pytest.mark.slow
def test_intervals_of_small_samples_cover_the_truth() -> None:
    from bench.intervals import simulate

    found = simulate(132, 300, 500, 1)
    assert 0.90 < found["coverage_95"]["macro_f1 bootstrap_t over people"]["share"] < 0.98
    assert found["coverage_95"]["macro_f1 percentile over photos"]["share"] < 0.85
