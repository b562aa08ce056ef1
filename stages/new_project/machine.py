"""The device that a new project will be trained on, as far as the choice of its parameters needs it."""

import urllib.request
from dataclasses import dataclass

from stages.base import cores, gpu, memory
from stages.base.errors import UserError

PATIENCE = 3.0  # seconds that the network may take to answer


@dataclass(frozen=True)
class Device:
    """gpu: a CUDA device; memory in bytes, the GPU's or the process's; half: bf16 is fast there; cores of the CPU."""

    name: str
    gpu: bool
    memory: int
    cores: int
    half: bool = False

    def __str__(self) -> str:
        told = f"{self.name}, {memory.in_words(self.memory)}"
        return told if self.gpu else f"CPU, {self.cores} {'core' if self.cores == 1 else 'cores'}"


def device() -> Device:
    """The first GPU, or the CPU."""
    import torch

    if gpu.usable():
        found = torch.cuda.get_device_properties(0)
        return Device(found.name, True, int(found.total_memory), cores.usable(), torch.cuda.is_bf16_supported())
    return Device("CPU", False, memory.total(), cores.usable())


def repository_of(model: str) -> str:
    """The hub's repository of the weights that timm publishes for a model; empty where there are none.

    Raises UserError if timm has no model of this name.
    """
    from stages.learn.model import check_name
    from stages.learn.timm_import import load_timm

    try:
        check_name(model)
    except UserError as error:
        raise UserError(str(error).replace("params.yaml: model.name:", f"--model {model}:")) from None
    found = load_timm().get_pretrained_cfg(model)
    return str(found.hf_hub_id or "") if found else ""


def can_have(repository: str) -> bool:
    """Whether timm's published weights are here already, or the hub they come from answers."""
    from huggingface_hub import constants, try_to_load_from_cache

    if not repository:
        return False
    if isinstance(try_to_load_from_cache(repository, "model.safetensors"), str):
        return True
    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(f"{constants.ENDPOINT}/{repository}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return True
    except (OSError, ValueError):
        return False
