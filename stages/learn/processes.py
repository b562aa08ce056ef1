"""Processes that train one fold together (torchrun, `accelerate launch`): what they tell each other beside gradients.

Gradients go by the backend of the devices. NCCL gives a process up that waits ten minutes for another one, and waits for all
that the GPU has in hand. So all else goes over the CPUs, by gloo, and waits as long as it takes: process 0 may wait for a
lock that another training holds, or write a checkpoint to a slow disk. One process alone tells itself at no cost.
"""

import datetime
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from stages.base.errors import UserError

PATIENCE = datetime.timedelta(days=7)  # that a process waits for another one
Value = TypeVar("Value")


def place() -> tuple[int, int]:
    """(index, number) of the processes; (0, 1) of one alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def several() -> bool:
    return place()[1] > 1


def of_main(make: Callable[[], Value]) -> Value:
    """What `make` gives in process 0, where alone it is called, in all of them; tensors in it on the CPU.

    Raises UserError in all where it does so in process 0.
    """
    if not several():
        return make()
    told: list[Any] = [b"", ""]
    if place()[0] == 0:
        buffer = io.BytesIO()
        try:
            torch.save(make(), buffer)
        except UserError as error:
            told[1] = str(error)
        told[0] = buffer.getvalue()
    with _lost():
        distributed.broadcast_object_list(told, 0, _group())
    if told[1]:
        raise UserError(told[1])
    found: Value = torch.load(io.BytesIO(told[0]), weights_only=False)  # from another process of this very training
    return found


def of_all(value: Value) -> list[Value]:
    """The value of each process, by its index, in all of them."""
    number = place()[1]
    if number == 1:
        return [value]
    found: list[Any] = [None] * number
    with _lost():
        distributed.all_gather_object(found, value, _group())
    return found


def wait() -> None:
    """Until all are here."""
    of_all(None)


@torch.no_grad()
def share_state(net: nn.Module) -> None:
    """Give all the weights and buffers that the model has in process 0: of batch norm's running mean and variance each process
    keeps those of its own photos.
    """
    if not several():
        return
    tensors = list(net.state_dict().values())
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        _share([tensor for tensor in tensors if tensor.dtype == kind])


def _share(tensors: list[Tensor]) -> None:
    """Tensors of one kind, as one message."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.broadcast(flat, 0)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


@cache
def _group() -> Any:
    return distributed.new_group(backend="gloo", timeout=PATIENCE)


@contextmanager
def _lost() -> Iterator[None]:
    """One that ends is missed by the others at their next word: it has said why."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            "train: another of the processes that train together has ended; its own line says why"
        ) from error
