"""On a node of a Ray cluster: makes the project's folder, runs one training in a process as the head's machine would, and has
its messages, its checkpoints and what it prints at hand for the head, which asks for them (ray_driver.py).

What travels goes in pieces so small that Ray sends them in its messages: its object store, which others may have filled, is
not used.
"""

import os
import pickle
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from pathlib import Path
from typing import IO, Any

import psutil

from stages.base import files, paths, temporaries
from stages.base.errors import UserError
from stages.parallel import kept_checkpoints, training_process
from stages.parallel.training_process import ENDED_BY_THE_SYSTEM, Order, Worker, how_it_ended

PIECE = 90_000  # bytes: Ray puts what is larger than 100 kB into its object store
PIECES = 50  # in one message: Ray puts what is beyond 10 MB in all into its object store
LISTENS = 0.5  # seconds at most until a call answers, so that it can be told to stop
HOME = Path("~/.cache/maskcli/cluster")  # where checkouts lie on a node
NODE = "{node}"  # in the path of the folder for checkouts: the id of the node


def in_pieces(content: bytes) -> Iterator[list[bytes]]:
    """The content in lists of pieces, each list fit for one message; one empty list for none."""
    pieces = [content[start : start + PIECE] for start in range(0, len(content), PIECE)]
    for start in range(0, max(1, len(pieces)), PIECES):
        yield pieces[start : start + PIECES]


@dataclass(frozen=True)
class Lodging:
    """What a training has on its node. root: where checkouts lie; every: seconds between two sendings of a checkpoint."""

    root: Path
    every: float
    gpus: float


@dataclass
class Node:
    """An actor of Ray, one a training. Its calls come one at a time."""

    lodging: Lodging
    said: "queue.SimpleQueue[tuple[str, Any]]" = field(default_factory=queue.SimpleQueue)
    order: Order | None = None
    worker: Worker | None = None
    stop: Any = None  # the event that asks the training to end with a checkpoint
    parcel: list[bytes] = field(default_factory=list)  # the order, as it comes
    sent: dict[Path, tuple[int, int] | None] = field(default_factory=dict)  # checkpoints that the head has
    sent_at: float = 0.0
    parts: dict[str, Path] = field(default_factory=dict)  # checkpoints of the head's that are coming, by name
    opened: IO[bytes] | None = None  # the checkpoint that the head is fetching
    printed: int = 0  # bytes of what the training has printed that the head has

    def where(self) -> tuple[str, str]:
        """The node's name for people, and Ray's id of it."""
        return socket.gethostname(), _ray_id()

    def take(self, *pieces: bytes) -> None:
        """A part of the order."""
        self.parcel += pieces

    def take_order(self) -> None:
        """Begin to make the project's folder. `hear` says `made`, with the progress of the checkpoints there, or `unfit`."""
        self.order = pickle.loads(b"".join(self.parcel))
        threading.Thread(target=self._make, daemon=True).start()

    def take_part(self, name: str, *pieces: bytes) -> None:
        """A part of a checkpoint of the head's; it is never whole in memory."""
        part = self.parts.setdefault(name, temporaries.beside(self._folder() / name))
        with part.open("ab") as file:
            file.writelines(pieces)

    def take_checkpoint(self, name: str) -> None:
        """Have the checkpoint whose parts have come here, for what the training is to go on from."""
        with files.replacing(self._folder() / name, durable=True) as temporary:
            self.parts.pop(name).replace(temporary)

    def train(self, known: list[str]) -> None:
        """Start the training. known: names of the checkpoints here that the head has too."""
        assert self.order
        context = training_process.context()
        self.sent |= {path: _version(path) for path in self._kept() if path.name in known}
        self.stop = context.Event()
        self.worker = training_process.start(context, self.order, self.stop)

    def hear(self, stop: bool) -> list[tuple[str, Any]]:
        """What there is to say by now: the training's messages, and `made`, `unfit`, `file` (name and bytes of a checkpoint
        to fetch) and `printed`. stop: have it write a checkpoint and end; its last message comes after all else.
        """
        if self.worker is None:
            if stop:
                _end_children()
                return [("stopped", f"{self.order.name if self.order else 'it'} had not begun")]
            return _drained(self.said)
        if stop:
            self.stop.set()
        heard, end = self._listened(self.worker)
        if end:
            self.worker.exit_code()
        heard += self._printed(PIECES if end else 1)
        if opened := self._open_changed(ended=bool(end)):
            if end:  # which waits until all is fetched
                self.said.put(end)
            return [*heard, ("file", opened)]
        if end and self.order and self.order.output:
            self.order.output.unlink(missing_ok=True)
        return [*heard, end] if end else heard

    def piece(self, count: int) -> list[bytes] | bytes:
        """The next `count` pieces of the checkpoint that was announced last, each a result of its own."""
        assert self.opened
        found = [self.opened.read(PIECE) for _ in range(count)]
        return found if count > 1 else found[0]

    def _make(self) -> None:
        try:
            self._check()
            assert self.order
            assert self.order.checkout
            root = Path(str(self.lodging.root).replace(NODE, _ray_id()))
            folder = self.order.checkout.made(root.expanduser(), lambda line: self.said.put(("say", line)))
            output = temporaries.beside(folder / paths.CHECKPOINTS / f"{self.order.name.replace(' ', '-')}.log")
            files.make_folder(output.parent)
            terms = replace(self.order.terms, outputs=True)  # so that it waits for one that outlives a lost connection
            self.order = replace(self.order, folder=folder, checkout=None, terms=terms, signals=[], output=output)
            self.said.put(("made", {path.name: kept_checkpoints.progress(path) for path in self._kept()}))
        except UserError as error:
            self.said.put(("unfit", str(error)))
        except Exception as error:
            self.said.put(("unfit", f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"))

    def _check(self) -> None:
        """Raise UserError where a GPU is asked for and CUDA has none here."""
        if self.lodging.gpus:
            import torch

            if not torch.cuda.is_available():
                raise UserError("no GPU works here, and one is asked for; see what `nvidia-smi` says there")

    def _listened(self, worker: Worker) -> tuple[list[tuple[str, Any]], tuple[str, Any] | None]:
        """Messages of the training, waiting a little for the first one, and its last one apart."""
        if not self.said.empty():  # its end, which waited for the checkpoint
            return [], self.said.get()
        heard: list[tuple[str, Any]] = []
        until = time.monotonic() + LISTENS
        while connection.wait([worker.pipe], timeout=max(0.0, until - time.monotonic() if not heard else 0.0)):
            try:
                kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                code = worker.exit_code()
                return heard, ("lost" if code in ENDED_BY_THE_SYSTEM else "failed", how_it_ended(code))
            if kind in ("done", "stopped", "failed", "full"):
                return heard, (kind, value)
            heard.append((kind, value))
        return heard, None

    def _open_changed(self, ended: bool) -> tuple[str, int, kept_checkpoints.Progress] | None:
        """Open a checkpoint that the head has not, if it is time to send one, for `piece`; its name, bytes and progress.

        A newer one that takes its name meanwhile does not change what is read.
        """
        if not ended and time.monotonic() - self.sent_at < self.lodging.every:
            return None
        for path in self._kept():
            version = _version(path)
            if version and self.sent.get(path) != version:
                if self.opened:
                    self.opened.close()
                self.opened = path.open("rb")
                self.sent[path], self.sent_at = version, time.monotonic()
                size = os.fstat(self.opened.fileno()).st_size
                return path.name, size, kept_checkpoints.progress_in(self.opened, path.suffix)
        return None

    def _printed(self, pieces: int) -> list[tuple[str, str]]:
        assert self.order
        assert self.order.output
        if not self.order.output.exists():
            return []
        with self.order.output.open("rb") as file:
            file.seek(self.printed)
            text = file.read(PIECE * pieces)
        self.printed += len(text)
        return [("printed", text.decode("utf-8", "replace"))] if text else []

    def _kept(self) -> list[Path]:
        assert self.order
        return kept_checkpoints.of(self.order, self._folder())

    def _folder(self) -> Path:
        assert self.order
        return self.order.folder / paths.CHECKPOINTS


def _version(path: Path) -> tuple[int, int] | None:
    """Tells a file from the one that takes its name; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _end_children() -> None:
    """git, dvc and prepare, which make a folder that nobody waits for any more."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _drained(said: "queue.SimpleQueue[tuple[str, Any]]") -> list[tuple[str, Any]]:
    found = []
    try:
        found.append(said.get(timeout=LISTENS))
        while True:
            found.append(said.get_nowait())
    except queue.Empty:
        return found


def _ray_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
