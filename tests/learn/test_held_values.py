"""What a pass changes in a model's Python is seen, and put back; what it computes is not its concern."""

import pickle
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.learn import held_values

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@dataclass
class State:
    passes: int = 0


class Own(nn.Module):
    """A model of one's own, with what such models hold, and one change that a pass makes."""

    def __init__(self, change: Callable[["Own"], Any]) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.register_buffer("mean", torch.zeros(3))
        self.passes, self.size, self.share = 0, (3, 3), float("nan")
        self.running, self.kept, self.cache = torch.zeros(3), [torch.zeros(1)], {"old": torch.zeros(1)}
        self.recent, self.names, self.state = deque([1], maxlen=3), {"a"}, State()
        self.drawn, self.numbers, self.own = random.Random(0), np.random.default_rng(0), torch.Generator()
        self.counts = np.zeros(2)
        self.change = change

    def forward(self, photos: Tensor) -> Tensor:
        self.change(self)
        found: Tensor = self.layer(photos)
        return found


CHANGES: dict[str, Callable[[Own], Any]] = {
    "buffer `mean`": lambda own: setattr(own, "mean", own.mean + 1),
    "attribute `passes`": lambda own: setattr(own, "passes", own.passes + 1),
    "attribute `running`": lambda own: setattr(own, "running", own.running + 1),
    "attribute `kept`": lambda own: own.kept.append(torch.ones(1)),
    "attribute `cache`": lambda own: own.cache.update(new=torch.ones(1)),
    "attribute `recent`": lambda own: own.recent.append(2),
    "attribute `names`": lambda own: own.names.add("b"),
    "attribute `state`": lambda own: setattr(own.state, "passes", own.state.passes + 1),
    "attribute `drawn`": lambda own: own.drawn.random(),
    "attribute `numbers`": lambda own: own.numbers.random(),
    "attribute `own`": lambda own: torch.rand(1, generator=own.own),
    "attribute `counts`": lambda own: own.counts.__iadd__(1),
    "attribute `new`": lambda own: setattr(own, "new", 1),
}


def told(net: nn.Module, device: torch.device = GPU) -> str:
    with held_values.watched(net, device) as change:
        net(torch.ones(4, 3))
    return change.words


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_pass_changes_is_named(what: str) -> None:
    assert told(Own(CHANGES[what])) == f"the model changes its {what} in each pass"


def test_a_pass_that_computes_alone_or_sets_the_same_again_changes_nothing() -> None:
    assert told(Own(lambda own: None)) == ""
    assert told(Own(lambda own: setattr(own, "size", (own.size[0], own.size[1])))) == ""
    assert told(Own(lambda own: own.running.add_(1))) == ""  # in its place, as a graph does it too


def test_the_model_is_left_as_it_was() -> None:
    net = Own(
        lambda own: [own.running.add_(1), *(change(own) for name, change in CHANGES.items() if "running" not in name)]
    )
    before = {name: value.clone() for name, value in net.state_dict().items()}
    running, mean = net.running, net.mean
    drawn = pickle.dumps((net.drawn, net.numbers, net.own.get_state().numpy()))
    assert told(net)
    assert pickle.dumps((net.drawn, net.numbers, net.own.get_state().numpy())) == drawn
    assert not net.counts.any()
    assert (net.passes, net.running, net.mean) == (0, running, mean)
    assert torch.equal(running, torch.zeros(3))
    assert (len(net.kept), list(net.cache), hasattr(net, "new")) == (1, ["old"], False)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(1)])
def test_numbers_drawn_on_the_cpu_are_seen_and_drawn_again(draw: Callable[[], Any]) -> None:
    net = Own(lambda own: draw())
    found = []
    for words in ("", "a part of the model draws random numbers on the CPU"):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        assert not words or told(net) == words
        found.append(draw())
    assert found[0] == found[1]


def test_dropout_on_a_cpu_draws_from_the_generator_that_each_step_seeds() -> None:
    assert told(Own(lambda own: torch.rand(1)), CPU) == ""
    assert told(Own(lambda own: random.random()), CPU) == "a part of the model draws random numbers on the CPU"


def test_two_looks_tell_what_has_changed_between_them() -> None:
    net = Own(lambda own: None)
    before = held_values.marks(net)
    assert held_values.changed(before, held_values.marks(net)) == ""
    net.eval()
    assert held_values.changed(before, held_values.marks(net)) == "attribute `training`"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_numbers_on_the_cpu_of_a_model_that_lies_elsewhere_are_what_python_computes_by(dtype: torch.dtype) -> None:
    for place, words in (("cpu", ""), ("meta", "attribute `passes`")):
        net: Any = nn.Linear(3, 3, device=place)
        net.passes = torch.zeros((), dtype=dtype)
        before = held_values.marks(net)
        assert held_values.changed(before, held_values.marks(net)) == ""
        net.passes += 1
        assert held_values.changed(before, held_values.marks(net)) == words
