"""The GPUs of this machine that trainings side by side are dealt out to: one each at first, more once it is known what fits."""

import os
from collections import Counter
from dataclasses import dataclass, field

from stages.base import cores

ROOM = 1.2  # of a training's peak GPU memory: what each further one on the same GPU needs to have free
CUDA_CONTEXT = 600 * 2**20  # bytes that a process takes of a GPU beside what torch allocates, about
CORES_ON_A_GPU = 2  # one that launches kernels, one that makes batches


def listed() -> tuple[str, ...]:
    """The GPUs that this process sees, each as CUDA_VISIBLE_DEVICES names it to a process that shall see no other."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] if named else map(str, range(count)))


@dataclass
class Gpus:
    """Which trainings are on which GPU, and how many each has room for."""

    names: tuple[str, ...]
    running: Counter[str] = field(default_factory=Counter)
    peaked: Counter[str] = field(default_factory=Counter)  # of those that run; fewer where one left before it had
    room: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.room = dict.fromkeys(self.names, 1)

    def slots(self) -> int:
        """Trainings at a time, on all of them; each needs cores too."""
        return max(1, min(sum(self.room.values()), cores.available() // CORES_ON_A_GPU))

    def take(self) -> str:
        """The GPU for one more training: the one with the most room left."""
        name = max(self.names, key=lambda one: self.room[one] - self.running[one])
        self.running[name] += 1
        return name

    def leave(self, name: str) -> None:
        self.running[name] -= 1
        self.peaked[name] = max(0, self.peaked[name] - 1)

    def measured(self, name: str, peak: int, free: int) -> None:
        """A training there has peaked at `peak` bytes, and `free` bytes are left beside all that run there, others' too.

        What is free is for those too that run and have yet to peak.
        """
        self.peaked[name] = min(self.peaked[name] + 1, self.running[name])
        further = free // int(ROOM * (peak + CUDA_CONTEXT))
        self.room[name] = max(self.room[name], self.peaked[name] + further)
