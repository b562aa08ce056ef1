"""Ray's driver: a process beside `cluster run` on the head, which talks to the cluster and writes what comes back.

It is apart because Ray prints where it likes, handles signals, and ends the process that it lives in where a cluster is gone.
Where it ends, however that comes, Ray ends its actors, and the trainings on the nodes write their checkpoints and end.
"""

import os
import pickle
import signal
import socket
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from stages.base import files, paths
from stages.base.errors import UserError
from stages.learn import interrupt
from stages.parallel import kept_checkpoints, ray_address, ray_node
from stages.parallel.engine import ENDS
from stages.parallel.training_process import Order

LOOKS = 0.1  # seconds between two looks at what is asked
COUNTS = 2.0  # seconds between two counts of the nodes
PATIENCE = 120.0  # seconds that trainings have to write their checkpoints once nobody waits for them any more
GONE = (
    20.0  # seconds without an answer of the cluster's head until it is taken to be gone; Ray itself gives up after 60
)

Call = Generator[Any, Any, None]  # yields references of Ray, and is sent what they refer to
Life = Generator[Any, Any, tuple[str, str]]  # the same; returns how it has ended and why


@dataclass(frozen=True)
class Setting:
    """Of a cluster. address: host:port of its head, or `auto`; gpus: of each training; root: where checkouts lie on a node;
    logs: the folder for them here; every: seconds between two sendings of a checkpoint."""

    address: str
    gpus: float
    root: Path
    logs: Path
    every: float


@dataclass
class Remote:
    """A training on a node."""

    number: int  # by which the other side knows it
    order: Order
    actor: Any = None
    placed: bool = False
    host: str = ""  # of its node
    node: str = ""  # Ray's id of that
    stop: bool = False
    landed: bool = False  # a checkpoint has come back
    life: Life | None = None
    waits_for: Any = None  # the reference


@dataclass
class Driver:
    """What this process is at."""

    setting: Setting
    pipe: connection.Connection
    head: tuple[str, int] = ("", 0)
    remotes: dict[int, Remote] = field(default_factory=dict)
    unfit: set[str] = field(default_factory=set)  # ids of nodes that cannot train
    told: tuple[list[tuple[float, float]], int] | None = None  # the nodes
    counted: float = 0.0
    answered: float = field(default_factory=time.monotonic)
    ends: float = float("inf")  # time.monotonic() when all must have ended

    def tell(self, number: int, kind: str, value: Any = "") -> None:
        with suppress(OSError):  # nobody listens any more; what comes back is written all the same
            self.pipe.send((number, kind, value))


def drive(setting: Setting, pipe: connection.Connection) -> None:
    """The process's whole life: connect, then do what the pipe asks until it is closed."""
    _ignore_signals()
    _stand_apart(setting)
    driver = Driver(setting, pipe)
    try:
        driver.head = ray_address.connect(setting.address)
    except UserError as error:
        driver.tell(-1, "refused", str(error))
        return
    _ignore_signals()  # Ray heeds SIGTERM
    while driver.remotes or driver.ends == float("inf"):
        _obey(driver)
        _count(driver)
        _go_on(driver)
        if time.monotonic() > driver.ends:
            break
    import ray

    ray.shutdown()


def _ignore_signals() -> None:
    """What asks the command to stop, and is sent to all its processes, is the command's affair."""
    for number in interrupt.heeded():
        signal.signal(number, signal.SIG_IGN)


def _stand_apart(setting: Setting) -> None:
    """What Ray prints goes to a file."""
    files.make_folder(setting.logs)
    os.chdir(setting.logs)  # Ray has nodes import from where its driver is, and a project may have a folder `stages`
    with (setting.logs / "ray.log").open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _obey(driver: Driver) -> None:
    """Do what the other side asks. Where it is gone, have all trainings write their checkpoints, and end."""
    try:
        while driver.pipe.poll(0 if driver.remotes else LOOKS):
            kind, number, value = driver.pipe.recv()
            if kind == "submit":
                remote = Remote(number, value)
                driver.remotes[number] = remote
                remote.life = _life(driver, remote)
                _step(driver, remote)
            elif kind == "cancel" and number in driver.remotes:
                driver.remotes[number].stop = True
            elif kind == "close":
                raise EOFError
    except (EOFError, OSError):
        if driver.ends == float("inf"):
            driver.ends = time.monotonic() + PATIENCE
        for remote in driver.remotes.values():
            remote.stop = True
        time.sleep(LOOKS)


def _count(driver: Driver) -> None:
    """Tell now and then which nodes there are; see that the cluster is still there."""
    now = time.monotonic()
    if now - driver.counted < COUNTS:
        return
    driver.counted = now
    try:
        socket.create_connection(driver.head, timeout=ray_address.REACHED).close()
        driver.answered = time.monotonic()
    except OSError as error:
        if time.monotonic() - driver.answered > GONE:
            host, port = driver.head
            driver.tell(-1, "gone", f"the Ray cluster at {host}:{port} is gone ({error.strerror or error})")
            os._exit(1)  # Ray would try for a minute, and then end this process itself
        return
    nodes = _tell_nodes(driver)
    for remote in [one for one in driver.remotes.values() if not one.placed]:
        if not sum(fitting(remote.order.cores, driver.setting.gpus, node) for node in nodes):
            _end(driver, remote, "lost", "the nodes that had room for it are gone")


def _tell_nodes(driver: Driver) -> list[tuple[float, float]]:
    """Cores and GPUs of each node that can train."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in driver.unfit]
    nodes = [(there.get("CPU", 0), there.get("GPU", 0)) for there in alive]
    if driver.told != (nodes, len(driver.unfit)):  # only what is new: nobody may listen for a long time
        driver.told = nodes, len(driver.unfit)
        driver.tell(-1, "nodes", driver.told)
    return nodes


def fitting(cores: int, gpus: float, node: tuple[float, float]) -> int:
    """Trainings that a node with so many cores and GPUs has room for."""
    by_cores = int(node[0] // cores)
    return min(by_cores, int(node[1] / gpus + 1e-9)) if gpus else by_cores


def _go_on(driver: Driver) -> None:
    """Give each training that waits for Ray what has come."""
    import ray

    for remote in [one for one in driver.remotes.values() if one.stop and not one.placed]:
        _end(driver, remote, "stopped", f"{remote.order.name} had not begun")
    waited_for = [reference for remote in driver.remotes.values() for reference in _references(remote)]
    if not waited_for:
        return
    ray.wait(waited_for, timeout=LOOKS, fetch_local=False)  # one is enough to go on
    ready = set(ray.wait(waited_for, num_returns=len(waited_for), timeout=0, fetch_local=False)[0])
    for remote in [one for one in driver.remotes.values() if ready.issuperset(_references(one))]:
        _step(driver, remote)


def _references(remote: Remote) -> list[Any]:
    return remote.waits_for if isinstance(remote.waits_for, list) else [remote.waits_for]


def _step(driver: Driver, remote: Remote) -> None:
    """Let a training go on until it waits for Ray again, or has ended."""
    import ray

    assert remote.life
    try:
        if remote.waits_for is None:
            remote.waits_for = next(remote.life)
            return
        try:
            came = ray.get(remote.waits_for)
        except Exception as error:
            remote.waits_for = remote.life.throw(error)
        else:
            remote.waits_for = remote.life.send(came)
    except StopIteration as ended:
        _end(driver, remote, *ended.value)
    except ray.exceptions.RayError as error:
        _end(driver, remote, "lost", _how_lost(remote, error))
    except UserError as error:  # what came back cannot be written here
        _end(driver, remote, "failed", str(error))
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        _end(driver, remote, "failed", f"unexpected {type(error).__name__}: {text}")


def _life(driver: Driver, remote: Remote) -> Life:
    """One training: have Ray place it, send what it goes on from, and pass on what it says until it has ended."""
    order = remote.order
    remote.actor = actor = _actor(driver, order)
    remote.host, remote.node = yield actor.where.remote()
    remote.placed = True
    driver.tell(remote.number, "placed", remote.host)
    for pieces in ray_node.in_pieces(pickle.dumps(order)):
        yield actor.take.remote(*pieces)
    yield actor.take_order.remote()
    while True:
        for kind, value in (yield actor.hear.remote(remote.stop)):
            if kind == "made":
                yield from _send_further(actor, remote, value)
            elif kind == "file":
                yield from _fetch(driver, remote, *value)
            elif kind == "unfit" or (kind == "full" and not remote.stop):
                driver.unfit.add(remote.node)
                _tell_nodes(driver)  # before the loss is told, so that who decides what comes next knows
                return "lost", f"{remote.host}: {value}"
            elif kind in (*ENDS, "full"):
                return "failed" if kind == "full" else kind, value
            else:
                driver.tell(remote.number, kind, value)


def _actor(driver: Driver, order: Order) -> Any:
    """On any node that has room, but for those that have proved unfit."""
    import ray

    lodging = ray_node.Lodging(driver.setting.root, driver.setting.every, driver.setting.gpus)
    options: dict[str, Any] = {"num_cpus": order.cores, "num_gpus": driver.setting.gpus, "max_restarts": 0}
    if driver.unfit:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(driver.unfit))})"}
    return ray.remote(ray_node.Node).options(**options).remote(lodging)


def _send_further(actor: Any, remote: Remote, there: dict[str, kept_checkpoints.Progress]) -> Call:
    """Send the checkpoints that go further than those on the node, and have it train."""
    known = []
    here = [] if remote.order.terms.fresh else kept_checkpoints.of(remote.order, _folder(remote))
    for path in here:
        own, theirs = kept_checkpoints.progress(path), there.get(path.name, kept_checkpoints.NONE)
        if own > theirs:
            with path.open("rb") as file:
                while content := file.read(ray_node.PIECE * ray_node.PIECES):
                    for pieces in ray_node.in_pieces(content):
                        yield actor.take_part.remote(path.name, *pieces)
            yield actor.take_checkpoint.remote(path.name)
        if own >= theirs:
            known.append(path.name)
    yield actor.train.remote(known)


def _fetch(driver: Driver, remote: Remote, name: str, size: int, progress: kept_checkpoints.Progress) -> Call:
    """Take a checkpoint over, unless the one here goes further. Raises UserError where it cannot be written."""
    path = _folder(remote) / name
    begins_anew = remote.order.terms.fresh and not remote.landed
    if kept_checkpoints.progress(path) > progress and not begins_anew:
        return
    with files.replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        while left := size - file.tell():
            count = min(ray_node.PIECES, -(-left // ray_node.PIECE))
            pieces = yield remote.actor.piece.options(num_returns=count).remote(count)
            file.writelines(pieces if count > 1 else [pieces])
    if path.suffix == ".ckpt":
        remote.landed = True
        driver.tell(remote.number, "kept", kept_checkpoints.in_words(progress))


def _folder(remote: Remote) -> Path:
    return remote.order.folder / paths.CHECKPOINTS


def _end(driver: Driver, remote: Remote, kind: str, value: str) -> None:
    """A training is over, or given up: nothing of it is left running once its actor is gone."""
    import ray

    del driver.remotes[remote.number]
    if remote.life:
        remote.life.close()  # a checkpoint that was being written is dropped
    with suppress(Exception):
        ray.kill(remote.actor)
    driver.tell(remote.number, kind, value)


def _how_lost(remote: Remote, error: Exception) -> str:
    """Why Ray has no training any more, in one line."""
    text = " ".join(str(error).split())
    where = remote.host or "a node"
    if (
        "node has died" in text
        or "node died" in text
        or type(error).__name__ in ("NodeDiedError", "ActorUnavailableError")
    ):
        return f"{where} is gone, or cannot be reached"
    if "OutOfMemory" in text or "memory" in type(error).__name__.lower():
        return f"{where} ran out of memory, and Ray ended it there"
    if "ModuleNotFoundError" in text or "ImportError" in text:
        found = text[max(text.find("ModuleNotFoundError"), text.find("ImportError"), 0) :][:120]
        return f"{where} has not maskcli installed as here ({found})"
    return f"its process on {where} has ended ({text[:160]})"
