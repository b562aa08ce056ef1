"""The batched heads against one head trained alone by plain PyTorch, and each loss against the objective of full training."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stages.data.fold_data import FoldData
from stages.data.task_and_classes import CONTEST, Task
from stages.learn import heads_on_features, losses, lr_schedule, model, objective, predict, samplers
from stages.learn.heads_on_features import Features, Plan, Predicted
from stages.params.schema import Params
from tests.conftest import small
from tests.learn.tasks import MANY, SIZED, TWO

PHOTOS, WIDTH = 70, 6
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CONTEST.classes, PHOTOS)
VALUES = RNG.normal(2.0, 3.0, (2, 2, PHOTOS, WIDTH)).astype(np.float32)  # of two folds' backbones


def folds(labels: np.ndarray = LABELS, task: Task = CONTEST) -> list[FoldData]:
    side = np.arange(PHOTOS) % 3 == 0  # sides of 24 and 46 photos, so that the folds differ in size
    pixels = np.zeros((PHOTOS, 1, 1, 3), np.uint8)
    numbers = np.full(PHOTOS, 40.0)
    return [
        FoldData(task, pixels, labels, labels, numbers, np.flatnonzero(~val), np.flatnonzero(val))
        for val in (side, ~side)
    ]


def plan(params: Params, *names: str, lrs: tuple[float, ...] = (0.01, 0.03), epochs: int = 3) -> Plan:
    return Plan(model.architecture(params, CONTEST), names, lrs, epochs)


def oof(params: Params, chosen: Plan, values: np.ndarray = VALUES, labels: np.ndarray = LABELS) -> Predicted:
    made = folds(labels, chosen.shape.task)
    return heads_on_features.oof(params, Features(torch.from_numpy(values)), made, chosen, lambda: None)


@pytest.mark.parametrize(
    ("task", "targets"), [(CONTEST, "joint"), (CONTEST, "factored"), (SIZED, "factored"), (TWO, "joint")]
)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_each_heads_loss_is_the_objective_of_full_training(loss: str, targets: str, task: Task) -> None:
    params = small(loss=loss, targets=targets, losses={"focal": {"alpha": "balanced"}, "f1": {"ce_mix": 0.3}})
    counts = np.random.default_rng(1).integers(0, 50, (4, task.classes))  # some classes are absent
    counts[0, 1] = 0
    raw = torch.randn(4, 9, task.outputs(targets), generator=torch.Generator().manual_seed(2))
    labels = torch.from_numpy(np.random.default_rng(3).integers(0, task.classes, (4, 9)))
    for progress in (0.0, 0.9):  # 0.9: ldam's weights have begun
        together = heads_on_features.batched_loss(params, task, torch.from_numpy(counts).double(), progress)(
            raw, labels
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            alone = [
                objective.make(params, task, own, progress)(one, which, None, torch.zeros(9))["class"]
                for own, one, which in zip(counts, raw, labels, strict=True)
            ]
        torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.filterwarnings("ignore:classes")
@pytest.mark.parametrize(
    ("loss", "head", "targets"),
    [
        ("ce", "linear", "joint"),
        ("ldam", "linear", "joint"),
        ("weighted_ce", "mlp", "factored"),
        ("f1", "mlp", "joint"),
    ],
)
def test_batched_heads_are_what_a_plain_loop_over_one_head_gives(loss: str, head: str, targets: str) -> None:
    params = small(loss=loss, targets=targets, model={"head": head, "hidden": 5}, train={"batch_size": 10})
    chosen = plan(params, "none", "sqrt")
    together = oof(params, chosen)
    for fold, data in enumerate(folds()):
        for place, sampler in enumerate(chosen.samplers):
            for number, lr in enumerate(chosen.lrs):
                alone = plain_loop(params, chosen, fold, data, sampler, lr)
                nll = -alone[np.arange(len(alone)), data.labels[data.val]]
                np.testing.assert_allclose(together.nll[place, number, data.val], nll, atol=1e-4)
                clear = np.diff(np.sort(alone, axis=1)[:, -2:])[:, 0] > 1e-3
                assert (together.classes[place, number, data.val] == alone.argmax(1))[clear].all()


def plain_loop(params: Params, chosen: Plan, fold: int, data: FoldData, sampler: str, lr: float) -> np.ndarray:
    """Log probabilities [n, 18] of the validation side by one head, trained with nothing but torch.nn and torch.optim."""
    features = torch.from_numpy(VALUES[fold])
    own = features[0, data.train]
    features = (features - own.mean(0)) / own.std(0, correction=0)
    net = plain_head(params, chosen, fold)
    weights = [value for value in net.parameters() if value.ndim == 2]
    biases = [value for value in net.parameters() if value.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.05}, {"params": biases, "weight_decay": 0.0}])
    for epoch in range(chosen.epochs):
        goal = objective.make(params, CONTEST, data.class_counts, epoch / chosen.epochs)
        rng = np.random.default_rng([params.seed, fold, epoch, samplers.SAMPLERS.index(sampler)])
        drawn = data.train[samplers.draw(sampler, data.train_labels[data.train], rng)][:24]
        views = (rng.random(24) < 0.5).astype(int)
        for step in range(3):  # 24 photos, the fewest of a training side, in batches of at most 10
            which, seen = drawn[step * 8 : step * 8 + 8], views[step * 8 : step * 8 + 8]
            raw = net(features[seen, which])
            loss = goal(raw, torch.from_numpy(data.train_labels[which]), None, torch.zeros(8))["class"]
            for group in optimizer.param_groups:
                group["lr"] = lr * lr_schedule.share(heads_on_features.COSINE, epoch + step / 3, chosen.epochs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        raw = net(features[0, data.val]).numpy() * chosen.shape.scale
    return predict.log_probabilities(raw, replace(chosen.shape, scale=1.0))


def plain_head(params: Params, chosen: Plan, fold: int) -> nn.Module:
    """One head of torch.nn layers with the first weights of the batched ones."""
    outputs = chosen.shape.outputs
    widths = [WIDTH, outputs] if params.model.head == "linear" else [WIDTH, params.model.hidden, outputs]
    last = model.Cosine(widths[-2], outputs) if chosen.shape.cosine else nn.Linear(widths[-2], outputs)
    layers = [last] if params.model.head == "linear" else [nn.Linear(*widths[:2]), nn.ReLU(), last]
    linear = [layer for layer in layers if not isinstance(layer, nn.ReLU)]
    for layer, (weight, bias) in zip(
        linear, heads_on_features._initial(widths, chosen.shape.cosine, params.seed, fold), strict=True
    ):
        layer.weight.data = weight.T.clone()
        if bias is not None:
            layer.bias.data = bias[0].clone()
    return nn.Sequential(*layers)


def test_a_folds_heads_learn_nothing_from_the_people_it_validates_on() -> None:
    params = small(train={"batch_size": 10})
    chosen = plan(params, "none", "weighted")
    val, other = folds()[0].val, folds()[1].val
    labels, values = LABELS.copy(), VALUES.copy()
    labels[val] = (labels[val] + 1) % CONTEST.classes
    values[:, 1, val] += 5  # the flipped view, which only training sees
    before, after = oof(params, chosen), oof(params, chosen, values, labels)
    np.testing.assert_array_equal(before.classes[:, :, val], after.classes[:, :, val])
    assert not np.allclose(before.nll[:, :, other], after.nll[:, :, other])


def test_dropout_and_seeds_change_the_heads_and_the_same_seed_does_not() -> None:
    quiet, dropped = small(), small(model={"dropout": 0.5})
    chosen = plan(quiet, "none", epochs=1)
    first = oof(quiet, chosen)
    assert (first.nll == oof(quiet, chosen).nll).all()
    assert not np.allclose(first.nll, oof(small(seed=1), chosen).nll)
    assert not np.allclose(first.nll, oof(dropped, plan(dropped, "none", epochs=1)).nll)


def test_samplers_of_the_same_chances_draw_by_themselves() -> None:
    params = small(train={"batch_size": 10})
    weighted, imbalanced = oof(params, plan(params, "weighted", "imbalanced")).nll
    assert not np.allclose(weighted, imbalanced)


@pytest.mark.filterwarnings("ignore:classes")
def test_of_300_classes_each_photos_class_and_loss_are_kept_in_any_number_of_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Features that hold the class, which linear heads find; class numbers above 255 come out as they are."""
    labels = np.arange(PHOTOS) % 5 * 60 + 59  # 59, 119, ... 299, on both sides
    values = np.tile(np.eye(5, WIDTH, dtype=np.float32)[np.arange(PHOTOS) % 5] * 9, (1, 2, 1, 1))
    params = small(train={"batch_size": 10})
    chosen = Plan(model.architecture(params, MANY), ("none",), (0.1,), 20)
    found = oof(params, chosen, values, labels)
    assert found.classes.dtype == np.uint16
    assert found.nll.shape == (1, 1, PHOTOS)
    assert (found.classes[0, 0] == labels).mean() > 0.95
    monkeypatch.setattr(predict, "AT_ONCE", 3 * MANY.classes)
    again = oof(params, chosen, values, labels)
    np.testing.assert_array_equal(again.classes, found.classes)
    np.testing.assert_allclose(again.nll, found.nll, atol=1e-6)
