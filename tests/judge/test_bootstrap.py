import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, metrics
from stages.judge.bootstrap import Scores, plain

OLD = CONTEST.subsets["60plus"]


def answers(
    people: int, seed: int, right: float = 0.6, classes: int = 18, photos: int = 7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    person, labels = np.repeat(np.arange(people), photos), rng.integers(0, classes, people * photos)
    return (
        person,
        labels,
        np.where(rng.random(people * photos) < right, labels, rng.integers(0, classes, people * photos)),
    )


def scored(*answers: np.ndarray) -> Scores:
    return bootstrap.of_run(*answers, classes=18, subsets={"60plus": OLD})


def none(scores: Scores) -> np.ndarray:
    """No pseudo-group is drawn."""
    return np.zeros((2, 1, scores.numerators.shape[1]), np.float32)


@given(st.integers(1, 20), st.integers(1, 7), st.integers(2, 300), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_estimate_is_the_score_itself(people: int, photos: int, classes: int, seed: int) -> None:
    """From one group to many, photos alone or together, few classes or nearly all of them absent."""
    person, labels, predictions = answers(people, seed, classes=classes, photos=photos)
    nll = np.random.default_rng(seed).random(len(labels))
    subsets = {"one": (classes - 1,), "all": tuple(range(classes)), "some": tuple(range(0, classes, 2))}
    scores = bootstrap.of_run(person, labels, predictions, nll, classes=classes, subsets=subsets)
    found = dict(zip(scores.names, bootstrap.estimate(scores), strict=True))
    assert found["macro_f1"] == pytest.approx(metrics.macro_f1(labels, predictions, classes))
    assert found["f1_all"] == found["macro_f1"]
    for name, value in metrics.subset_f1(labels, predictions, classes, subsets).items():
        assert found[name] == pytest.approx(0 if np.isnan(value) else value)  # no class of it is there: nothing to draw
    assert found["accuracy"] == pytest.approx(metrics.accuracy(labels, predictions))
    assert found["nll"] == pytest.approx(nll.mean())
    assert [found[f"f1_{number}"] for number in range(classes)] == pytest.approx(
        metrics.f1_per_class(labels, predictions, classes).tolist()
    )


@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), st.integers(1, 9), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_axes_are_scored_beside_the_classes(sizes: list[int], people: int, seed: int) -> None:
    axes = {f"axis{place}": size for place, size in enumerate(sizes)}
    person, labels, predictions = answers(people, seed, classes=int(np.prod(sizes)))
    beside = bootstrap.beside(bootstrap.of_axes(person, labels, predictions, axes))
    assert beside.names == tuple(f"f1_{name}" for name in axes)
    expected = metrics.axis_f1(labels, predictions, axes)
    assert bootstrap.estimate(beside) == pytest.approx(list(expected.values()))


def test_a_replicate_is_the_score_of_the_people_drawn_and_its_error_their_spread() -> None:
    person, labels, predictions = answers(40, 1)
    scores = scored(person, labels, predictions)
    drawn = np.random.default_rng(0).integers(0, 40, 40)
    rows = np.concatenate([np.arange(7) + 7 * who for who in drawn])
    times = np.bincount(drawn, minlength=40).astype(np.float32)[None]
    value, error = bootstrap._scored(scores, times, none(scores), bootstrap._alike(scores))
    f1 = metrics.f1_per_class(labels[rows], predictions[rows], 18)
    assert value[0, scores.names.index("macro_f1")] == pytest.approx(f1.mean(), abs=1e-6)
    # The delta method agrees with the bootstrap's own spread where there is enough data.
    big = bootstrap.pick(scored(*answers(800, 2)), ("macro_f1", "f1_3", "accuracy"))
    found = bootstrap.replicate(big, 2000, 0)
    assert found.error == pytest.approx(found.values.std(0), rel=0.06)
    assert error.shape == (1, 22)


@given(st.integers(1, 30), st.integers(2, 40), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_standard_error_of_a_score_does_not_hang_on_what_stands_beside_it(
    people: int, classes: int, seed: int
) -> None:
    """Groups that have nothing of a class are passed over where its error is summed."""
    person, labels, predictions = answers(people, seed, classes=classes)
    scores = bootstrap.of_run(person, labels, predictions, classes=classes)
    times = np.random.default_rng(seed).integers(0, 3, (5, people)).astype(np.float32)
    times[:, 0] += 1
    values, errors = bootstrap._scored(scores, times, none(scores), bootstrap._alike(scores))
    for name in ("macro_f1", f"f1_{classes - 1}", "accuracy"):
        place = scores.names.index(name)
        used = np.flatnonzero(scores.weights[:, place])
        tops, bottoms = times @ scores.numerators[:, used], times @ scores.denominators[:, used]
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = np.where(bottoms > 0, scores.weights[used, place] / bottoms, 0)
            ratio = np.where(bottoms > 0, tops / bottoms, 0)
        influence = slope @ scores.numerators[:, used].T - (slope * ratio) @ scores.denominators[:, used].T
        assert errors[:, place] == pytest.approx(np.sqrt((times * influence**2).sum(1)), abs=1e-5)
        assert values[:, place] == pytest.approx(ratio @ scores.weights[used, place], abs=1e-5)


def test_people_are_drawn_whole_so_seven_photos_hold_the_evidence_of_one() -> None:
    rng = np.random.default_rng(0)
    person, labels, _ = answers(60, 0)
    by_person = np.where(np.repeat(rng.random(60) < 0.6, 7), labels, (labels + 1) % 18)
    low, high = bootstrap.macro_f1_interval(person, labels, by_person, 1000, 0, 18)
    low_by_photo, high_by_photo = bootstrap.macro_f1_interval(np.arange(420), labels, by_person, 1000, 0, 18)
    assert low < metrics.macro_f1(labels, by_person, 18) < high
    assert high - low > 1.3 * (high_by_photo - low_by_photo)
    assert (low, high) == bootstrap.macro_f1_interval(person, labels, by_person, 1000, 0, 18)


def test_two_classes_of_photos_without_groups() -> None:
    """Accuracy of photos drawn alone is a share, whose standard error is known."""
    labels = np.arange(400) % 2
    predictions = np.where(np.arange(400) % 10 < 8, labels, 1 - labels)
    scores = bootstrap.pick(bootstrap.of_run(np.arange(400), labels, predictions, classes=2), ("accuracy",))
    low, high = bootstrap.interval(bootstrap.replicate(scores, 2000, 0))
    assert (high[0] - low[0]) / 2 == pytest.approx(1.96 * (0.8 * 0.2 / 400) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("classes", "photos", "kept"), [(18, 40, False), (300, 5, True), (1000, 3, True)])
def test_classes_that_are_not_drawn_do_not_shift_a_score_of_many_small_ones(
    classes: int, photos: int, kept: bool
) -> None:
    """Right in 8 of 10 photos, else any class: in the long run F1 is 0.8. Replicates lose one class in 20 (3 photos each)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, classes * photos)
    predictions = np.where(rng.random(len(labels)) < 0.8, labels, rng.integers(0, classes, len(labels)))
    scores = bootstrap.pick(
        bootstrap.of_run(np.arange(len(labels)), labels, predictions, classes=classes), ("macro_f1",)
    )
    found = bootstrap.replicate(scores, 200, 0)
    assert (bootstrap._kept(scores, none(scores)[:, 0], found.error) is not None) == kept
    low, high = bootstrap.interval(found)
    assert low[0] < 0.8 + 0.2 / classes < high[0] < 1
    assert high[0] - low[0] < 9 * found.error[0]


@given(st.integers(1, 30), st.integers(2, 40), st.floats(0, 1), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_its_estimate_and_stays_within_what_a_score_can_be(
    people: int, classes: int, right: float, seed: int
) -> None:
    person, labels, predictions = answers(people, seed, right, classes)
    nll = np.random.default_rng(seed).random(len(labels))
    subsets = {"last": (classes - 1,), "all": tuple(range(classes))}
    a, b = (
        bootstrap.of_run(person, labels, said, nll, classes=classes, subsets=subsets) for said in (predictions, labels)
    )
    for scores, lowest in ((a, 0), (b, 0), (bootstrap.difference([a], [b]), -1)):
        found = bootstrap.replicate(scores, 40, seed)
        low, high = bootstrap.interval(found)
        assert (low <= found.estimate).all()
        assert (found.estimate <= high).all()
        assert found.estimate == pytest.approx(bootstrap.estimate(scores))
        bounded = np.array(scores.names) != "nll"
        assert (low[bounded] >= lowest).all()
        assert (high[bounded] <= 1).all()
        assert lowest < 0 or low[~bounded] >= 0


@pytest.mark.parametrize("photos", [20, 60, 400])
def test_a_class_without_hits_may_have_some_in_as_many_photos_again_and_one_without_misses_too(photos: int) -> None:
    """At p = 2 / n one sample of n photos in eight has no hit: the interval reaches that far. A hit counts twice in F1."""
    labels, number = np.arange(2 * photos) % 2, np.arange(2 * photos)
    scores = bootstrap.of_run(number, labels, np.zeros(2 * photos, int), classes=2)
    found = bootstrap.replicate(bootstrap.pick(scores, ("f1_1",)), 2000, 0)
    low, high = bootstrap.interval(found)
    assert (found.estimate[0], low[0]) == (0, 0)
    assert high == pytest.approx([2 * 2 / photos], abs=1 / photos)
    all_right = bootstrap.pick(bootstrap.of_run(number, labels, labels, classes=2), ("f1_1", "accuracy"))
    low, high = bootstrap.interval(bootstrap.replicate(all_right, 2000, 0))
    assert high.tolist() == [1, 1]
    assert low == pytest.approx(
        [1 - 2 / (2 * photos)] * 2, abs=0.5 / photos
    )  # a miss costs both one in twice the photos


def test_of_a_class_that_nobody_shows_anything_is_possible() -> None:
    labels = np.arange(200) % 2
    low, high = bootstrap.interval(
        bootstrap.replicate(
            bootstrap.pick(bootstrap.of_run(np.arange(200), labels, labels, classes=3), ("f1_2",)), 500, 0
        )
    )
    assert (low[0], high[0]) == (0, 1)


@pytest.mark.parametrize("groups", range(1, 7))
def test_of_fewer_than_five_groups_an_interval_is_all_that_a_score_can_be(groups: int) -> None:
    group, labels = np.repeat(np.arange(groups), 4), np.tile([0, 1, 1, 2], groups)
    predictions = np.where(np.tile([True, True, True, False], groups), labels, 0)
    own = bootstrap.of_run(group, labels, predictions, np.full(len(labels), 0.5), classes=3)
    scores = bootstrap.pick(own, ("macro_f1", "accuracy", "f1_2", "nll"))
    low, high = bootstrap.interval(bootstrap.replicate(scores, 200, 0))
    few = groups < bootstrap.FEWEST_PEOPLE
    assert (low.tolist() == [0, 0, 0, 0]) == few
    assert (high.tolist() == [1, 1, 1, np.inf]) == few
    assert (bootstrap.macro_f1_interval(group, labels, predictions, 200, 0, 3) == (0, 1)) == few


@given(st.integers(3, 30), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_order_of_photos_and_groups_does_not_matter(people: int, seed: int) -> None:
    """But for which replicates are drawn: photos in another order change nothing, groups in another order the draws alone."""
    person, labels, predictions = answers(people, seed)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(len(person)), rng.permutation(people)
    found = bootstrap.replicate(scored(person, labels, predictions), 50, 0)
    mixed = bootstrap.replicate(scored(person[order], labels[order], predictions[order]), 50, 0)
    assert np.stack(bootstrap.interval(mixed)) == pytest.approx(np.stack(bootstrap.interval(found)), abs=1e-5)
    renamed = bootstrap.replicate(scored(names[person], labels, predictions), 50, 0)
    assert (renamed.estimate, renamed.error) == (
        pytest.approx(found.estimate, abs=1e-6),
        pytest.approx(found.error, abs=1e-6),
    )


def test_widths_fall_with_the_root_of_the_groups_and_pseudo_groups_lose_weight() -> None:
    """Every class has many hits with 400 people: there the intervals are those of a bootstrap-t without pseudo-groups."""
    widths = []
    for people in (400, 1600):
        scores = scored(*answers(people, 5, right=0.7))
        low, high = bootstrap.interval(bootstrap.replicate(scores, 2000, 0))
        plain_low, plain_high = bootstrap.interval(bootstrap.replicate(plain(scores), 2000, 0))
        bounded = np.array(scores.names) != "nll"
        assert low[bounded] == pytest.approx(plain_low[bounded], abs=0.08 * (high - low).max())
        assert high[bounded] == pytest.approx(plain_high[bounded], abs=0.08 * (high - low).max())
        widths.append((high - low)[bounded])
    assert np.mean(widths[0] / widths[1]) == pytest.approx(2, rel=0.07)


@given(st.integers(1, 40), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_units_hold_all_people_once_and_few_people_stay_alone(people: int, units: int) -> None:
    group = np.repeat(np.arange(people), 7)
    found = bootstrap.dealt(group, units)
    assert len(set(found)) == found.max() + 1 <= units
    assert len(set(zip(group, found, strict=True))) == people  # nobody is divided
    photos = np.bincount(found)
    assert photos.max() - photos.min() <= 7
    assert (found is group) == (people <= units)
    assert (found == bootstrap.dealt(group, units)).all()


def test_units_of_people_have_the_standard_error_of_the_people(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("macro_f1", "f1_60plus", "f1_3", "accuracy")
    person, labels, predictions = answers(4000, 3)
    alone = bootstrap.replicate(plain(bootstrap.pick(scored(person, labels, predictions), names)), 1, 0).error
    by_hundreds = []
    for seed in range(60):
        monkeypatch.setattr(bootstrap, "DEAL", (seed, 2))
        unit = bootstrap.dealt(person, 400)
        by_unit = plain(bootstrap.pick(scored(unit, labels, predictions), names))
        by_hundreds.append(bootstrap.replicate(by_unit, 1, 0).error)
    # Each has the noise of 400 squares, 1 / sqrt(800) = 3.5 %; their mean a 60th of its variance.
    assert np.mean(by_hundreds, axis=0) == pytest.approx(alone, rel=0.02)
    assert np.std(by_hundreds, axis=0) / alone == pytest.approx(np.full(4, 0.035), abs=0.015)


def test_many_people_take_no_longer_than_the_most_that_are_drawn() -> None:
    person, labels = np.repeat(np.arange(25_000), 2), np.zeros(50_000, int)
    many = bootstrap.of_run(person, labels, np.arange(50_000) % 2, classes=1000)
    assert (many.numerators.shape, many.groups) == ((8333, 1002), 25_000)
    few = bootstrap.of_run(person[:20_000], labels[:20_000], labels[:20_000], classes=2)
    assert (few.numerators.shape, few.groups) == ((10_000, 4), 10_000)


def test_groups_per_class_counts_each_group_once() -> None:
    person = bootstrap.numbered(np.array(["b", "b", "a", "c", "c"]))
    assert person.tolist() == [1, 1, 0, 2, 2]
    assert bootstrap.groups_per_class(person, np.array([0, 0, 0, 1, 0]), 3).tolist() == [3, 1, 0]


@pytest.mark.slow
def test_intervals_of_small_samples_cover_the_truth() -> None:
    from bench.intervals import simulate

    found = simulate(132, 300, 500, 1)
    assert 0.90 < found["coverage_95"]["macro_f1 bootstrap_t over people"]["share"] < 0.98
    assert found["coverage_95"]["macro_f1 percentile over photos"]["share"] < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["132", "132_fair", "132_poor"])
def test_intervals_cover_the_truth_where_a_rare_class_is_poorly_learned(cell: str) -> None:
    from bench.intervals import CELLS, coverage

    found = coverage(CELLS[cell], range(300), 500)["scores"]
    assert found["macro_f1"]["covered"]["low"] < 0.98
    assert all(score["covered"]["high"] > 0.93 for score in found.values())
