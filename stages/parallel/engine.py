"""Where trainings run: what side_by_side.py asks of it, be it processes of this machine (local_processes.py) or the nodes of a
Ray cluster (ray_engine.py).

An engine runs what is submitted and passes on what it hears. How many run at a time, what is done again and what a person
sees is side_by_side's affair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.parallel.training_process import Order

ENDS = ("done", "stopped", "failed", "lost")


@dataclass
class Training:
    """One that was submitted, and how it has ended."""

    order: Order
    outcome: str = ""  # one of ENDS; empty while it runs
    error: str = ""  # one line
    began: bool = False  # its first step
    kept: str = ""  # how far the newest checkpoint is that has come to order.folder from another machine: epoch 3 of 10


@dataclass(frozen=True)
class Message:
    """What is heard of a training. kind and value:

    say: a line for the person; begins, share: the share of its epochs that is done, 0..1; peak: bytes of GPU memory;
    kept: how far the checkpoint is that has just come from another machine; done: ""; stopped: where it is kept, after
    `cancel`; failed: why, in one line; lost: why its process, or the machine that it ran on, is no more or cannot do it:
    submitted again, it goes on from its newest checkpoint.
    """

    training: Training
    kind: str
    value: Any = ""


class Engine(Protocol):
    """Where trainings run."""

    retries: (
        int  # how often a lost training is submitted again; 0: only where others ran beside it, with fewer at a time
    )

    def slots(self, order: Order) -> int:
        """How many trainings like this one it has room for by now, those that run included.

        Raises UserError where no machine it has could ever take one (no GPU where one is asked for).
        """
        ...

    def submit(self, order: Order) -> Training:
        """Start a training, or have it wait until there is room; its checkpoints lie, or come to lie, in out/checkpoints of
        order.folder on this machine."""
        ...

    def wait(self, running: Sequence[Training], seconds: float) -> list[Message]:
        """What is heard of these trainings, as soon as there is anything, after `seconds` at the latest.

        A training whose last message (done, stopped, failed, lost) is handed out has ended: no process of it is left. Raises
        UserError where the engine itself is gone.
        """
        ...

    def cancel(self, running: Sequence[Training]) -> None:
        """Ask them to write a checkpoint and end; `wait` says when they have."""
        ...

    def log(self, training: Training) -> Path | None:
        """Where on this machine everything stands that it has said; None where that is all on the terminal."""
        ...

    def close(self, running: Sequence[Training]) -> None:
        """Have those that still run write their checkpoints and end, listening to none, and let go of the engine."""
        ...
