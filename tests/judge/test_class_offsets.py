from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.data.task_and_classes import CONTEST
from stages.judge import bootstrap, class_offsets, nested_folds
from stages.judge.metrics import log_softmax, macro_f1
from stages.submission import decision_rule
from tests.conftest import small
from tests.tasks import task_of


def drawn(photos: int, classes: int, sharpness: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of equally frequent classes, and log probabilities that are right for them: p(y|x) of a Gaussian mixture."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, photos)
    logits = rng.normal(size=(photos, classes)) * sharpness
    logits[np.arange(photos), labels] += sharpness**2
    return log_softmax(logits), labels


def test_adding_offsets_keeps_log_probabilities_normalised() -> None:
    log_probabilities, _ = drawn(50, 5, 1.0, 0)
    found = class_offsets.adjusted(log_probabilities, np.array([0, 1, -1, 2, 0.5]))
    assert np.exp(found).sum(1) == pytest.approx(np.ones(50))
    assert found - log_probabilities - np.array([0, 1, -1, 2, 0.5]) == pytest.approx(
        np.repeat((found - log_probabilities)[:, :1], 5, axis=1)
    )


def test_offsets_recover_a_known_prior_shift() -> None:
    log_probabilities, labels = drawn(6000, 4, 1.5, 0)
    shift = np.array([1.0, 0.0, -1.5, 0.5])
    wrong = class_offsets.adjusted(log_probabilities, shift)
    offsets = class_offsets.fit_offsets(wrong, labels)
    assert offsets - offsets.mean() == pytest.approx(-(shift - shift.mean()), abs=0.25)
    right, found = (macro_f1(labels, one.argmax(1), 4) for one in (log_probabilities, wrong + offsets))
    assert macro_f1(labels, wrong.argmax(1), 4) < right - 0.05
    assert found == pytest.approx(right, abs=0.01)


def test_logit_adjustment_recovers_tau_1_where_a_model_learnt_the_prior_and_all_classes_count_alike() -> None:
    log_probabilities, labels = drawn(20_000, 3, 1.5, 0)
    prior = np.array([0.7, 0.2, 0.1])
    keep = np.random.default_rng(1).random(len(labels)) < prior[labels] / 0.7
    # Photos drawn by the prior, and the posterior of a model that learnt it: macro recall would want tau = 1 exactly.
    learnt, labels = class_offsets.adjusted(log_probabilities, np.log(prior))[keep], labels[keep]
    offsets = class_offsets.fit_logit_adjustment(learnt, labels)
    counts = np.bincount(labels) + 1.0
    slope = np.polyfit(np.log(counts), offsets, 1)[0]
    assert offsets.mean() == pytest.approx(0)
    # Macro F1 lies between accuracy (tau 0) and macro recall (tau 1).
    assert -1 < slope < 0
    assert macro_f1(labels, (learnt + offsets).argmax(1), 3) > macro_f1(labels, learnt.argmax(1), 3)
    assert offsets == pytest.approx(slope * (np.log(counts) - np.log(counts).mean()))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 12), st.integers(0, 10**6))
def test_the_scores_along_one_offset_are_those_of_scikit_learn(classes: int, photos: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, rival = rng.integers(0, classes, photos), rng.integers(1, classes, photos)
    order = rng.permutation(photos)[: rng.integers(0, photos + 1)]
    found = class_offsets._scores_as_photos_turn(rival, labels, order, 0, classes)
    assert len(found) == len(order) + 1
    for turned in range(len(order) + 1):
        predicted = rival.copy()
        predicted[order[:turned]] = 0
        assert found[turned] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(5, 60), st.integers(0, 10**6))
def test_fitted_offsets_are_never_worse_where_they_were_fitted_and_stay_in_bounds(
    classes: int, photos: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    log_probabilities, labels = log_softmax(rng.normal(size=(photos, classes))), rng.integers(0, classes, photos)
    for fit in class_offsets.RULES.values():
        offsets = fit(log_probabilities, labels)
        assert macro_f1(labels, (log_probabilities + offsets).argmax(1), classes) >= macro_f1(
            labels, log_probabilities.argmax(1), classes
        )
    offsets = class_offsets.fit_offsets(log_probabilities, labels)
    assert np.abs(offsets).max() <= class_offsets.LIMIT
    assert (offsets[np.bincount(labels, minlength=classes) == 0] == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 10**6))
def test_the_leading_classes_are_followed_through_every_change(classes: int, photos: int, seed: int) -> None:
    """Small whole numbers: many are equal, and the lower class leads as argmax has it."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 3, (photos, classes)).astype(float)
    leading = class_offsets._Leading.of(values.copy())
    for number in rng.integers(0, classes, 8):
        values[:, number] = rng.integers(-3, 3, photos)
        leading.change(int(number), values[:, number].copy())
        for one in range(classes):
            others = values.copy()
            others[:, one] = -np.inf
            rival, value = leading.rivals(one)
            assert (rival == others.argmax(1)).all()
            assert (value == others.max(1)).all()


def test_offsets_of_many_classes_are_left_out_and_said_to_be() -> None:
    assert list(class_offsets.rules(1_000_000, 18)) == ["logit_adjustment", "offsets"]
    assert list(class_offsets.rules(50_000, 1000)) == ["logit_adjustment"]
    found = judged(0, -3.0) | {"rules": {"logit_adjustment": 0.5}}
    assert decision_rule.in_words(found, "photos").endswith(
        "; offsets class by class are left out: too many photos x classes"
    )
    assert "on photos it was not fitted on" in decision_rule.in_words(found, "photos")


def test_a_gain_that_is_the_same_in_every_sample_is_told_without_an_interval() -> None:
    found = judged(0, -3.0)
    assert "fitted on (95 % interval +" in decision_rule.in_words(found, "people")
    told = decision_rule.in_words(found | {"difference": 0.0, "low": 0.0, "high": 0.0, "offered": False}, "people")
    assert ": +0.0000 macro F1 on people it was not fitted on, +" in told
    assert "interval" not in told


def test_too_few_groups_to_judge_a_rule_leave_argmax() -> None:
    log_probabilities, labels = drawn(40, 18, 2.0, 0)
    found = decision_rule.judge(log_probabilities, labels, np.arange(40) % 2, CONTEST, small()).told
    assert (found["rule"], found["offered"], found["difference"]) == ("argmax", False, 0)
    assert set(found["offsets"]) == {0.0}
    assert decision_rule.in_words(found, "people").startswith("decision: argmax: fewer than 3 people, so no rule")


@pytest.mark.parametrize("lost", ["offered", "offsets", "rule", "difference"])
def test_a_decision_that_lacks_a_part_is_damaged_whatever_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.chdir(tmp_path)
    log_probabilities, labels = drawn(40, 18, 2.0, 0)
    params = small(decision="adjusted")
    found = decision_rule.judge(log_probabilities, labels, np.arange(40) % 2, CONTEST, params).told | {"run": "a"}
    write_json(paths.DECISION, found)
    assert decision_rule.settle(params, CONTEST, SILENT, "a").decision == "argmax"
    del found[lost]
    write_json(paths.DECISION, found)
    with pytest.raises(UserError, match=r"decision.json: is damaged; run `maskcli oof-ensemble` again"):
        decision_rule.settle(params, CONTEST, SILENT, "a")


@pytest.mark.parametrize(("unit", "counts"), [("group", {"groups": 60}), ("photo", {"photos": 60, "groups": 5})])
def test_what_is_counted_is_called_as_the_task_calls_it(unit: str, counts: dict[str, int]) -> None:
    log_probabilities, labels = drawn(60, 5, 2.0, 0)
    found = decision_rule.judge(log_probabilities, labels, np.arange(60), task_of(5, unit), small()).told
    assert {name: found[name] for name in ("people", "groups", "photos") if name in found} == counts
    assert len(found["rule_of_each_group"]) == 5
    assert not any(name.startswith("f1_") for name in found)


def judged(seed: int, shift: float, people: int = 60) -> dict[str, Any]:
    """decide.judge on people x 4 photos whose model shifts one class in three by `shift`; 0: its argmax is best already."""
    log_probabilities, labels = drawn(people * 4, 18, 2.0, seed)
    offsets = np.where(np.arange(18) % 3 == 2, shift, 0.0)
    person = np.repeat(np.arange(people), 4).astype(str)
    shifted = class_offsets.adjusted(log_probabilities, offsets)
    return decision_rule.judge(shifted, labels, person, CONTEST, small(seed=seed)).told


def test_offsets_are_offered_where_a_model_is_shifted_and_the_gain_is_real() -> None:
    found = judged(0, -3.0)
    assert found["offered"]
    assert 0 < found["low"] < found["difference"] < found["high"]


def test_no_gain_is_offered_on_predictions_that_need_none() -> None:
    draws = [judged(seed, 0.0, people=30) for seed in range(12)]
    assert sum(bool(found["offered"]) for found in draws) <= 1
    # Where they are fitted there is always a gain: that is what must not be reported.
    flattering = np.array([found["macro_f1_fitted"] - found["macro_f1_argmax"] for found in draws])
    assert (flattering > -1e-6).all()
    assert flattering.mean() > np.mean([found["difference"] for found in draws]) + 0.01


def test_photos_are_answered_by_offsets_fitted_on_other_groups_as_they_were_judged() -> None:
    log_probabilities, labels = drawn(240, 18, 2.0, 0)
    log_probabilities = class_offsets.adjusted(log_probabilities, np.where(np.arange(18) % 3 == 2, -3.0, 0.0))
    person = np.repeat(np.arange(60), 4).astype(str)
    found = decision_rule.judge(log_probabilities, labels, person, CONTEST, small())
    told, part = found.told, nested_folds.parts(bootstrap.numbered(person), labels, seed=small().seed)
    for number, rule in enumerate(told["rule_of_each_group"]):
        others, own = part != number, part == number
        offsets = class_offsets.RULES[rule](log_probabilities[others], labels[others])
        assert (found.answers[own] == class_offsets.adjusted(log_probabilities[own], offsets).argmax(1)).all()
    assert macro_f1(labels, found.answers, 18) == pytest.approx(told["macro_f1_nested"], abs=1e-12)
    assert told["macro_f1_nested"] < told["macro_f1_fitted"] - 0.01  # what the offsets of all groups would have told
