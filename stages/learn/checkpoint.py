"""Checkpoints: training's whole state in one file, so that the same command goes on where it was cut off.

They lie in out/checkpoints, outside the outputs that DVC deletes before a stage, one file per fold and repeat, named by a
hash of everything that determines the run: a checkpoint of other params, data or code is never taken. A file is a line of
JSON that tells what it is, the SHA-256 of the rest, and torch's archive of tensors and plain values, which is read
without running any code in it. Files appear whole (written beside, flushed to disk, renamed).
"""

import copy
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.base import host, lock, paths, temporaries
from stages.base.errors import UserError
from stages.base.files import replacing
from stages.base.talk import SILENT, Talk
from stages.learn import learner as learning
from stages.learn import model, processes
from stages.learn.interrupt import Interrupt, no_interrupt
from stages.learn.learner import Learner
from stages.learn.model import Classifier
from stages.learn.progress import Progress

MAGIC = b"maskcli checkpoint 2\n"
KEPT_OF_OTHER_RUNS = 2  # for each fold: enough to go back and forth between two experiments


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    run: str
    fold: int
    repeat: int
    epoch: int  # epochs that are complete
    epochs: int
    step: int  # steps of the running epoch
    finished: bool
    limit: str  # the time limit that shortened the schedule, if one did
    val_f1: float  # of the newest validation; 0 before the first
    asked: str  # the time limit that the process ran under
    used: float  # seconds that the run's trainings have used under it, all folds together
    rate: float  # photos a second in validation; 0 if not known
    saved: float  # time.time() of the machine that wrote it, for people: clocks differ, and are set
    sequence: int = 0  # one more than of all checkpoints that were there: tells which is newer, whatever clocks say
    boot: str = ""  # of that machine, as host.boot; empty: of an earlier version
    tick: float = 0.0  # time.monotonic() there; of one read by `headers`, when that was by this machine's


@dataclass
class Keeper:
    """Writes and reads the checkpoint of one training."""

    run: str
    fold: int
    repeat: int
    epochs: int
    every: float  # seconds between checkpoints within an epoch
    asked: str = ""  # the time limit that this process runs under
    used: float = 0.0  # seconds that the run had used under it when this process began
    began: float = field(default_factory=time.monotonic)
    rate: float = 0.0  # photos a second in validation, as far as known
    wrote: float = field(default_factory=time.monotonic)
    kept: int = 0  # complete epochs of the newest checkpoint
    writes: bool = True  # False: another of the processes that share the batches does
    title: str = ""  # what is trained, in words; empty: the fold
    command: str = "maskcli train"  # that trains it
    beside: bool = False  # a thread writes it while training goes on, which on a GPU would stand still
    writing: Future[None] | None = field(default=None, init=False)  # the newest one

    @property
    def name(self) -> str:
        return self.title or f"fold {self.fold}"

    def inner(self, number: int, of: int, epochs: int) -> "Keeper":
        """Of one of so many trainings that come before this one, in places of their own that no fold ever has."""
        place, title = -1 - self.fold, f"{self.name}, inner model {number + 1} of {of}"
        return replace(self, fold=place, repeat=self.repeat * of + number, epochs=epochs, kept=0, title=title)

    @property
    def path(self) -> Path:
        return paths.checkpoint(self.fold, self.repeat, self.run)

    def due(self) -> bool:
        return self.writes and time.monotonic() - self.wrote >= self.every

    def save(self, learner: Learner, progress: Progress) -> None:
        """Replace the checkpoint by the state of now; what only going on needs is left out once training has finished.

        Of processes that train together all call it, and one writes. Beside training the file is there once `settle` returns, but
        for the last one, which is there when this does. Raises UserError where this one, or the one before, cannot be written.
        """
        seen = processes.of_all(_seen(progress))
        if not self.writes:
            return
        self.settle()
        header = Header(
            run=self.run,
            fold=self.fold,
            repeat=self.repeat,
            epoch=len(progress.history),
            epochs=self.epochs,
            step=len(progress.seen),
            finished=progress.finished,
            limit=progress.limit,
            val_f1=float(progress.history[-1]["val_f1"]) if progress.history else 0.0,
            asked=self.asked,
            used=self.used + time.monotonic() - self.began,
            rate=self.rate,
            saved=time.time(),
            sequence=1 + max((one.sequence for one, _ in _found()), default=0),
            boot=host.boot(),
            tick=time.monotonic(),
        )
        content = {
            "learner": None if progress.finished else learning.state(learner),
            "progress": _plain(progress, seen),
            "architecture": json.dumps(model.to_json(learner.bare.architecture)),
        }
        if not self.beside or progress.finished:
            self._replace(header, content)
            return
        self.wrote = time.monotonic()  # none is due while this one is written
        content["learner"] = _copied(content["learner"])
        thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing = thread.submit(self._replace, header, content)
        thread.shutdown(wait=False)

    def _replace(self, header: Header, content: dict[str, Any]) -> None:
        _write(self.path, header, content)
        self.wrote, self.kept = time.monotonic(), header.epoch

    def settle(self) -> None:
        """Wait until the newest checkpoint is written. Raises UserError where it could not be."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def load(self, learner: Learner, talk: Talk) -> Progress:
        """The progress of this training's checkpoint, its state put into the learner; an empty one if there is none.

        A damaged checkpoint, and one shaped by another time limit than this process's, is not taken; it says so. Of several
        processes the first reads it and hands it to the others, which may have no disk in common with it.
        """
        found = processes.of_main(lambda: self._found(talk))
        if found is None:
            return Progress()
        header, content = found
        if content["learner"] is not None:
            learning.restore(learner, content["learner"])
        return self._taken(header, content, learner.accelerator.device, talk)

    def finished(self, talk: Talk) -> Progress | None:
        """The progress of this training's checkpoint where it has finished, which leaves no state for a learner; None where
        `load` is to see what there is."""
        found = processes.of_main(lambda: self._found(SILENT) if self._says_finished() else None)
        return None if found is None else self._taken(*found, torch.device("cpu"), talk)

    def _says_finished(self) -> bool:
        """By its header: what is not finished is not read twice."""
        try:
            with self.path.open("rb") as file:
                return _header(self.path, file.readline(100), file.readline(10_000)).finished
        except (DamagedCheckpoint, OSError):
            return False

    def _taken(self, header: Header, content: dict[str, Any], device: torch.device, talk: Talk) -> Progress:
        progress = _progress(content["progress"], device)
        self.kept = header.epoch
        where = "finished" if header.finished else _place(header.epoch, header.epochs, header.step)
        talk.say(f"{self.name}: goes on from {self.path} ({where}); `{self.command} --fresh` would begin anew")
        return progress

    def _found(self, talk: Talk) -> tuple[Header, dict[str, Any]] | None:
        if not self.path.exists():
            return None
        try:
            header, content = read(self.path)
        except DamagedCheckpoint as error:
            talk.say(f"{self.name}: {error}; training begins anew")
            return None
        if header.limit and not same_limit(header.limit, header.finished, self.asked):
            talk.say(
                f"{self.name}: the checkpoint was shortened by a time limit ({header.limit}); training begins anew"
            )
            return None
        return header, content

    def interrupted(self, progress: Progress) -> KeyboardInterrupt:
        """What an interrupt leaves, which `save` has written; one process tells it."""
        if not self.writes:
            return KeyboardInterrupt()
        place = _place(len(progress.history), self.epochs, len(progress.seen))
        return KeyboardInterrupt(f"{self.name} is kept at {place}, in {self.path}")


def _place(epoch: int, epochs: int, step: int) -> str:
    return f"epoch {epoch} of {epochs}" + (f", step {step} of the next" if step else "")


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be read; says which."""


def headers() -> list[Header]:
    """What the readable checkpoints say of themselves, newest first."""
    found, boot, here = _found(), host.boot(), time.monotonic()
    if any(header.boot != boot for header, _ in found):
        # Written by another machine: when that was is told by the file system's clock, the same for all.
        now = temporaries.moment(paths.CHECKPOINTS)
        found = [
            (header if header.boot == boot else replace(header, tick=here - max(0.0, now - written)), written)
            for header, written in found
        ]
    return sorted((header for header, _ in found), key=lambda header: (-header.sequence, -header.saved))


def _found() -> list[tuple[Header, float]]:
    """The readable checkpoints' headers, each with the moment at which its file was written, by the file system's clock."""
    found = []
    for path in paths.CHECKPOINTS.glob("[-0-9]*.ckpt"):  # no half-written ones, whose names begin with a dot
        try:
            with path.open("rb") as file:
                header = _header(path, file.readline(100), file.readline(10_000))
                found.append((header, os.fstat(file.fileno()).st_mtime))
        except (DamagedCheckpoint, OSError):  # a file may be replaced or pruned at any moment
            continue
    return found


def read(path: Path) -> tuple[Header, dict[str, Any]]:
    """A checkpoint's header and content (learner, progress, architecture). Raises DamagedCheckpoint."""
    try:
        with path.open("rb") as file:
            header = _header(path, file.readline(100), file.readline(10_000))
            digest, payload = file.read(32), file.read()
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read ({error.strerror})") from None
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedCheckpoint(f"{path} is damaged (its checksum is wrong)")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        raise DamagedCheckpoint(f"{path} is damaged ({type(error).__name__})") from None
    return header, content


def model_of(path: Path) -> Classifier:
    """The model of the selected epoch so far, in eval mode. Raises DamagedCheckpoint, also where no epoch is complete."""
    _, content = read(path)
    state = content["progress"]["selected_state"]
    if not state:
        raise DamagedCheckpoint(f"{path} has no complete epoch yet")
    net = model.build(model.from_json(json.loads(content["architecture"]), str(path)))
    net.load_state_dict(state)
    return net.eval()


def prune(fold: int, run: str, repeats: int) -> None:
    """Remove what a killed process left half-written, repeats that are no more, and all but the newest of other runs.

    fold: or the place beside the folds' that other trainings have (`Keeper.inner`), and what they have found (.npz).
    """
    kept_here = [path for path in paths.CHECKPOINTS.glob(f"{fold}-*") if path.suffix in (".ckpt", ".npz")]
    now = temporaries.moment(paths.CHECKPOINTS)
    for path in temporaries.abandoned(paths.CHECKPOINTS, now, lambda one: one.stem.startswith(f"{fold}-")):
        temporaries.remove(path)
    others = [path for path in kept_here if not path.stem.endswith(f"-{run}")]
    newest = sorted(others, key=lambda path: -path.stat().st_mtime)
    runs = dict.fromkeys(path.stem.rsplit("-", 1)[1] for path in newest)
    kept = list(runs)[:KEPT_OF_OTHER_RUNS]
    for path in newest:
        if path.stem.rsplit("-", 1)[1] not in kept:
            path.unlink(missing_ok=True)
    for path in paths.CHECKPOINTS.glob(f"{fold}-*-{run}.ckpt"):
        if int(path.stem.rsplit("-", 2)[1]) >= repeats:
            path.unlink(missing_ok=True)


@contextmanager
def alone(name: str, run: str, talk: Talk, asked: Interrupt = no_interrupt, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of what is trained (`fold 0`, `refit`), so that no second process, on this machine or on another that shares
    the folder, trains it at the same time (stages/base/lock.py).

    A process that outlived a killed `dvc repro` may still be at it, or a person started one by hand: then wait for it, and
    go on from what it leaves. Yields whether it was waited for. The lock goes with its process, however that ends. Raises
    UserError if the other process trains another run, or if this one is not to wait; KeyboardInterrupt if `asked` meanwhile.
    """
    place = paths.CHECKPOINTS / f"{name.removeprefix('fold ').replace(' ', '-')}.lock"
    with ExitStack() as stack:
        waited = False
        try:
            stack.enter_context(lock.held(place, run))
        except lock.Held as busy:
            who = busy.holder.in_words
            if not wait:
                raise UserError(f"train: {who} trains {name} already") from None
            if (busy.holder.run or run) != run:
                raise UserError(
                    f"train: {who} trains {name} with other params or data; wait for it, or stop it"
                ) from None
            talk.say(f"{name}: {who} is training it already; waiting for what it leaves (Ctrl-C ends the waiting)")
            stack.enter_context(lock.held(place, run, patience=None, asked=asked))
            waited = True
        yield waited


def _write(path: Path, header: Header, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # The view is let go of where writing fails too: the garbage collector of Python 3.12.0 and 3.12.1 ends the process where
    # it finds one, as in the frames of an exception.
    with (
        buffer.getbuffer() as payload,
        replacing(path, durable=True) as temporary,
        temporary.open("wb") as file,
    ):
        file.write(MAGIC)
        file.write(json.dumps(asdict(header)).encode() + b"\n")
        file.write(hashlib.sha256(payload).digest())
        file.write(payload)


def _copied(value: Any) -> Any:
    """What training goes on to change, as it is now, in the CPU's memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, list | tuple):
        return type(value)(map(_copied, value))
    if not isinstance(value, dict):
        return value
    copied = copy.copy(value)  # of a state dict, whose attributes say which version of a module it is of
    for key, one in value.items():
        copied[key] = _copied(one)
    return copied


def _header(path: Path, magic: bytes, line: bytes) -> Header:
    if magic != MAGIC:
        raise DamagedCheckpoint(f"{path} is no checkpoint of this version")
    try:
        return Header(**json.loads(line))
    except (ValueError, TypeError):
        raise DamagedCheckpoint(f"{path} is damaged (its header cannot be read)") from None


def same_limit(shaped: str, finished: bool, limit: str) -> bool:
    """Whether what one time limit has shaped may serve under another: a deadline may go on from what any limit shaped, and takes
    what another deadline finished; others only their own."""
    deadlines = limit.startswith("until") and (not finished or shaped.startswith("until"))
    return shaped == limit or deadlines


def _seen(progress: Progress) -> dict[str, np.ndarray]:
    """Loss parts of the running epoch's steps, each [steps]."""
    names = list(progress.seen[0]) if progress.seen else []
    return {name: torch.stack([parts[name] for parts in progress.seen]).cpu().numpy() for name in names}


def _plain(progress: Progress, seen: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Progress as tensors and plain values, which torch.load reads without running code; what each process has seen."""
    return vars(progress) | {
        "history": json.dumps(progress.history),  # JSON gives every float back exactly
        "selected_logits": torch.from_numpy(progress.selected_logits),
        "last_logits": torch.from_numpy(progress.last_logits),
        "predicted": [torch.from_numpy(one) for one in progress.predicted],
        "seen": [{name: torch.from_numpy(values) for name, values in one.items()} for one in seen],
    }


def _progress(plain: dict[str, Any], device: torch.device) -> Progress:
    own = plain["seen"][processes.place()[0]]
    seen = {name: values.to(device).unbind() for name, values in own.items()}
    return Progress(
        **plain
        | {
            "history": json.loads(plain["history"]),
            "selected_logits": plain["selected_logits"].numpy(),
            "last_logits": plain["last_logits"].numpy(),
            "predicted": [one.numpy() for one in plain["predicted"]],
            "seen": [dict(zip(seen, parts, strict=True)) for parts in zip(*seen.values(), strict=True)],
        }
    )
