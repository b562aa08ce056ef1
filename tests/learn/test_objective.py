"""The objective beside the class loss: age regression."""

import numpy as np
import pytest
import torch

from stages.data.task import CONTEST
from stages.learn import objective
from tests.conftest import small


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
