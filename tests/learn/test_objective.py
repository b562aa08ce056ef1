"""The objective: its classes, by one softmax or one an axis, and beside them the regression of an axis's number."""

import warnings

import numpy as np
import pytest
import torch

from stages.data.task_and_classes import CONTEST
from stages.learn import losses, objective
from tests.conftest import small
from tests.learn.tasks import SIZED
from tests.tasks import task_of


def test_photos_of_unknown_age_have_no_part_in_the_age_loss() -> None:
    goal = objective.make(small(regression={"weight": 2.0}), CONTEST, np.ones(18))
    raw, labels = torch.zeros(3, 18), torch.tensor([0, 1, 2])
    output = torch.tensor([3.0, 9.0, 5.0], requires_grad=True)
    mixed = goal(raw, labels, output, torch.tensor([30.0, np.nan, 70.0]))["age"]
    assert mixed.item() == pytest.approx(2 * (0 + 1.5) / 2)  # |5 - 7| - 0.5, over the two known
    (gradient,) = torch.autograd.grad(mixed, output)
    assert gradient.tolist() == [0, 0, -1]
    none = goal(raw, labels, output, torch.full((3,), np.nan))["age"]
    assert none.item() == 0
    (gradient,) = torch.autograd.grad(none, output)
    assert gradient.tolist() == [0, 0, 0]


def test_a_number_is_learnt_in_units_of_its_axiss_scale_under_its_axiss_name() -> None:
    goal = objective.make(small(regression={"weight": 0.5}), SIZED, np.ones(8))
    found = goal(torch.zeros(2, 8), torch.tensor([0, 1]), torch.tensor([1.0, 1.0]), torch.tensor([200.0, 900.0]))
    assert set(found) == {"class", "width"}
    assert found["width"].item() == pytest.approx(0.5 * (0 + 3.0) / 2)  # 900 is 4.5 units of 200: |1 - 4.5| - 0.5


def test_factored_targets_are_the_sum_of_the_axes_losses_whatever_the_axes() -> None:
    params = small(loss="weighted_ce", targets="factored")
    counts = np.array([9, 1, 4, 2, 7, 7, 3, 5])
    raw, labels = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 4, 6, 7])
    found = objective.make(params, SIZED, counts)(raw, labels, None, torch.zeros(5))["class"]
    site = losses.make("weighted_ce", [10, 6, 14, 8])(raw[:, :4], torch.tensor([0, 1, 2, 3, 3]))
    width = losses.make("weighted_ce", [23, 15])(raw[:, 4:], torch.tensor([0, 1, 0, 0, 1]))
    torch.testing.assert_close(found, site + width)


def test_classes_without_a_training_photo_are_named_once_before_the_first_epoch() -> None:
    counts = np.full(18, 5)
    counts[[2, 17]] = 0
    with pytest.warns(UserWarning, match=r"photo: wear male 60\+, none female 60\+; the loss counts one for each"):
        objective.make(small(), CONTEST, counts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective.make(small(), CONTEST, counts, progress=0.5)  # every epoch makes it anew
        objective.make(small(targets="factored"), CONTEST, counts)  # each level has photos
    counts[CONTEST.parts(np.arange(18))[2] == 2] = 0
    with pytest.warns(UserWarning, match=r"^levels without a training photo: age 60\+; the loss counts"):
        objective.make(small(targets="factored"), CONTEST, counts)
    with pytest.warns(UserWarning, match="photo: .* and 296 more; the loss"):
        objective.make(small(), task_of(317), np.eye(317)[0])
