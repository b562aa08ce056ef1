"""Steps captured as CUDA graphs are the steps that would have been taken kernel by kernel.

Without a GPU a recorder that computes again what it was given stands for the graph: all but the graph itself is then real.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import captured_step, fit, predict
from stages.learn.captured_step import Capture, Record
from stages.learn.learner import Learner, start
from stages.learn.progress import Progress
from tests.conftest import small

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"model": {"dropout": 0.3, "drop_path": 0.2, "head": "mlp"}},
    "cutmix": {"augment": {"cutmix": 0.5, "mixup": 0.2}},
    "factored": {"targets": "factored", "regression": {"weight": 0.5}},
    "frozen": {"model": {"freeze_epochs": 1}, "optimizer": {"clip_grad": 1.0}},
    "ema": {"train": {"ema_decay": 0.9}, "loss": "ldam"},
    "sgd": {"optimizer": {"name": "sgd"}, "loss": "weighted_ce", "sampler": "weighted"},
}


def again(model: nn.Module) -> Record:
    """Stands for a graph: recording changes nothing, and a replay writes its gradients where the recorded ones lay."""

    def record(work: Callable[[], None]) -> Callable[[], None]:
        kept = [buffer.clone() for buffer in model.buffers()]
        work()
        with torch.inference_mode():
            for buffer, before in zip(model.buffers(), kept, strict=True):
                # Unseen by autograd, as a recording is; one that validation made it does not see in any case.
                (buffer if buffer.is_inference() else buffer.data).copy_(before)
        own = [(parameter, parameter.grad) for parameter in model.parameters() if parameter.grad is not None]

        def replay() -> None:
            work()
            for parameter, gradient in own:
                assert parameter.grad is not None
                gradient.copy_(parameter.grad)

        return replay

    return record


def as_it_was(model: nn.Module) -> Record:
    """`again`, but a replay computes by the attributes that the model had when it was recorded, as a graph does."""

    def record(work: Callable[[], None]) -> Callable[[], None]:
        head = model.head
        passes, replay = head.passes, again(model)(work)

        def replayed() -> None:
            now, head.passes = head.passes, passes
            replay()
            head.passes = now

        return replayed

    return record


def made(changes: dict[str, Any], **train: Any) -> Learner:
    changed = dict(changes)
    train = {"epochs": 2, "batch_size": 16, **train, **changed.pop("train", {})}
    params = small(train=train, **changed)
    return start(params, open_fold(params, 0), 0, 0.01, predict.accelerator(params), SILENT)


def trained(learner: Learner) -> Progress:
    return fit.fit(learner)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_captured_training_comes_to_the_same_bytes(project: Path, setting: str) -> None:
    plain, captured = made(SETTINGS[setting]), made(SETTINGS[setting])
    assert plain.captured is None  # on a CPU
    captured.captured = Capture(again(captured.bare))
    expected, found = trained(plain), trained(captured)
    assert captured.captured.graphs
    assert captured.captured.why == ""
    assert max(captured.captured.seen.values()) == captured_step.FIRST + 1  # each size was recorded once
    for name, value in expected.selected_state.items():
        assert torch.equal(value, found.selected_state[name]), name
    assert [row["train_loss"] for row in expected.history] == [row["train_loss"] for row in found.history]


def test_each_size_of_batch_has_a_graph_once_it_was_seen_a_few_times(project: Path) -> None:
    learner = made({}, epochs=1)
    learner.captured = Capture(again(learner.bare))
    trained(learner)
    sizes = {key[0][0]: number for key, number in learner.captured.seen.items()}
    assert {key[0][0] for key in learner.captured.graphs} == {
        size for size, number in sizes.items() if number > captured_step.FIRST
    }


def refusing(error: Exception) -> Record:
    def refuses(work: Callable[[], None]) -> Callable[[], None]:
        raise error

    return refuses


def test_without_memory_for_a_graph_steps_are_taken_kernel_by_kernel(project: Path) -> None:
    plain, captured = made({}), made({})
    captured.captured = Capture(refusing(torch.OutOfMemoryError("CUDA out of memory")))
    expected, found = trained(plain), trained(captured)
    assert captured.captured.why == "memory ran out"
    for name, value in expected.selected_state.items():
        assert torch.equal(value, found.selected_state[name]), name


def test_a_lack_of_memory_that_the_end_of_a_recording_fails_over_is_none_of_the_models(project: Path) -> None:
    def refuses(work: Callable[[], None]) -> Callable[[], None]:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("capture was invalidated")

    learner = made({})
    learner.captured = Capture(refuses)
    trained(learner)
    assert learner.captured.why == "memory ran out"


def test_a_recording_that_breaks_off_is_one_line_that_names_the_key(project: Path) -> None:
    learner = made({})
    learner.captured = Capture(refusing(RuntimeError("operation not permitted when\n stream is capturing")))
    line = r"train.cuda_graph: steps of test_resnet cannot be recorded \(operation not permitted when stream is capturing\)"
    with pytest.raises(UserError, match=line):
        trained(learner)


def test_weights_that_were_moved_in_memory_are_recorded_anew_and_an_optimizer_that_always_moves_them_ends_it() -> None:
    net = nn.Linear(3, 2)
    capture = Capture(again(net))
    photos = torch.ones(4, 3)

    def graph() -> Any:
        return captured_step.of_batch(capture, net, photos, lambda given: (net(given), None))

    assert [graph() for _ in range(captured_step.FIRST)] == [None] * captured_step.FIRST
    first = graph()
    assert graph() is first
    net.weight.data = net.weight.data.clone()
    assert graph() is not first
    for _ in range(captured_step.MOST):
        net.weight.data = net.weight.data.clone()
        graph()
    assert "in another place" in capture.why
    assert graph() is None


class Replacing(nn.Module):
    """Replaces its buffer in each pass of training, or of validation, as a replay would not."""

    def __init__(self, net: nn.Module, training: bool) -> None:
        super().__init__()
        self.net, self.when = net, training
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        if self.training == self.when:
            self.passes = self.passes + 1
        found: Tensor = self.net(features * (1 + 0.1 * self.passes))
        return found


@pytest.mark.parametrize("training", [True, False])
def test_a_model_that_replaces_a_buffer_learns_the_same_as_kernel_by_kernel(project: Path, training: bool) -> None:
    plain, captured = made({}), made({})
    for learner in (plain, captured):
        learner.bare.head = Replacing(learner.bare.head, training)
    captured.captured = Capture(again(captured.bare))
    expected, found = trained(plain), trained(captured)
    assert captured.captured.why == ("the model changes its buffer `passes` in each pass" if training else "")
    if not training:  # recorded in the first epoch, and anew in the second
        assert max(captured.captured.seen.values()) == captured_step.FIRST + 2
    assert captured.bare.head.passes == plain.bare.head.passes
    assert captured.bare.head.passes > 0
    for name, value in expected.selected_state.items():
        assert torch.equal(value, found.selected_state[name]), name


class Counting(nn.Module):
    """Counts its passes of training, or of validation, in an attribute, and computes by it."""

    def __init__(self, net: nn.Module, training: bool) -> None:
        super().__init__()
        self.net, self.when, self.passes = net, training, 0

    def forward(self, features: Tensor) -> Tensor:
        self.passes += self.training == self.when
        found: Tensor = self.net(features * (1 + 0.1 * self.passes))
        return found


@pytest.mark.parametrize("training", [True, False])
def test_a_model_that_computes_by_what_its_python_counts_learns_the_same(project: Path, training: bool) -> None:
    plain, captured = made({}), made({})
    for learner in (plain, captured):
        learner.bare.head = Counting(learner.bare.head, training)
    captured.captured = Capture(as_it_was(captured.bare))
    expected, found = trained(plain), trained(captured)
    assert captured.captured.why == ("the model changes its attribute `passes` in each pass" if training else "")
    assert captured.bare.head.passes == plain.bare.head.passes > 0
    for name, value in expected.selected_state.items():
        assert torch.equal(value, found.selected_state[name]), name


def test_a_buffer_that_validation_replaced_has_its_steps_recorded_anew() -> None:
    net = nn.BatchNorm1d(3)
    capture = Capture(again(net))
    photos = torch.ones(4, 3)

    def graph() -> Any:
        return captured_step.of_batch(capture, net, photos, lambda given: (net(given), None))

    first = [graph() for _ in range(captured_step.FIRST + 1)][-1]
    assert first is not None
    net.running_mean = torch.ones(3)
    capture.look(net)
    assert graph() is not first


def test_a_model_that_every_validation_changes_is_trained_kernel_by_kernel_after_some_and_told_so() -> None:
    net = nn.BatchNorm1d(3)
    capture = Capture(again(net))
    for validations in range(captured_step.FIRST + captured_step.MOST + 1):
        net.validations = validations
        capture.look(net)
        captured_step.of_batch(capture, net, torch.ones(4, 3), lambda given: (net(given), None))
    assert capture.why == "weights lie in another place, or the model holds something else, again and again"


def test_graphs_share_memory_and_one_recorded_after_all_others_have_gone_has_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch records none in memory that all graphs have left and something else has not."""

    class Graph:
        def replay(self) -> None:
            pass

    pools, used = iter(range(9)), list[int]()

    @contextmanager
    def recording(graph: Graph, pool: int, capture_error_mode: str) -> Iterator[None]:
        used.append(pool)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    record = captured_step.on_gpu()
    replays = [record(lambda: None) for _ in range(2)]
    del replays[0]
    replays.append(record(lambda: None))
    replays.clear()
    replays.append(record(lambda: None))
    assert used == [0, 0, 0, 1]


def test_a_model_of_ones_own_a_compiled_one_several_processes_and_a_cpu_are_left_alone(project: Path) -> None:
    assert captured_step.wanted(small())
    assert not captured_step.wanted(small(train={"cuda_graph": False}))
    assert not captured_step.wanted(small(train={"compile": True}))
    own = {"models": "mine.py", "losses": "plugins/none"}
    assert not captured_step.wanted(small(plugins=own))
    assert captured_step.wanted(small(plugins=own, train={"cuda_graph": True}))
    assert captured_step.start(small(), torch.device("cpu"), 1) is None
    assert captured_step.start(small(), torch.device("cuda"), 2) is None


@pytest.mark.gpu
@pytest.mark.parametrize("setting", SETTINGS)
def test_on_a_gpu_graphs_agree_with_kernels_one_by_one(project: Path, setting: str) -> None:
    exact = {"deterministic": True}
    plain, captured = made(SETTINGS[setting], **exact), made(SETTINGS[setting], **exact)
    plain.captured = None
    expected, found = trained(plain), trained(captured)
    assert captured.captured is not None
    assert captured.captured.graphs
    for row, other in zip(expected.history, found.history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    for name, value in expected.selected_state.items():
        assert torch.allclose(value.float(), found.selected_state[name].float(), atol=1e-3, rtol=1e-2), name


@pytest.fixture
def any_precision() -> Iterator[None]:
    """accelerate keeps the precision that a process had first."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.usefixtures("any_precision")
def test_on_a_gpu_graphs_train_in_mixed_precision(project: Path, precision: str) -> None:
    learner = made({}, mixed_precision=precision)
    found = trained(learner)
    assert learner.captured is not None
    assert learner.captured.graphs
    assert all(torch.isfinite(value).all() for value in found.selected_state.values())


class Waiting(nn.Module):
    """Reads a number from the GPU in the middle of its pass, which no graph can hold."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        scale = 1.0 + 0.0 * float(photos.mean())
        found: tuple[Tensor, Tensor | None] = self.net(photos * scale)
        return found


@pytest.mark.gpu
def test_on_a_gpu_a_model_that_waits_for_it_is_trained_kernel_by_kernel(project: Path) -> None:
    learner = made({"model": {"dropout": 0.3}})
    learner.model = Waiting(learner.model)  # type: ignore[assignment]
    found = trained(learner)
    assert learner.captured is not None
    assert learner.captured.why == "a part of the model waits for the GPU"
    assert len(found.history) == 2


@pytest.mark.gpu
def test_on_a_gpu_a_training_goes_on_with_its_random_numbers_where_a_recording_breaks_off(project: Path) -> None:
    plain, captured = (made({"model": {"dropout": 0.3}}, deterministic=True) for _ in range(2))
    plain.captured = None
    assert captured.captured is not None
    recorded = captured.captured.record

    def breaks_off(work: Callable[[], None]) -> Callable[[], Any]:
        def without_memory() -> None:
            work()
            raise torch.OutOfMemoryError("CUDA out of memory")

        return recorded(without_memory)

    captured.captured.record = breaks_off
    expected, found = trained(plain), trained(captured)
    assert captured.captured.why == "memory ran out"
    for name, value in expected.selected_state.items():
        assert torch.equal(value, found.selected_state[name]), name


@pytest.mark.gpu
def test_on_a_gpu_a_model_that_leaves_out_layers_by_the_cpus_dice_learns_the_same(project: Path) -> None:
    plain, captured = made({}, deterministic=True), made({}, deterministic=True)
    plain.captured = None
    for learner in (plain, captured):
        learner.bare.head = LeftOut(learner.bare.head)
    expected, found = trained(plain), trained(captured)
    assert captured.captured is not None
    assert captured.captured.why == "a part of the model draws random numbers on the CPU"
    for name, value in expected.selected_state.items():
        assert torch.equal(value, found.selected_state[name]), name


class LeftOut(nn.Module):
    """Half of the time a layer of zeros."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.net(features) * float(torch.rand(()) < 0.5)
        return found


@pytest.mark.gpu
def test_on_a_gpu_graphs_are_recorded_after_all_others_have_gone() -> None:
    torch._C._cuda_clearCublasWorkspaces()  # so that it comes to lie where the first is recorded
    weights, found, record = torch.rand(256, 256, device="cuda"), list[Tensor](), captured_step.on_gpu()
    for _ in range(2):
        replay = record(lambda: found.append(weights @ weights))
        replay()
        assert torch.allclose(found.pop(), weights @ weights, rtol=1e-2)
        del replay
