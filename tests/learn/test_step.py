"""Where memory runs out, a batch is cut in pieces that give the same gradients, or the size that fits is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from stages.data.fold import open_fold
from stages.errors import UserError
from stages.learn import loader, objective
from stages.learn.learner import Learner, start
from stages.learn.step import out_of_memory, step
from stages.talk import SILENT
from tests.conftest import small


class Small(nn.Module):
    """A model that runs out of memory with more than `most` photos. No batch norm, so that pieces add up exactly."""

    def __init__(self, most: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 18)
        self.most, self.error = most, error
        self.sizes: list[int] = []

    def forward(self, photos: Tensor) -> tuple[Tensor, None]:
        if len(photos) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        self.sizes.append(len(photos))
        return self.head(photos.mean((2, 3))), None


def learner(net: Small, auto_batch: bool) -> Learner:
    params = small(train={"batch_size": 32, "auto_batch": auto_batch})
    made = start(params, open_fold(params, 0), 0, 0.1, Accelerator(), SILENT)
    made.model = net  # type: ignore[assignment]
    made.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return made


def one_step(made: Learner) -> dict[str, Tensor]:
    goal = objective.make(made.params, np.ones(18))
    order = loader.epoch_order(made.params, made.data, 0, 0)
    batch = next(loader.training(made.params, made.data, 0, 0, order, made.augment))
    return step(made, goal, batch, 0.1, 1)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_pieces_give_the_loss_and_the_step_of_the_whole_batch(project: Path, error: type[RuntimeError]) -> None:
    whole, pieces = Small(10**6), Small(8, error)
    made = learner(pieces, auto_batch=True)
    expected, found = one_step(learner(whole, auto_batch=True)), one_step(made)
    assert made.parts == 4
    assert max(pieces.sizes) <= 8
    assert sum(pieces.sizes) == sum(whole.sizes)
    assert float(found["class"]) == pytest.approx(float(expected["class"]), rel=1e-5)
    assert torch.allclose(pieces.head.weight, whole.head.weight, atol=1e-6)
    one_step(made)  # later steps do not try the whole batch again
    assert made.parts == 4


def test_without_auto_batch_the_size_that_fits_is_named_and_no_weight_is_changed(project: Path) -> None:
    net = Small(8)
    made = learner(net, auto_batch=False)
    before = net.head.weight.clone()
    with pytest.raises(
        UserError, match=r"out of memory with train.batch_size: 32; 7 fits: set it, or set train.auto_batch: true"
    ):
        one_step(made)
    assert torch.equal(net.head.weight, before)


def test_a_model_too_large_for_one_photo_is_said_to_be(project: Path) -> None:
    for auto_batch in (True, False):
        with pytest.raises(UserError, match="out of memory with a batch of one photo"):
            one_step(learner(Small(0), auto_batch))


def test_other_errors_are_not_taken_for_a_lack_of_memory(project: Path) -> None:
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    made = learner(Small(10**6), auto_batch=True)
    made.model.forward = lambda photos: (_ for _ in ()).throw(RuntimeError("shapes do not fit"))  # type: ignore
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        one_step(made)


@pytest.mark.gpu
def test_a_real_gpu_runs_out_of_memory_and_training_goes_on_in_pieces(project: Path) -> None:
    params = small(
        train={"batch_size": 64, "auto_batch": True, "epochs": 1},
        model={"name": "resnet50"},
        image={"height": 224, "width": 224},
    )
    torch.cuda.set_per_process_memory_fraction(2e9 / torch.cuda.get_device_properties(0).total_memory)
    made = start(params, open_fold(small(), 0), 0, 0.01, Accelerator(), SILENT)
    photos = torch.zeros(64, 224, 224, 3, dtype=torch.uint8)
    batch = loader.Batch(photos, torch.zeros(64, dtype=torch.int64), torch.zeros(64), np.arange(64))
    step(made, objective.make(params, np.ones(18)), batch, 0.01, 1)
    assert made.parts > 1
