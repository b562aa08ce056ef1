"""Weights as people save them: found in whatever a file nests them, under whatever prefix, by what fits the model.

A pickle is read by torch with weights_only, which runs no code; classes that it does not know (a Lightning checkpoint's
hyperparameters, a whole pickled model) come out as stand-ins, which keep their attributes and do nothing.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from stages.base.errors import UserError

DEEPEST = 8  # dicts within dicts
NAMED = 6  # arrays that a line names
AVERAGED = ("ema", "teacher", "averaged", "swa")  # what a moving average is called: better than the weights it follows
# Nothing of these is any model's. Their stand-ins would do nothing either; the file is up to no good.
REFUSED = (
    "builtins",
    "__builtin__",
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "importlib",
    "runpy",
    "shutil",
    "socket",
)


@dataclass(frozen=True)
class Fit:
    """Arrays of one dict in a file that fit a model, by the model's own keys."""

    place: str  # where the dict stands in the file, as state_dict; empty for the file itself
    prefix: str  # before the model's keys, as module.
    state: dict[str, Tensor]  # the dict
    arrays: dict[str, Tensor]

    @property
    def dropped(self) -> list[str]:
        taken = {self.prefix + key for key in self.arrays}
        return sorted(key.removeprefix(self.prefix) for key in self.state if key not in taken)


def best_fit(path: Path, own: dict[str, Tensor]) -> Fit:
    """The dict and the prefix in the file under which most arrays have a key and a shape of `own`.

    Of equal ones a moving average is taken, then the first. Raises UserError for what is no weights file.
    """
    found = [_fit(place, state, own) for place, state in _tables(_read(path))]
    if not found:
        raise UserError(f"{path}: holds no table of weights; give a state dict")
    return max(found, key=lambda fit: (len(fit.arrays), _averaged(fit.place + fit.prefix)))


def misfit(fit: Fit, own: dict[str, Tensor]) -> str:
    """Why most of it does not fit, in a few words."""
    other = [key for key in own if key not in fit.arrays and fit.prefix + key in fit.state]
    if other:
        shapes = [
            f"`{key}` is {list(fit.state[fit.prefix + key].shape)}, not {list(own[key].shape)}" for key in other[:2]
        ]
        return f"{len(other)} are of another shape ({', '.join(shapes)})"
    listed = [", ".join(f"`{key}`" for key in list(keys)[:2]) for keys in (fit.state, own)]
    return f"the file has {listed[0]}, the model {listed[1]}"


def told(fit: Fit) -> str:
    """Where the arrays came from and which were dropped, to end a line with; empty where there is nothing to say."""
    parts = [f"`{fit.place}`"] * bool(fit.place) + [f"prefix `{fit.prefix}`"] * bool(fit.prefix)
    line = f" from {', '.join(parts)}" if parts else ""
    dropped = fit.dropped
    more = " ..." if len(dropped) > NAMED else ""
    return line + (f"; dropped {', '.join(dropped[:NAMED])}{more}" if dropped else "")


def _fit(place: str, state: dict[str, Tensor], own: dict[str, Tensor]) -> Fit:
    """The prefix that gives most keys of `state` a key and a shape of `own`."""
    state = {_plain(key, own): value for key, value in state.items()}
    votes: Counter[str] = Counter()
    for key, value in state.items():
        names = key.split(".")
        for start in range(len(names)):
            rest = ".".join(names[start:])
            if rest in own and own[rest].shape == value.shape:
                votes[key.removesuffix(rest)] += 1
    prefix = max(votes, key=lambda one: (votes[one], _averaged(one)), default="")
    arrays = {key: state[prefix + key] for key in own if prefix + key in state}
    return Fit(place, prefix, state, {key: value for key, value in arrays.items() if value.shape == own[key].shape})


def _plain(key: str, own: dict[str, Tensor]) -> str:
    """Without the names that torch's wrappers put between others, as _orig_mod and _fsdp_wrapped_module."""
    if "._" not in f".{key}" or key in own:
        return key
    return ".".join(name for name in key.split(".") if not name.startswith("_"))


def _averaged(name: str) -> bool:
    return any(word in name.lower() for word in AVERAGED)


def _tables(content: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dict in the content, and every pickled module, that holds arrays by name, and where it stands."""
    if isinstance(content, StandIn):
        state = dict(_arrays_of(content))
        if state:
            yield place, state
            return
        content = vars(content)
    if not isinstance(content, dict) or depth > DEEPEST:
        return
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if state:
        yield place, state
    for key, value in content.items():
        yield from _tables(value, f"{place}.{key}" if place else str(key), depth + 1)


class StandIn:
    """An object of a class that is not loaded: takes any arguments, and keeps its attributes."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


class Table:
    """The same for a class that is a dict: torch fills nothing but dicts."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


def _arrays_of(module: StandIn, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a pickled torch.nn.Module, as its state_dict would name them."""
    held = vars(module)
    for kind in ("_parameters", "_buffers"):
        for name, value in (held.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
    for name, child in (held.get("_modules") or {}).items():
        if isinstance(child, StandIn):
            yield from _arrays_of(child, f"{prefix}{name}.")


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(9)
        return safetensors.torch.load_file(path) if head[8:] == b"{" else _unpickled(path, head)
    except Exception as error:  # torch and safetensors raise many kinds for damaged or unsafe files
        raise UserError(
            f"{path}: is not a weights file that can be loaded safely ({type(error).__name__}); "
            "give a .safetensors file, or a .pth that holds only tensors"
        ) from None


def _unpickled(path: Path, head: bytes) -> Any:
    """The content of a torch.save file, objects of classes that torch does not know as stand-ins."""
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path) if head.startswith(b"PK") else []
    if any(name.split(".")[0] in REFUSED for name in unknown):
        unknown = []  # torch refuses the file
    stand_ins = {name: type(f"StandIn{number}", (StandIn,), {}) for number, name in enumerate(unknown)}
    while True:
        try:
            # By the file: a path named .safetensors torch would read as such.
            with (
                torch.serialization.safe_globals([(kind, name) for name, kind in stand_ins.items()]),
                path.open("rb") as file,
            ):
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            # Only its code, which is not loaded, tells that a class is a dict; torch says which it cannot fill, in words of
            # its version's.
            told = re.findall(r"StandIn\d+", str(error))
            dicts = [name for name, kind in stand_ins.items() if issubclass(kind, StandIn) and kind.__name__ in told]
            if not dicts:
                raise
            stand_ins |= dict.fromkeys(dicts, Table)
