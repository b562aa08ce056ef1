"""Around the routes: every request is counted and told of, and none leaves a body behind that nobody reads."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stages.serving.counts import Counts

CLIENT_GONE = 499  # nobody is sent it: as nginx logs a client that went away before its answer
LINGER = 2.0  # seconds in which the rest of a refused request is read, at most
REST = 32 * 2**20  # bytes of it


@dataclass(frozen=True)
class Seen:
    """A request that is done with."""

    client: str
    method: str
    path: str
    status: int
    seconds: float


@dataclass
class Body:
    """Whether a request's body has been read to its end."""

    read: bool


def watched(app: ASGIApp, counts: Counts, paths: tuple[str, ...], say: Callable[[Seen], None]) -> ASGIApp:
    """An ASGI application that does what `app` does. Requests are counted by those of `paths`; others are `other`."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), CLIENT_GONE
        headers = dict(scope["headers"])
        body = Body(read=headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers)

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                body.read = True
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not body.read:
                    await _read_rest(received, body, b"expect" in headers)
                if not body.read:  # what comes after it on this connection is no request
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        counts.requests_now += 1
        try:
            await app(scope, received, sent)
        finally:
            counts.requests_now -= 1
            path = scope["path"] if scope["path"] in paths else "other"
            seconds = time.perf_counter() - began
            counts.requests[path, status] += 1
            if path == "/predict":
                counts.seconds.observe(seconds)
            client = scope["client"][0] if scope["client"] else "-"
            say(Seen(client, scope["method"], scope["path"], status, seconds))

    return run


async def _read_rest(receive: Receive, body: Body, waits: bool) -> None:
    """Read on where an answer comes before the end of the body: closed now, the connection would be reset under its sender, who
    would see that in place of the answer. One who waits to be asked for the body (`Expect: 100-continue`) sends none.
    """
    if waits:
        return
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while not body.read and size < REST:
                size += len((await receive()).get("body", b""))


def log(say: Callable[[str], None]) -> Callable[[Seen], None]:
    """A line a request: when, who, what, status, milliseconds. What a client sends cannot begin another line."""

    def line(seen: Seen) -> None:
        path = "".join(letter if " " < letter <= "~" else repr(letter)[1:-1] for letter in seen.path[:200])
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        say(f"{when} {seen.client} {seen.method} {path} {seen.status} {seen.seconds * 1000:.0f} ms")

    return line
