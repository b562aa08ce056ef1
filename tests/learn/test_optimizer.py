"""Every name that timm's factory offers trains and goes on from a checkpoint bit by bit, or is refused at the start."""

import io
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from stages import lr_find
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import fit, optimizer
from stages.learn.learner import start
from stages.learn.timm_import import load_timm
from stages.params.model_and_training import Optimizer
from tests.conftest import small

load_timm()

from timm.optim import list_optimizers  # noqa: E402

NAMES = list_optimizers()
# Those of bitsandbytes and apex, which are no dependencies, and one that needs second derivatives.
REFUSED = [name for name in NAMES if name.startswith(("bnb", "fused"))] + ["adahessian", "lookahead_adahessian"]
TRAINED = [name for name in NAMES if name not in REFUSED] + [
    f"lookahead_{name}" for name in ("adamw", "sgd", "muon", "kron")
]
STEPS = 8  # lookahead's slow weights move at the sixth


class Net(nn.Module):
    """Parameters of 4, 2 and 1 dimensions, as optimizers tell them apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten())
        self.body, self.head, self.regression = nn.Identity(), nn.Linear(16, 5), None

    def steps(self, made: torch.optim.Optimizer, name: str, first: int, last: int) -> None:
        for number in range(first, last):
            torch.manual_seed(number)
            made.zero_grad()
            loss = nn.functional.cross_entropy(self.head(self.backbone(torch.randn(6, 3, 4, 4))), torch.arange(6) % 5)
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimizer.set_lr(made, 0.003)
            with optimizer.stepping(Optimizer(name=name)):
                made.step()


def begun(name: str) -> tuple[Net, Any]:
    net = Net()
    made = optimizer.make(net, Optimizer(name=name, layer_decay=0.8), 0.003)  # type: ignore[arg-type]
    return net, Accelerator().prepare(made)


@pytest.mark.parametrize("name", TRAINED)
def test_every_optimizer_trains_and_goes_on_from_a_checkpoint_bit_by_bit(name: str) -> None:
    whole, made = begun(name)
    before = {key: value.clone() for key, value in whole.named_parameters()}
    whole.steps(made, name, 0, 2)
    file = io.BytesIO()
    torch.save({"net": whole.state_dict(), "optimizer": made.state_dict()}, file)
    whole.steps(made, name, 2, STEPS)
    for key, value in whole.named_parameters():
        assert torch.isfinite(value).all(), key
        assert not torch.equal(value, before[key]), key

    file.seek(0)
    known = torch.load(file, weights_only=True)
    resumed, again = begun(name)
    resumed.load_state_dict(known["net"])
    again.load_state_dict(known["optimizer"])
    resumed.steps(again, name, 2, STEPS)
    for key, value in whole.named_parameters():
        assert torch.equal(value, resumed.get_parameter(key)), key


@pytest.mark.skipif(torch.cuda.is_available(), reason="beside a GPU these may be there")
@pytest.mark.parametrize("name", REFUSED)
def test_those_that_cannot_train_here_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"^params.yaml: optimizer.name: `{name}` (does not run here|needs second)"
    ) as told:
        optimizer.check_name(name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "hint"), [("adamww", "`adamw`"), ("lookahead_adamww", "`lookahead_adamw`"), ("qqq", "see timm")]
)
def test_an_unknown_name_is_told_with_its_like(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=rf"timm has no optimizer `{name}`; .*{hint}"):
        optimizer.check_name(name)


def test_weight_decay_that_counts_from_the_peak_leaves_the_range_test_its_curve(project: object) -> None:
    """adamc's decay is lr^2 / peak: a peak of the test's first, smallest learning rate would blow the weights up."""
    lowest = []
    for name in ("adamw", "adamc"):
        lr_find.run(small(optimizer={"name": name, "weight_decay": 0.5}, lr_find={"steps": 60}), SILENT)
        lowest.append(paths.LR_CURVE.read_text().count("\n"))
    assert lowest[1] >= lowest[0] - 3


def test_plateau_lowers_the_learning_rate_of_the_optimizer_under_lookahead(project: object) -> None:
    params = small(
        optimizer={"name": "lookahead_sgd"},
        schedule={"name": "plateau", "plateau_patience": 0, "warmup_epochs": 0.0},
        train={"epochs": 3},
    )
    learner = start(params, open_fold(params, 0), 0, 1e-9, Accelerator(), SILENT)
    history = fit.fit(learner).history  # too small a step to get better
    assert [row["lr"] for row in history] == pytest.approx([1e-9, 1e-9, 5e-10])
    assert {group["lr"] for group in learner.optimizer.optimizer._base_optimizer.param_groups} == {history[-1]["lr"]}  # type: ignore[attr-defined]
