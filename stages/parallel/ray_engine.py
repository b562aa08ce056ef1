"""Trainings on the nodes of a Ray cluster: the engine that `cluster run --address` uses.

A process of its own talks to Ray (ray_driver.py); on the nodes ray_node.py trains. All it takes there is this program,
installed as here.
"""

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.base import extras, files
from stages.base.errors import UserError
from stages.parallel import ray_address, ray_driver, ray_node
from stages.parallel.engine import ENDS, Message, Training
from stages.parallel.ray_driver import Setting
from stages.parallel.training_process import Order

LOGS = Path("out/cluster/logs")
EVERY = 30.0  # seconds between two sendings of a training's checkpoint
CONNECTS = 90.0  # seconds that connecting may take
KEPT = "the newest checkpoints that came from it are kept; run the same command again: it goes on from there"
MEND = "mend what ails them, and run the same command again"


@dataclass
class RayEngine:
    """An Engine. gpus: of each training, a part of one or several; root: where the checkouts lie on a node, a shared disk or a
    folder of its own ({node} in its name is Ray's id of the node); None: ray_node.HOME.

    Raises UserError, on connecting, where Ray is not installed, nothing answers at the address, or other versions run there.
    """

    address: str
    gpus: float | None = None
    root: Path | None = None
    logs: Path = LOGS
    every: float = EVERY
    retries: int = 3
    trainings: dict[int, Training] = field(default_factory=dict)  # that have been submitted, by number
    nodes: list[tuple[float, float]] = field(default_factory=list)  # cores and GPUs of each that can train
    left_out: int = 0  # nodes that have proved unfit

    def __post_init__(self) -> None:
        if self.address != "auto":
            ray_address.reach(self.address)
        extras.check("cluster run --address", ("ray",))
        self.logs = self.logs.absolute()
        setting = Setting(self.address, self.gpus or 0, self.root or ray_node.HOME, self.logs, self.every)
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=ray_driver.drive, args=(setting, there), name="maskcli Ray driver")
        self.process.start()
        there.close()
        if not self.pipe.poll(CONNECTS):
            self.process.kill()
            raise UserError(
                f"--address {self.address}: Ray has not connected in {CONNECTS:.0f} s; see {self.logs / 'ray.log'}"
            )
        self._take(self._heard())

    def slots(self, order: Order) -> int:
        most = sum(ray_driver.fitting(order.cores, self.gpus or 0, node) for node in self.nodes)
        if not most and not any(not one.outcome for one in self.trainings.values()):
            raise UserError(self._why_none(order))
        return most

    def submit(self, order: Order) -> Training:
        training = Training(order)
        number = len(self.trainings)
        self.trainings[number] = training
        self._log(training, f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {order.name}\n")
        self._ask("submit", number, replace(order, folder=order.folder.absolute()))  # the driver works elsewhere
        return training

    def wait(self, running: Sequence[Training], seconds: float) -> list[Message]:
        """All that has come; every training's messages go to its log too."""
        found: list[Message] = []
        until = time.monotonic() + seconds
        while self.pipe.poll(max(0.0, until - time.monotonic()) if not found else 0.0):
            message = self._take(self._heard())
            if message:
                found.append(message)
        return found

    def cancel(self, running: Sequence[Training]) -> None:
        for number, training in self.trainings.items():
            if any(training is one for one in running):
                self._ask("cancel", number)

    def log(self, training: Training) -> Path | None:
        return self.logs / f"{training.order.name.replace(' ', '-').replace('/', '-')}.log"

    def close(self, running: Sequence[Training]) -> None:
        """The driver takes what checkpoints still come, and ends by itself, in ray_driver.PATIENCE at the latest."""
        try:
            self._ask("close", -1)
            while self.process.is_alive():
                while self.pipe.poll(0.1):
                    self.pipe.recv()
        except (UserError, EOFError, OSError):
            pass
        self.process.join()
        self.pipe.close()

    def _ask(self, kind: str, number: int, value: Any = None) -> None:
        try:
            self.pipe.send((kind, number, value))
        except OSError:
            raise UserError(self._ended()) from None

    def _heard(self) -> tuple[int, str, Any]:
        try:
            heard: tuple[int, str, Any] = self.pipe.recv()
        except (EOFError, OSError):
            raise UserError(self._ended()) from None
        return heard

    def _take(self, heard: tuple[int, str, Any]) -> Message | None:
        """What a message of the driver is for the scheduler; None where it is for this engine alone. Raises UserError."""
        number, kind, value = heard
        if kind == "refused":
            self.process.join()
            raise UserError(value)
        if kind == "gone":
            raise UserError(f"{value}; {KEPT}")
        if kind == "nodes":
            self.nodes, self.left_out = value
            return None
        training = self.trainings[number]
        if kind in ("printed", "placed", "say", *ENDS):
            self._log(training, value if kind == "printed" else f"{kind}: {value}\n")
        if kind in ("failed", "lost"):
            value = f"{value} (log: {self.log(training)})"
        if kind in ENDS:
            training.outcome = kind
        return None if kind in ("printed", "placed") else Message(training, kind, value)

    def _log(self, training: Training, text: str) -> None:
        path = self.log(training)
        assert path
        files.make_folder(path.parent)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _ended(self) -> str:
        self.process.join()
        code = self.process.exitcode
        return f"the process that talks to Ray has ended with code {code} (see {self.logs / 'ray.log'}); {KEPT}"

    def _why_none(self, order: Order) -> str:
        """Why no node has room for an order, whatever else runs there."""
        gpus, cores = self.gpus or 0, order.cores
        if self.left_out:
            return f"{order.name}: no node that is left can train it, {self.left_out} could not (their lines say why); {MEND}"
        if not any(there for there, _ in self.nodes):
            return f"{order.name}: no node of the cluster at {self.address} is there that trains; {KEPT}"
        most = max(there for _, there in self.nodes)
        if gpus > most:
            return (
                f"{order.name}: --gpus-per-fold {gpus:g}: no node has that many (the most is {most:g}); start nodes "
                "with `ray start --num-gpus=...`, or ask for fewer"
            )
        most = max(there for there, _ in self.nodes)
        return (
            f"{order.name}: takes {cores} cores, and no node has that many to give (the most is {most:g}); lower "
            "parallel.threads, or start nodes with more"
        )
