"""Where memory runs out, a batch is cut in pieces that give the same gradients, or the size that fits is named."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from stages.base import gpu
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.fold_data import FoldData, open_fold
from stages.data.task_and_classes import CONTEST
from stages.learn import loader, objective, resident_pixels
from stages.learn.learner import Learner, start
from stages.learn.loader import Batch
from stages.learn.step import on_device, step
from stages.learn.validation import Validation, validate
from stages.params.schema import Params
from tests.conftest import small


class Small(nn.Module):
    """A model that runs out of memory with more than `most` photos. No batch norm, so that pieces add up exactly."""

    def __init__(self, most: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 18)
        self.most, self.error = most, error
        self.sizes: list[int] = []
        self.seen: list[Tensor] = []  # of each pass the photos' means

    def forward(self, photos: Tensor) -> tuple[Tensor, None]:
        if len(photos) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        self.sizes.append(len(photos))
        self.seen.append(photos.detach().mean((1, 2, 3)))
        return self.head(photos.mean((2, 3))), None


def learner(net: Small, auto_batch: bool) -> Learner:
    params = small(train={"batch_size": 32, "auto_batch": auto_batch})
    made = start(params, open_fold(params, 0), 0, 0.1, Accelerator(), SILENT)
    made.model = net  # type: ignore[assignment]
    made.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return made


def one_batch(made: Learner, photos: int | None = None) -> Batch:
    order = loader.epoch_order(made.params, made.data, 0, 0)[:photos]
    return next(loader.training(made.params, made.data, order, made.augment, loader.Place(0, 0)))


def one_step(made: Learner, photos: int | None = None) -> dict[str, Tensor]:
    goal = objective.make(made.params, CONTEST, np.ones(18))
    return step(made, goal, one_batch(made, photos), 0.1, 1)


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


class Norming(Small):
    """Batch norm after pooling: of one photo, one value a channel."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.norm = nn.BatchNorm1d(18)

    def forward(self, photos: Tensor) -> tuple[Tensor, None]:
        return self.norm(super().forward(photos)[0]), None


def test_a_piece_has_photos_of_the_whole_batch_which_often_stands_class_by_class(project: Path) -> None:
    whole, pieces = Small(10**6), Small(8)
    for net in (whole, pieces):
        one_step(learner(net, auto_batch=True))
    (seen,) = whole.seen
    number = len(pieces.seen)
    assert number == 4
    for place, piece in enumerate(pieces.seen):
        assert torch.equal(piece, seen[place::number])


def test_pieces_for_batch_norm_have_two_photos_or_more(project: Path) -> None:
    net = Norming(3)
    made = learner(net, auto_batch=True)
    made.parts = 4
    one_step(made, 5)
    assert sorted(net.sizes) == [2, 3]
    with pytest.raises(UserError, match="out of memory with a batch of 2 photos; take a smaller model"):
        one_step(learner(Norming(1), auto_batch=True))


@pytest.mark.parametrize(("parts", "photos", "most", "after"), [(16, 15, 8, 16), (4, 6, 1, 8)])
def test_a_batch_of_fewer_photos_than_pieces_is_taken_photo_by_photo(
    project: Path, parts: int, photos: int, most: int, after: int
) -> None:
    net = Small(most)
    made = learner(net, auto_batch=True)
    made.parts = parts
    one_step(made, photos)
    assert net.sizes[-photos:] == [1] * photos
    assert made.parts == after


def test_gradients_of_a_try_that_failed_halfway_are_dropped_and_the_loss_scale_stays(project: Path) -> None:
    """As under fp16, where losses are scaled before backward and gradients are scaled back before the step."""

    def scaled(net: Small) -> Learner:
        made = learner(net, auto_batch=True)
        made.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        made.optimizer = AcceleratedOptimizer(made.optimizer, scaler=made.accelerator.scaler)
        made.parts = 2
        return made

    class FailsOnce(Small):
        def forward(self, photos: Tensor) -> tuple[Tensor, None]:
            self.most = 0 if len(self.sizes) == 1 and self.most else 10**6
            return super().forward(photos)

    whole, once = Small(10**6), FailsOnce(10**6)
    expected, made = scaled(whole), scaled(once)
    one_step(expected)
    one_step(made)
    assert (expected.parts, made.parts) == (2, 4)
    assert torch.allclose(once.head.weight, whole.head.weight, atol=1e-6)
    assert not torch.equal(once.head.weight, Small(1).head.weight)
    assert made.accelerator.scaler.get_scale() == 1024.0
    assert not made.optimizer.step_was_skipped  # type: ignore[attr-defined]


def test_with_several_processes_a_size_is_named_untried_and_pieces_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backward sums gradients over all processes: one that tries again alone would wait for the others for ever."""
    net = Small(8)
    made = learner(net, auto_batch=False)
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda accelerator: 3))
    with pytest.raises(UserError, match=r"train.batch_size: 32 in 3 processes; set 15, and half of it again"):
        one_step(made, 11)
    assert net.sizes == []
    with pytest.raises(UserError, match=r"train.auto_batch: works in one process only; set it to false and lower"):
        learner(net, auto_batch=True)


def test_where_the_optimizers_state_or_the_photos_do_not_fit_one_line_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    made = learner(Small(10**6), auto_batch=True)
    monkeypatch.setattr(made.optimizer, "step", full)
    with pytest.raises(UserError, match="train: out of memory: the optimizer's state does not fit beside the weights"):
        one_step(made)
    monkeypatch.setattr("stages.learn.step.normalise", full)
    with pytest.raises(UserError, match="train: out of memory: the photos of a batch do not fit"):
        one_step(made)


def test_validation_takes_smaller_batches_where_memory_runs_out_and_finds_the_same(project: Path) -> None:
    params = small(train={"batch_size": 32})

    def look(most: int) -> tuple[Validation, Learner, list[int]]:
        made = start(params, open_fold(params, 0), 0, 0.1, Accelerator(), SILENT)
        sizes: list[int] = []

        def full(_: nn.Module, photos: tuple[Tensor]) -> None:
            sizes.append(len(photos[0]))
            if sizes[-1] > most:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

        made.model.register_forward_pre_hook(full)
        return validate(made, objective.make(params, CONTEST, np.ones(18))), made, sizes

    (whole, _, tried), (pieces, made, sizes) = look(10**6), look(9)
    assert max(tried) > 32
    assert max(sizes[-(len(made.data.val) // 9) :]) <= 9
    assert np.allclose(pieces.logits, whole.logits, atol=1e-5)
    assert pieces.val_loss == pytest.approx(whole.val_loss, rel=1e-5)
    sizes.clear()
    validate(made, objective.make(params, CONTEST, np.ones(18)))  # later epochs do not try the large batch again
    assert max(sizes) <= 9
    with pytest.raises(UserError, match="out of memory in validation with one photo"):
        look(0)


def test_mixup_reads_nothing_back_from_the_device(project: Path) -> None:
    """On the meta device there are only shapes: reading a value raises, where a GPU would make the CPU wait."""
    params = small(augment={"mixup": 0.2, "cutmix": 1.0})
    made = start(params, open_fold(params, 0), 0, 0.1, Accelerator(), SILENT)
    batch = one_batch(made)
    expected = on_device(made, batch, 1)
    made.accelerator = SimpleNamespace(device=torch.device("meta"))  # type: ignore[assignment]
    made.mean, made.std = made.mean.to("meta"), made.std.to("meta")
    found = on_device(made, batch, 1)
    assert found.photos.is_meta
    assert found.share == expected.share
    assert expected.partner is not None
    assert found.partner is not None
    assert found.partner.is_meta
    assert expected.partner.tolist() == list(range(len(expected.photos)))[::-1]


def test_batches_are_pinned_where_there_is_a_gpu_and_hold_the_same(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(Small(1), auto_batch=False)

    def batches() -> list[Tensor]:
        batch = one_batch(made)
        views = loader.evaluation(made.data.pixels, made.data.val, made.params.image.margin, 16)
        return [batch.photos, batch.labels, batch.numbers, *views]

    plain, pinned = batches(), []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(gpu, "usable", lambda: True)
    monkeypatch.setattr(Tensor, "pin_memory", pin)
    found = batches()
    assert all(any(tensor is one for one in pinned) for tensor in found)
    assert all(torch.equal(tensor, same) for tensor, same in zip(found, plain, strict=True))


def test_other_errors_are_not_taken_for_a_lack_of_memory(project: Path) -> None:
    made = learner(Small(10**6), auto_batch=True)
    made.model.forward = lambda photos: (_ for _ in ()).throw(RuntimeError("shapes do not fit"))  # type: ignore
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        one_step(made)


class Hungry(torch.autograd.Function):
    """The identity, whose forward or backward asks for more memory than any machine has, for more than `most` photos."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, most: int, backward: bool) -> Tensor:
        ctx.most, ctx.backward_too = most, backward
        if len(values) > most and not backward:
            torch.empty(2**60)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        if len(gradient) > ctx.most and ctx.backward_too:
            torch.empty(2**60)
        return gradient, None, None


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_auto_batch_goes_on_after_an_allocator_itself_has_failed(project: Path, backward: bool) -> None:
    class Real(Small):
        def forward(self, photos: Tensor) -> tuple[Tensor, None]:
            return Hungry.apply(super().forward(photos)[0], 8, backward), None

    whole, pieces = Small(10**6), Real(10**6)
    made = learner(pieces, auto_batch=True)
    one_step(learner(whole, auto_batch=True))
    one_step(made)
    assert made.parts == 4
    assert torch.allclose(pieces.head.weight, whole.head.weight, atol=1e-6)


def of_large_photos(model: str) -> Learner:
    """One batch of 64 photos of 224x224 px, through the loader."""
    params = small(
        train={"batch_size": 64, "auto_batch": True},
        model={"name": model},
        image={"height": 224, "width": 224, "margin": 2},
    )
    data = open_fold(small(), 0)
    pixels = np.zeros((len(data.labels), *params.cache_size, 3), np.uint8)
    data = replace(data, pixels=pixels, train=np.resize(data.train, 64))
    made = start(params, data, 0, 0.01, Accelerator(), SILENT)
    made.data = data  # photos that lie on a GPU are never pinned
    return made


def takes_pieces(made: Learner) -> None:
    """A step that does not fit, then one that begins with the pieces that did."""
    batch = one_batch(made)
    assert batch.photos.shape == (64, 224, 224, 3)
    assert batch.photos.is_pinned() == gpu.usable()
    for seed in range(2):
        parts = step(made, objective.make(made.params, CONTEST, np.ones(18)), batch, 0.01, seed)
        assert np.isfinite(float(parts["class"]))
    assert made.parts > 1


def test_large_photos_are_taken_in_pieces_where_memory_for_all_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test on a GPU does, with photos that are brought to the device and an allocator that fails on a CPU."""

    def placed(params: Params, data: FoldData, device: torch.device) -> FoldData:
        return replace(data, pixels=resident_pixels.brought(np.asarray(data.pixels), device))

    monkeypatch.setattr(resident_pixels, "placed", placed)
    made = of_large_photos("test_resnet")
    assert isinstance(made.data.pixels, np.ndarray)  # of one on the GPU no batch is pinned, as `takes_pieces` asks

    def full(_: nn.Module, words: tuple[Tensor]) -> None:
        if len(words[0]) > 16:
            torch.empty(2**60)

    made.model.register_forward_pre_hook(full)
    takes_pieces(made)
    assert made.parts == 4


@pytest.mark.gpu
def test_a_real_gpu_runs_out_of_memory_and_training_goes_on_in_pieces(project: Path) -> None:
    torch.cuda.set_per_process_memory_fraction(2e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        takes_pieces(of_large_photos("resnet50"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
