"""train.compile, really compiled: slow, because a C++ compiler translates the model."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import fit, learner, model, predict
from stages.learn.around_training import Around
from stages.learn.checkpoint import Keeper
from stages.learn.progress import Progress
from stages.params.schema import Params
from tests.conftest import small

pytestmark = pytest.mark.slow


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
        self.conv, self.norm, self.drop = nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.Dropout(0.2)

    def forward(self, photos: Tensor) -> Tensor:
        return self.drop(self.norm(self.conv(photos)).relu().mean((2, 3)))


@pytest.fixture(autouse=True)
def tiny(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that compiles in seconds."""
    monkeypatch.setattr(model, "build", lambda shape, pretrained=False: model.Classifier(shape, Tiny(), 8))
    torch._dynamo.reset()


def params(compiled: bool, **train: object) -> Params:
    # the 84 photos of the training side in batches of 17 and 16
    return small(train={"compile": compiled, "epochs": 2, "batch_size": 20, **train})


def trained(chosen: Params, keeper: Keeper | None = None, cut_at: int = 0) -> Progress | None:
    """What a training comes to; None if it was interrupted, as asked, after so many steps."""
    started = learner.start(chosen, open_fold(chosen, 0), 0, 0.003, predict.accelerator(chosen), SILENT)
    progress = keeper.load(started, SILENT) if keeper else Progress()
    asked = iter(range(1, 1000))
    try:
        around = Around(keeper=keeper, interrupt=lambda: next(asked) == cut_at)
        return fit.fit(started, around, progress)
    except KeyboardInterrupt:
        return None


def test_a_compiled_model_learns_the_same_under_the_same_names() -> None:
    plain, compiled = trained(params(False)), trained(params(True))
    assert plain is not None
    assert compiled is not None
    assert list(compiled.selected_state) == list(plain.selected_state)
    # Dropout draws other numbers in compiled code, so the two are alike, not equal.
    for one, other in zip(compiled.history, plain.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=0.05)
        assert one["val_nll"] == pytest.approx(other["val_nll"], rel=0.05)


def test_it_is_really_compiled_in_training_and_not_in_validation() -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    trained(params(True))
    assert counters["stats"]["unique_graphs"] == 2  # batches of two sizes


def test_a_compiled_training_that_was_cut_off_goes_on_to_the_same_end() -> None:
    chosen = params(True, ema_decay=0.9)
    whole = trained(chosen)
    assert trained(chosen, Keeper("x", 0, 0, 2, 1e9), cut_at=2) is None
    torch._dynamo.reset()
    gone_on = trained(chosen, Keeper("x", 0, 0, 2, 1e9))
    assert whole is not None
    assert gone_on is not None
    assert np.array_equal(whole.last_logits, gone_on.last_logits)
    for name, value in whole.selected_state.items():
        assert torch.equal(value, gone_on.selected_state[name]), name


def test_copies_are_not_compiled() -> None:
    chosen = params(True)
    started = learner.start(chosen, open_fold(chosen, 0), 0, 0.003, predict.accelerator(chosen), SILENT)
    assert started.bare._compiled_call_impl is not None
    assert copy.deepcopy(started.bare)._compiled_call_impl is None


def test_without_a_compiler_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    with pytest.raises(
        UserError, match=r"params.yaml: train.compile: torch.compile fails \(.*\); install what it needs"
    ):
        trained(params(True))
