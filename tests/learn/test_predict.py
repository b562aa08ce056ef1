from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.task_and_classes import CONTEST, Task
from stages.learn import frozen_features, model, predict, tta_views
from stages.learn.model import Classifier
from tests.conftest import small
from tests.learn.test_merged_batch_norm import trained

NAMES = ("identity", "hflip", "crop_top_left", "rotate_5", "brightness_0.9")
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 36, 36, 3), np.uint8)
POSITIONS = np.array([7, 0, 3, 3, 10, 1, 2, 5])


def asked(task: Task = CONTEST) -> predict.Asked:
    return predict.Asked(task, PIXELS, POSITIONS, NAMES)


def one_view_at_a_time(net: Classifier, positions: np.ndarray) -> np.ndarray:
    """Probabilities [views, n, 18] of the model as trained, by the definition: view, normalise, predict, softmax."""
    mean, std = model.normalisation(net)
    photos = torch.from_numpy(PIXELS[positions])
    found = []
    for name in NAMES:
        seen = tta_views.make(name)(photos, 2).float().permute(0, 3, 1, 2)
        with torch.no_grad():
            raw = net((seen - mean) / std)[0] * net.architecture.scale
        if net.architecture.targets == "joint":
            found.append(raw.softmax(1).numpy())
        else:
            mask, gender, age = (part.softmax(1).numpy() for part in raw.split([3, 2, 3], 1))
            found.append(np.einsum("na,nb,nc->nabc", mask, gender, age).reshape(-1, 18))
    return np.stack(found)


@pytest.mark.parametrize("changes", [{}, {"targets": "factored"}, {"loss": "ldam"}])
@pytest.mark.parametrize("batch", [3, None])
def test_views_made_together_equal_one_view_at_a_time(changes: dict[str, object], batch: int | None) -> None:
    net = trained(**changes)
    found = predict.of_views(net, asked(), small(**changes), batch)
    assert found.dtype == np.float32
    assert found == pytest.approx(one_view_at_a_time(net, POSITIONS), abs=1e-5)


@pytest.fixture
def weights(tmp_path: Path) -> list[Path]:
    """Files of three models, the last of another architecture."""
    made = [trained(seed=0), trained(seed=1), trained(seed=2, model={"head": "mlp"})]
    for number, net in enumerate(made):
        model.save(tmp_path / f"{number}.safetensors", net.architecture, net.state_dict())
    return [tmp_path / f"{number}.safetensors" for number in range(3)]


@pytest.mark.parametrize("room", [1, predict.MODEL_BYTES])
def test_models_together_equal_each_alone(weights: list[Path], room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "MODEL_BYTES", room)
    monkeypatch.setattr(predict, "BATCH", 3)
    reads: list[int] = []

    class Counted:
        def __len__(self) -> int:
            return len(PIXELS)

        def __getitem__(self, which: np.ndarray) -> np.ndarray:
            reads.extend(which)
            return PIXELS[which]

    found = np.full((3, len(NAMES), len(POSITIONS), 18), np.nan, np.float32)
    parts = list(predict.of_weights(weights, replace(asked(), pixels=Counted()), small()))
    for number, places, part in parts:
        found[number, :, places] = part
    for path, own in zip(weights, found, strict=True):
        assert own == pytest.approx(one_view_at_a_time(model.load(path), POSITIONS), abs=1e-5)
    assert len(parts) == predict.count(3, len(POSITIONS), small())
    # Once for all views of the first two models, which fit together or not; once for the third's.
    assert len(reads) == (3 if room == 1 else 2) * len(POSITIONS)


def test_on_a_cpu_batches_shrink_as_photos_grow() -> None:
    def size(side: int, device: str = "cpu") -> int:
        return predict.batch_size(small(image={"height": side, "width": side}), torch.device(device))

    assert [size(side) for side in (32, 64, 128, 512)] == [256, 128, 32, 8]
    assert size(512, "cuda") == 256


@pytest.mark.parametrize("change", [{"face": 0.5}, {"margin": 4}, {"height": 40}])
def test_a_model_predicts_no_photos_of_another_size_or_crop_than_it_was_trained_on(
    weights: list[Path], change: dict[str, float]
) -> None:
    (name, value), params = next(iter(change.items())), small(image=change)
    was = getattr(small().image, name)
    wanted = (
        f"was trained with image.{name}: {was:g}, params.yaml has {value:g}; put that back, or train the folds again"
    )
    with pytest.raises(UserError, match=f"0.safetensors: {wanted}"):
        list(predict.of_weights(weights, asked(), params))
    with pytest.raises(UserError, match=f"the model: {wanted}"):
        predict.of_views(model.load(weights[0]), asked(), params)


def test_a_model_predicts_no_classes_of_another_task(weights: list[Path]) -> None:
    wanted = (
        r"was trained for another task \(age cut at 30, 60 with 3 levels: <30, 30-59, 60\+\) than out/prepare/task.json has "
        r"\(age cut at 30, 58 with 3 levels: <30, 30-57, 58\+\); train the folds again"
    )
    age = replace(CONTEST.axes[2], bins=(30, 58), levels=("<30", "30-57", "58+"))
    other = replace(CONTEST, axes=(*CONTEST.axes[:2], age))
    with pytest.raises(UserError, match=f"0.safetensors: {wanted}"):
        list(predict.of_weights(weights, asked(other), small()))
    with pytest.raises(UserError, match=f"the model: {wanted}"):
        predict.of_views(model.load(weights[0]), asked(other), small())
    # What is no other class is no other task: subsets, the unit of a split, whether a number is regressed.
    same = replace(
        CONTEST, subsets={}, unit="group", axes=(*CONTEST.axes[:2], replace(CONTEST.axes[2], regressed=False))
    )
    predict.of_views(model.load(weights[0]), asked(same), small())


@pytest.mark.parametrize("targets", ["joint", "factored"])
def test_log_probabilities_of_a_few_photos_at_a_time_are_those_of_all(
    targets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = model.architecture(small(targets=targets), CONTEST)
    raw = np.random.default_rng(0).normal(size=(50, shape.outputs)).astype(np.float32)
    whole = predict.log_probabilities(raw, shape)
    monkeypatch.setattr(predict, "AT_ONCE", 7 * CONTEST.classes)
    assert np.array_equal(predict.log_probabilities(raw, shape), whole)
    assert np.exp(whole).sum(1) == pytest.approx(np.ones(50), abs=1e-5)


class Moves(TorchFunctionMode):
    """Notes which tensors are moved to a device, and that none is let go of before it has arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.photos = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.to and args[0].dtype == torch.uint8:
            self.photos += 1
            assert args[0].is_pinned() or not kwargs.get("non_blocking", False)
        return func(*args, **kwargs)


def test_photos_in_memory_that_torch_does_not_keep_have_arrived_before_they_are_let_go_of(weights: list[Path]) -> None:
    """On Apple's GPUs a copy that nobody waits for reads memory that another batch may have by then."""
    net, cpu = model.load(weights[0]), torch.device("cpu")
    with Moves() as moves:
        predict.of_views(net, asked(), small(), device=cpu)
        predicted = moves.photos
        frozen_features._extract([net], PIXELS, NAMES, small(), cpu, SILENT)
    assert 0 < predicted < moves.photos
