import pytest

from stages.learn import short_training
from tests.conftest import small


def test_a_short_training_is_a_full_one_in_small() -> None:
    params = small(
        train={"epochs": 20, "select": "best_f1", "repeats": 3, "patience": 2},
        schedule={"warmup_epochs": 4.0},
        model={"freeze_epochs": 3},
        budget={"minutes": 5},
    )
    own = short_training.shortened(params, 0.25, 5)
    assert own.train.epochs == 5
    assert own.schedule.warmup_epochs == 1.0
    assert own.model.freeze_epochs == 1
    assert (own.train.select, own.train.repeats, own.train.patience, own.budget.minutes) == ("last", 1, 0, 0)
    assert short_training.shortened(params, 1.0, 20).schedule == params.schedule


def test_inner_models_are_short_and_ask_for_probabilities_whatever_the_training_minimises() -> None:
    params = small(
        loss="f1", sampler="weighted", train={"epochs": 9, "repeats": 3}, label_noise={"action": "drop", "folds": 3}
    )
    own = short_training.inner(params)
    assert (own.loss, own.sampler, own.train.epochs, own.train.repeats) == ("ce", "none", 9, 1)
    assert own.label_noise.is_off
    assert short_training.inner(small(label_noise={"action": "drop", "epochs": 7})).train.epochs == 7
    assert short_training.epochs_in_turn(params) == (9, 9, 9, 9, 9, 9)
    assert short_training.inner_cost(params) == pytest.approx(2 / 3)  # of the photos
    short = small(train={"epochs": 8}, label_noise={"action": "drop", "epochs": 2})
    assert short_training.inner_cost(short) == pytest.approx(1 / 2 * 2 / 8)


def test_without_label_noise_there_is_no_inner_model() -> None:
    assert short_training.epochs_in_turn(small(train={"epochs": 9, "repeats": 2})) == (9, 9)
    assert short_training.inner_cost(small()) == 0


def test_a_short_training_shortens_inner_models_too() -> None:
    own = short_training.shortened(small(train={"epochs": 20}, label_noise={"action": "drop", "epochs": 8}), 0.25, 5)
    assert own.label_noise.epochs == 2
    auto = short_training.shortened(small(train={"epochs": 20}, label_noise={"action": "drop"}), 0.25, 5)
    assert short_training.inner_epochs(auto) == 5
