"""A training step's forward and backward pass as CUDA graphs: recorded once for each size of batch, then replayed.

A small model's step is hundreds of kernels of a few microseconds each, and starting them one by one from Python takes longer
than they do: of mobilenetv2_100 at 160x120 px and 64 photos the H200 had an answer in 6 ms and was asked in 20. A graph starts
all of them at once. Loss, clipping, optimizer and moving average stay outside: they may look at anything, and a graph would
go on with what they saw when it was recorded. Source: CUDA programming guide, "CUDA Graphs"; torch.cuda.CUDAGraph.

The kernels are those of a step that is not captured, on the same numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from stages.learn import compiling, held_values
from stages.params.schema import Params

# Steps of a size that are taken one kernel at a time before it is recorded: cuDNN and torch.compile have chosen by then.
FIRST = 2
# Times that a size is recorded anew, where an optimizer moves the weights or validation changes what the model holds, before its
# training gives up.
MOST = 5
Record = Callable[[Callable[[], None]], Callable[[], Any]]  # what is to be recorded -> what replays it


def wanted(params: Params) -> bool:
    """Whether a run's steps are captured where it trains on a GPU, in one process.

    By itself not those of a model of one's own: code of Python that acts otherwise from step to step would be replayed as it
    acted once. Nor those of a compiled model, which nobody has seen recorded.
    """
    asked = params.train.cuda_graph
    return params.plugins.path("models") is None and not params.train.compile if asked == "auto" else asked


@dataclass
class Graph:
    """One size of batch, recorded. Its tensors are the graph's own: each replay reads and writes them where they lie."""

    photos: Tensor  # [n, 3, H, W], normalised
    raw_gradient: Tensor  # [n, outputs]
    regression_gradient: Tensor | None  # [n]
    outputs: Callable[[], tuple[Tensor, Tensor | None]]  # what the last replay of `forward` gave
    forward: Callable[[], Any]
    backward: Callable[[], Any]
    gradients: list[tuple[nn.Parameter, Tensor | None]]  # of each parameter; None: of those that stand still
    places: tuple[int, ...]  # of parameters and buffers in memory


@dataclass
class Capture:
    """What a training has captured so far. `why`: it gave up, because of that; its steps are taken kernel by kernel then."""

    record: Record
    # The model's: to look for them takes as long as to start a graph.
    parameters: list[nn.Parameter] = field(default_factory=list)
    buffers: list[Tensor] = field(default_factory=list)
    held: held_values.Marks = field(default_factory=dict)
    graphs: dict[tuple[Any, ...], Graph] = field(default_factory=dict)
    seen: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    why: str = ""
    told: bool = False

    def look(self, model: nn.Module) -> None:
        """Whatever has been changed since the last look, by validation say: steps are recorded anew, then."""
        held = held_values.marks(model)
        if held_values.changed(self.held, held):
            self.graphs.clear()
        self.parameters, self.buffers, self.held = list(model.parameters()), list(model.buffers()), held

    def give_up(self, why: str) -> None:
        """Let go of all graphs and their memory."""
        self.why = why
        self.graphs.clear()


def start(params: Params, device: torch.device, processes: int) -> Capture | None:
    """For a training on a device, of so many processes; None where its steps are not captured."""
    if device.type != "cuda" or processes > 1 or not wanted(params):
        return None
    return Capture(on_gpu())


def on_gpu() -> Record:
    """Record on the GPU, without computing anything, in memory that all graphs share: one runs at a time."""
    pool: Any = None
    sharing: WeakSet[Any] = WeakSet()

    def record(work: Callable[[], None]) -> Callable[[], Any]:
        nonlocal pool
        # torch fails where one that all graphs have left is recorded in again, while anything lies in it: cuBLAS's own does.
        if not sharing:
            pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # Of this thread alone: meanwhile others pin memory for the batches that come next.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                work()
        except Exception:
            _renew_generator()
            raise
        sharing.add(graph)
        return graph.replay

    return record


def _renew_generator() -> None:
    """Give the GPU's random numbers a state that is not being recorded: the one of a recording that broke off may go on waiting
    for its end, and refuse to be drawn from. Each step seeds it, so nothing is lost.
    """
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(torch.Generator(generator.device).graphsafe_get_state())


def of_batch(capture: Capture, model: nn.Module, photos: Tensor, forward: Callable[[Tensor], Any]) -> Graph | None:
    """The graph for a batch like these photos [n, 3, H, W]; None: take the step kernel by kernel.

    `forward` gives (raw outputs, regression or None) of photos. A size is recorded once it has been seen FIRST times, and
    anew where weights have moved to another place in memory. Raises whatever keeps it from being recorded.
    """
    if capture.why:
        return None
    if not capture.parameters:
        capture.look(model)
    trained = tuple([parameter.requires_grad for parameter in capture.parameters])
    key = (photos.shape, photos.dtype, photos.stride(), hash(trained))
    graph = capture.graphs.get(key)
    if graph is not None and graph.places == _places(capture):
        return graph
    capture.seen[key] += 1
    if capture.seen[key] <= FIRST:
        return None
    if capture.seen[key] > FIRST + MOST:
        capture.give_up("weights lie in another place, or the model holds something else, again and again")
    elif why := _refuses(model, photos, forward):
        capture.give_up(why)
    else:
        capture.look(model)  # its first passes may have added some
        capture.graphs[key] = _recorded(capture, photos, forward)
    return capture.graphs.get(key)


def _refuses(model: nn.Module, photos: Tensor, forward: Callable[[Tensor], Any]) -> str:
    """Why no graph can do what a pass does: it waits for the GPU, changes what the model holds, or draws on the CPU, as a replay
    would not. Empty where none of these. Leaves the model as it was.

    Looked at beforehand: a recording that breaks off leaves torch's random numbers unusable, and a buffer that it made holds
    numbers that were never computed.
    """
    try:
        with (
            held_values.watched(model, photos.device) as change,
            _waiting_is_an_error(photos.device),
            torch.no_grad(),
            compiling.eager_code(),
        ):
            forward(photos)
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return "a part of the model waits for the GPU"
    return change.words


@contextmanager
def _waiting_is_an_error(device: torch.device) -> Iterator[None]:
    """A RuntimeError where anything in here waits for a GPU."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def outputs(graph: Graph, photos: Tensor) -> tuple[Tensor, Tensor | None]:
    """Raw outputs [n, outputs] and regression [n] or None, from which gradients can be asked for, but no further back."""
    graph.photos.copy_(photos)
    graph.forward()
    raw, regression = graph.outputs()
    return raw.detach().requires_grad_(), None if regression is None else regression.detach().requires_grad_()


def backward(graph: Graph, loss: Tensor, raw: Tensor, regression: Tensor | None) -> None:
    """Leave the gradient of a loss of what `outputs` gave in the parameters' grad, in place of what was there."""
    if regression is None or graph.regression_gradient is None:
        (of_raw,) = torch.autograd.grad(loss, [raw])
    else:
        of_raw, of_regression = torch.autograd.grad(loss, [raw, regression])
        graph.regression_gradient.copy_(of_regression)
    graph.raw_gradient.copy_(of_raw)
    graph.backward()
    for parameter, gradient in graph.gradients:
        parameter.grad = gradient


def _recorded(capture: Capture, photos: Tensor, forward: Callable[[Tensor], Any]) -> Graph:
    _forget_gradients(capture)
    own = torch.empty_like(photos)  # in the photos' layout
    own.copy_(photos)
    found: list[tuple[Tensor, Tensor | None]] = []

    def ahead() -> None:
        found[:] = [forward(own)]

    replay_forward = capture.record(ahead)
    raw, regression = found[0]
    of_raw = torch.zeros_like(raw)
    of_regression = None if regression is None else torch.zeros_like(regression)
    given = [of_raw] if of_regression is None else [of_raw, of_regression]

    def back() -> None:
        _forget_gradients(capture)  # so that they come to lie in the graph's memory, which each replay overwrites
        torch.autograd.backward([output for output in found[0] if output is not None], given)

    replay_backward = capture.record(back)
    gradients = [(parameter, parameter.grad) for parameter in capture.parameters]
    return Graph(
        own, of_raw, of_regression, lambda: found[0], replay_forward, replay_backward, gradients, _places(capture)
    )


def _forget_gradients(capture: Capture) -> None:
    for parameter in capture.parameters:
        parameter.grad = None


def _places(capture: Capture) -> tuple[int, ...]:
    return tuple([tensor.data_ptr() for tensor in (*capture.parameters, *capture.buffers)])
