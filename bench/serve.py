"""The HTTP service under load: 1, 8 and 64 clients, then a soak with bad requests among good ones.

python bench/serve.py [--requests 20000] [--project FOLDER]      (about ten minutes on two quiet cores; prints JSON)

A real `maskcli serve` on loopback answers the demo's photos by the demo's tiny model (five folds, two views); the clients
share its cores. Load: each client sends a photo, waits for the answer, sends the next one, on a connection that it keeps.
Soak: 32 clients, 15 of 100 requests bad in turn (KINDS), 24 more that send a byte a second all the while. Watched from outside:
memory (from the first tenth to the end), file descriptors and threads (from before to after it), and every answer's status.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import scratch
from scratch import report, say, table

CLIENTS = (1, 8, 64)
SOAKING, SLOW = 32, 24  # clients at a time
BAD = 0.15  # share of the soak's requests
HEADERS = b"Host: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="of the soak")
    parser.add_argument("--seconds", type=float, default=20, help="of each load, about")
    parser.add_argument("--project", type=Path, help="a finished project; else one is trained")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = (options.project or trained(Path(folder) / "project")).resolve()
        photos = [path.read_bytes() for path in sorted((project / "data/eval/images").iterdir())]
        service = started(project, Path(folder) / "log")
        try:
            loads = [asyncio.run(load(service, photos, clients, options.seconds)) for clients in CLIENTS]
            soaked = asyncio.run(soak(service, photos, options.requests))
        finally:
            service.process.terminate()
            ended = service.process.wait(120)
    tell(service, loads, soaked, ended)


def trained(project: Path) -> Path:
    """The demo, as `make demo` makes it but for its epochs."""
    scratch.make(project, 48, 40, {"train": {"epochs": 2}, "lr_find": {"steps": 20}, "ensemble": {"replicates": 200}})
    for words in ("prepare", "kfold", "lr-find", "folds", "oof-ensemble"):
        say(f"maskcli {words}")
        scratch.run(project, "maskcli", words)
    return project


@dataclass(frozen=True)
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    port: int
    start: float  # seconds from the command to its first line

    def cpu(self) -> float:
        """Seconds of CPU time that it has taken."""
        return sum(psutil.Process(self.process.pid).cpu_times()[:2])

    def state(self) -> tuple[float, int, int]:
        """Resident memory MB, file descriptors, threads."""
        seen = psutil.Process(self.process.pid)
        return seen.memory_info().rss / 1e6, seen.num_fds(), seen.num_threads()


def started(project: Path, log: Path) -> Served:
    words = [str(scratch.BIN / "maskcli"), "serve", ".", "--port", "0", "--json", "--max-mb", "1"]
    began = time.perf_counter()
    process = subprocess.Popen(
        words, cwd=project, env=scratch.ENVIRONMENT, stdout=subprocess.PIPE, stderr=log.open("w"), text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise scratch.Failed(log.read_text().strip().splitlines()[-1])
    return Served(process, int(json.loads(line)["url"].rpartition(":")[2]), time.perf_counter() - began)


# One request and its answer's status; 0: the connection was closed without one.


class Client:
    """A connection that is kept, and made again where the service has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, *pieces: bytes) -> int:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        try:
            writer.writelines(pieces)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(one.partition(b":")[2]) for one in lines if one.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError):
            await self.close()
            return 0
        if b"connection: close" in lines:
            await self.close()
        return int(head.split(b" ", 2)[1])

    async def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def post(content: bytes, kind: bytes = b"image/jpeg", path: bytes = b"/predict") -> tuple[bytes, bytes]:
    return b"POST " + path + b" HTTP/1.1\r\n" + HEADERS % (kind, len(content)), content


async def gone_early(client: Client, photo: bytes) -> int:
    """Half a photo, or a whole one, and then nobody who waits for the answer."""
    await client.close()
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    head, content = post(photo)
    writer.writelines([head, content[: random.choice((10, len(content)))]])
    await writer.drain()
    writer.close()
    return 0


def simply(*allowed: int, made: Callable[[bytes], tuple[bytes, ...]]) -> "Kind":
    async def ask(client: Client, photo: bytes) -> int:
        return await client.send(*made(photo))

    return Kind(allowed, ask)


@dataclass(frozen=True)
class Kind:
    """A kind of request: the statuses that it may get, and how it is sent."""

    allowed: tuple[int, ...]
    ask: Callable[[Client, bytes], Awaitable[int]]


FORM = b'--x\r\nContent-Disposition: form-data; name="p"; filename="%d.jpg"\r\n\r\n%b\r\n'
MULTIPART = b"multipart/form-data; boundary=x"
GOOD = simply(200, made=post)
KINDS = {
    "broken JPEG": simply(422, made=lambda photo: post(photo[: len(photo) // 2])),
    "JPEG of noise": simply(422, made=lambda photo: post(photo[:30] + random.randbytes(len(photo) - 30))),
    "empty body": simply(422, made=lambda photo: post(b"")),
    "text for a photo": simply(422, made=lambda photo: post(b"http://127.0.0.1/x.jpg")),
    "too large": simply(413, made=lambda photo: post(bytes(1_200_000))),
    "wrong type": simply(415, made=lambda photo: post(photo, b"text/html")),
    "wrong method": simply(405, made=lambda photo: (b"PUT /predict HTTP/1.1\r\n" + HEADERS % (b"a/b", 5), b"12345")),
    "wrong path": simply(404, made=lambda photo: post(photo, path=b"/../../etc/passwd")),
    "wrong query": simply(400, made=lambda photo: post(photo, path=b"/predict?url=file:///etc/passwd")),
    "cut form": simply(400, made=lambda photo: post(FORM % (1, photo), MULTIPART)),
    "form, one broken": simply(
        200, made=lambda photo: post(FORM % (1, photo) + FORM % (2, photo[:99]) + b"--x--", MULTIPART)
    ),
    "no HTTP": simply(400, 0, made=lambda photo: (random.randbytes(40) + b"\r\n\r\n",)),
    "broken chunks": simply(
        400, 0, made=lambda photo: (b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",)
    ),
    "gone early": Kind((0,), gone_early),
}


@dataclass
class Load:
    """What so many clients met."""

    clients: int
    took: list[float]  # latencies of all requests, seconds
    rate: float  # photos a second
    cpu: float  # the service's CPU seconds a photo


async def load(service: Served, photos: list[bytes], clients: int, seconds: float) -> Load:
    took: list[float] = []
    begun, before_all = time.perf_counter(), service.cpu()

    async def one(number: int) -> None:
        client = Client(service.port)
        for photo in itertools.islice(itertools.cycle(photos), number, None):
            before = time.perf_counter()
            if before - begun > seconds:
                break
            status = await client.send(*post(photo))
            assert status == 200, status
            took.append(time.perf_counter() - before)
        await client.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    rate = len(took) / (time.perf_counter() - begun)
    say(f"{clients} clients: {len(took)} photos, {rate:.1f} photos/s")
    return Load(clients, took, rate, (service.cpu() - before_all) / len(took))


@dataclass
class Soaked:
    """What the soak came to."""

    statuses: Counter[tuple[str, int]]
    wrong: list[str]  # answers that should have been others
    states: list[tuple[int, float, int, int]]  # requests done, and `Served.state`
    slow: Counter[str]
    seconds: float = 0.0


async def soak(service: Served, photos: list[bytes], requests: int) -> Soaked:
    """`requests` of SOAKING clients, and SLOW ones beside them."""
    found = Soaked(Counter(), [], [], Counter())
    numbers = iter(range(requests))
    drawn = random.Random(0)
    begun = time.perf_counter()

    async def one() -> None:
        client = Client(service.port)
        for number in numbers:
            name = drawn.choice(list(KINDS)) if drawn.random() < BAD else "good"
            kind = KINDS.get(name, GOOD)
            status = await kind.ask(client, drawn.choice(photos))
            found.statuses[name, status] += 1
            if status not in kind.allowed:
                found.wrong.append(f"{name}: {status}")
            if number and number % (requests // 10) == 0:
                found.states.append((number, *service.state()))
                say(f"soak: {found.states[-1]}")
        await client.close()

    found.states.append((0, *service.state()))
    slow = [asyncio.create_task(byte_by_byte(service.port, number, found.slow)) for number in range(SLOW)]
    await asyncio.gather(*(one() for _ in range(SOAKING)))
    for task in slow:
        task.cancel()
    found.seconds = time.perf_counter() - begun
    await asyncio.sleep(12)  # connections that went away are seen to have gone
    found.states.append((requests, *service.state()))
    return found


async def byte_by_byte(port: int, number: int, ends: Counter[str]) -> None:
    """Send a byte a second of a request's head, or of its body, until the service has had enough; then again."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b""
        sent = b"".join(post(bytes(3000)))
        if number % 2:
            writer.write(sent[:90])  # all of the head
            sent = sent[90:]
        answer = asyncio.create_task(reader.read(100))
        try:
            with suppress(ConnectionError):
                for letter in sent:
                    writer.write(bytes([letter]))
                    await asyncio.wait((answer,), timeout=1)
                    if answer.done():
                        break
                head = await answer
        finally:
            writer.close()
        ends["408 and closed" if head.startswith(b"HTTP/1.1 408") else "closed"] += 1


def tell(service: Served, loads: list[Load], soaked: Soaked, ended: int) -> None:
    rows: list[list[Any]] = []
    for one in loads:
        p50, p99 = (1000 * statistics.quantiles(one.took, n=100)[place] for place in (49, 98))
        numbers = (p50, p99, one.rate, 1000 * one.cpu)
        rows.append([one.clients, *(round(number, 1) for number in numbers), len(one.took)])
    (_, *first), (_, *early), (_, *late) = (soaked.states[place] for place in (0, 1, -1))
    told: dict[str, list[str]] = {}
    for (name, status), count in sorted(soaked.statuses.items()):
        told.setdefault(name, []).append(f"{status or 'closed'}: {count}")
    errors = sum(count for (_, status), count in soaked.statuses.items() if status >= 500)
    goals = {
        "serve_soak_errors_5xx": float(errors),
        "serve_soak_wrong_answers": float(len(soaked.wrong)),
        "serve_soak_growth_mb": round(late[0] - early[0], 1),
        "serve_soak_growth_fds": float(late[1] - first[1]),
        "serve_soak_growth_threads": float(late[2] - first[2]),
        "serve_exit_code": float(ended),
        "serve_start_seconds": round(service.start, 1),
    }
    states = [[done, round(memory, 1), fds, threads] for done, memory, fds, threads in soaked.states]
    report(
        goals,
        [
            table("Load", ["clients", "p50, ms", "p99, ms", "photos/s", "CPU, ms a photo", "photos"], rows),
            table("Soak", ["requests", "memory, MB", "file descriptors", "threads"], states),
            table(
                "Answers in the soak",
                ["request", "status: count"],
                [[name, ", ".join(counts)] for name, counts in told.items()],
            ),
        ],
        [
            f"Soak: {sum(soaked.statuses.values())} requests in {soaked.seconds:.0f} s.",
            f"Clients that sent a byte a second: {dict(soaked.slow)}.",
            *soaked.wrong[:10],
        ],
    )


if __name__ == "__main__":
    main()
