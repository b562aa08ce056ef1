"""What a model's Python holds beside the weights, and whether a pass changes it: buffers, attributes, numbers drawn on the CPU.

A CUDA graph repeats the kernels of a pass and not its Python, which would stay as it was when the graph was recorded.
"""

import pickle
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DEPTH = 3  # of lists, dictionaries and objects within each other that are looked into
WEIGHTS = ("_parameters", "_modules")
Generator = random.Random | np.random.Generator | torch.Generator
Marks = dict[tuple[str, str], Any]  # (module, what it holds) -> what tells whether that has changed


@dataclass(frozen=True, eq=False)
class Itself:
    """Equal to the same object alone, which it keeps, so that no other can come to lie in its place."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Change:
    """What a pass changed first, in words; empty where nothing was."""

    words: str = ""


def marks(model: nn.Module) -> Marks:
    """Of all buffers and attributes; a change in the numbers of a tensor is none, but where that lies on the CPU and the model
    elsewhere: what its Python reads there no kernel reads again.
    """
    found: Marks = {}
    apart = any(parameter.device.type != "cpu" for parameter in model.parameters())
    for place, module in model.named_modules():
        for name, value in vars(module).items():
            if name == "_buffers":
                found |= {(place, f"buffer `{one}`"): Itself(tensor) for one, tensor in value.items()}
            elif name not in WEIGHTS:
                found[place, f"attribute `{name}`"] = _mark(value, DEPTH, apart)
    return found


def changed(before: Marks, after: Marks) -> str:
    """What two looks at a model differ in first; empty where in nothing."""
    names = dict.fromkeys((*before, *after))
    # In tuples, where a value that is not even equal to itself is so nevertheless.
    return next(
        (what for place, what in names if (before.get((place, what), Kept),) != (after.get((place, what), Kept),)), ""
    )


def _mark(value: Any, depth: int, apart: bool) -> Any:
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Generator):
        return pickle.dumps(_state(value))
    if isinstance(value, np.ndarray):
        return Itself(value), hash(value.tobytes())
    if isinstance(value, Tensor) and apart and value.device.type == "cpu" and value.layout == torch.strided:
        return Itself(value), hash(value.detach().flatten().view(torch.uint8).numpy().tobytes())
    if depth:
        if isinstance(value, dict):
            return [(_mark(key, 0, apart), _mark(one, depth - 1, apart)) for key, one in value.items()]
        if isinstance(value, list | tuple | deque):
            return [_mark(one, depth - 1, apart) for one in value]
        if isinstance(value, set | frozenset):
            return set(value)
        if hasattr(value, "__dict__") and not callable(value) and not isinstance(value, Tensor):
            return Itself(value), _mark(vars(value), depth - 1, apart)
    return Itself(value)


@contextmanager
def watched(model: nn.Module, device: torch.device) -> Iterator[Change]:
    """What passes in here, on a device, change of what the model holds, or draw from generators that are not the device's, is
    told once they have ended, and put back: attributes, their lists and dictionaries, the numbers of their tensors and arrays,
    the states of their generators; what lies deeper is only told.
    """
    change, kept, before, drawn = Change(), Kept(), marks(model), _generators()
    # On a CPU dropout draws from torch's, which each step seeds.
    others = slice(None) if device.type != "cpu" else slice(2)
    for module in model.modules():
        kept.hold(vars(module))
        for name, value in vars(module).items():
            if name not in WEIGHTS:
                kept.hold(value)
    try:
        yield change
        after = marks(model)
        if moved := changed(before, after):
            change.words = f"the model changes its {moved} in each pass"
        elif pickle.dumps(drawn[others]) != pickle.dumps(_generators()[others]):
            change.words = "a part of the model draws random numbers on the CPU"
    finally:
        kept.put_back()
        _draw_from(drawn)


@dataclass
class Kept:
    """Dictionaries and lists with what stood in them, tensors and arrays with their numbers, generators with their states."""

    holders: list[tuple[Any, Any]] = field(default_factory=list)
    tensors: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    arrays: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    generators: list[tuple[Any, Any]] = field(default_factory=list)

    def hold(self, value: Any) -> None:
        inside: list[Any] = []
        if isinstance(value, dict):
            self.holders.append((value, dict(value)))
            inside = list(value.values())
        elif isinstance(value, list):
            self.holders.append((value, list(value)))
            inside = value
        self.tensors += [(one, one.clone()) for one in inside if isinstance(one, Tensor)]
        self.arrays += [(one, one.copy()) for one in inside if isinstance(one, np.ndarray)]
        self.generators += [(one, _state(one)) for one in inside if isinstance(one, Generator)]

    def put_back(self) -> None:
        for holder, content in self.holders:
            if isinstance(holder, dict):
                for added in holder.keys() - content.keys():
                    del holder[added]
                holder.update(content)
            else:
                holder[:] = content
        with torch.inference_mode():  # also those that were made in it, which nothing else may change
            for tensor, numbers in self.tensors:
                tensor.copy_(numbers)
        for array, before in self.arrays:
            if array.flags.writeable:
                array[...] = before
        for generator, state in self.generators:
            _set_state(generator, state)


def _state(generator: Generator) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, torch.Generator):
        return generator.get_state().numpy()
    return generator.bit_generator.state


def _set_state(generator: Generator, state: Any) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, torch.Generator):
        generator.set_state(torch.from_numpy(state))
    else:
        generator.bit_generator.state = state


def _generators() -> tuple[Any, Any, Any]:
    """The states of Python's, numpy's and torch's generators on the CPU."""
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state().numpy()


def _draw_from(states: tuple[Any, Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.default_generator.set_state(torch.from_numpy(states[2]))
