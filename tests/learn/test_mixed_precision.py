"""Under mixed precision the backbone alone computes in few bits: logits, and a regressed number, are float32."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import CONTEST
from stages.learn import frozen_features, loader, model, objective, predict, validation
from stages.learn.learner import Learner, start
from stages.learn.model import Classifier
from stages.learn.step import step
from tests.conftest import small
from tests.learn.test_merged_batch_norm import trained

HEADS = [
    {},
    {"model": {"head": "mlp", "dropout": 0.2}},
    {"loss": "ldam"},
    {"targets": "factored"},
    {"targets": "factored", "model": {"head": "mlp"}, "loss": "ldam"},
]
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(autouse=True)
def any_precision() -> Iterator[None]:
    """accelerate keeps one precision for the whole process, whose other tests have theirs."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def on_features(**changes: Any) -> Classifier:
    """The head of these params on a backbone of one layer, so that thousands of photos take a moment."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 32))
    return Classifier(model.architecture(small(**changes, regression={"weight": 0.1}), CONTEST), backbone, 32).eval()


def ties(net: Classifier, raw: Tensor) -> int:
    """Photos whose two largest logits, of an axis where there is one softmax an axis, are equal."""
    found = 0
    for place in net.architecture.factors or (slice(None),):
        largest = raw[:, place].topk(2).values
        found += int((largest[:, 0] == largest[:, 1]).sum())
    return found


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("changes", HEADS, ids=str)
def test_no_photo_has_two_top_classes_where_float32_has_none(changes: dict[str, Any], half: str) -> None:
    net, photos = on_features(**changes), torch.randn(20_000, 3, 4, 4)
    with torch.inference_mode():
        exact = net(photos)[0]
        with torch.autocast("cpu", HALVES[half]):
            raw = net(photos)[0]
    assert ties(net, exact) == 0
    assert ties(net, exact.to(HALVES[half])) > 0  # so it was, with the head in few bits
    assert ties(net, raw) == 0
    assert 0 < float((raw - exact).abs().max()) < 0.05  # the backbone's own rounding


@pytest.mark.parametrize("changes", HEADS, ids=str)
def test_all_after_the_backbone_is_what_float32_makes_of_its_features(changes: dict[str, Any]) -> None:
    net, photos = on_features(**changes), torch.randn(50, 3, 4, 4)
    assert net.regression is not None
    for enabled in (False, True):  # without mixed precision, bit by bit what it is anyway
        with torch.inference_mode():
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                pooled, (raw, number) = net.backbone(photos), net(photos)
            features = net.body(pooled.float())
            assert torch.equal(raw, net.head(features))
            assert torch.equal(number, net.regression(features).squeeze(1))


def learner(precision: str) -> Learner:
    params = small(train={"mixed_precision": precision, "ema_decay": 0.9}, augment={"pipeline": "none"})
    return start(params, open_fold(params, 0), 0, 0.01, predict.accelerator(params), SILENT)


def few_bits(values: Tensor) -> bool:
    return torch.equal(values, values.bfloat16().float())


def test_training_and_validation_see_float32_logits(project: object) -> None:
    made = learner("bf16")
    plain = objective.make(made.params, CONTEST, made.data.class_counts)
    seen: list[Tensor] = []

    def goal(raw: Tensor, *rest: Any) -> dict[str, Tensor]:
        seen.append(raw.detach())
        return plain(raw, *rest)

    order = loader.epoch_order(made.params, made.data, 0, 0)
    batch = next(iter(loader.training(made.params, made.data, order, made.augment, loader.Place(0, 0))))
    step(made, goal, batch, 0.01, 1)
    validation.validate(made, goal)
    assert [len(raw) for raw in seen] == [len(batch.which), len(made.data.val)]
    assert [raw.dtype for raw in seen] == [torch.float32] * 2
    assert not any(few_bits(raw) for raw in seen)
    head = made.bare.head.weight.grad
    assert head is not None
    assert head.dtype == torch.float32
    assert not few_bits(head)


@pytest.mark.parametrize("changes", HEADS, ids=str)
def test_views_are_predicted_with_float32_logits(changes: dict[str, Any]) -> None:
    net, names = trained(**changes), ("identity", "hflip")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 36, 3), np.uint8)
    asked = predict.Asked(CONTEST, pixels, np.arange(len(pixels)), names)
    made: list[Tensor] = []
    net.head.register_forward_hook(lambda module, taken, output: made.append(output))
    found = predict.of_views(net, asked, small(**changes, train={"mixed_precision": "bf16"}))
    assert found.shape == (2, 40, 18)
    assert made
    assert all(raw.dtype == torch.float32 and not few_bits(raw) for raw in made)


def test_screens_features_and_heads_are_float32_whatever_training_is(project: object) -> None:
    net = trained()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 36, 36, 3), np.uint8)

    def features(precision: str) -> np.ndarray:
        AcceleratorState._reset_state()
        params = small(train={"mixed_precision": precision})
        device = predict.accelerator(params).device
        return frozen_features.of_backbones([net], pixels, ("identity",), params, device, SILENT).values.numpy()

    found = features("bf16")
    assert not few_bits(torch.from_numpy(found))
    frozen_features.paths.SCREEN_FEATURES.unlink()
    assert np.array_equal(found, features("none"))
