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


@pytest.mark.slow
def test_intervals_of_small_samples_cover_the_truth() -> None:
    from bench.intervals import simulate

    found = simulate(132, 300, 500, 1)
    assert 0.90 < found["coverage_95"]["macro_f1 bootstrap_t over people"]["share"] < 0.98
    assert found["coverage_95"]["macro_f1 percentile over photos"]["share"] < 0.85
