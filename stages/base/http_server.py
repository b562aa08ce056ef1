"""The HTTP server around the application: its socket, its end, and connections that it would wait for in vain."""

import asyncio
import errno
import math
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from stages.base.errors import UserError

HEAD = 10.0  # seconds in which a request's first line and headers must have come
KEPT = 75.0  # seconds that an idle connection is kept: longer than proxies keep theirs (60), so that they close it
HOSTS = "127.0.0.1 is this machine alone, 0.0.0.0 all its networks"
BACKLOG = 1024  # connections that wait to be accepted
HIGHEST = 65_535  # of the ports
NEAR = 20  # ports tried after one that is taken


class Taken(UserError):
    """Another program listens at this port."""


def bound(host: str, port: int) -> socket.socket:
    """A socket with a place at host and port (0: a free one), where nobody is let in yet. Raises UserError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise UserError(
            f"--host {host}: is no address; 127.0.0.1 is this machine alone, 0.0.0.0 all its networks"
        ) from None
    family, kind, protocol, _, address = found[0]
    place = socket.socket(family, kind, protocol)
    if sys.platform != "win32":  # a port is free though connections of its last owner are still being closed
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _told(place, host, port):
        place.bind(address)
    return place


def listen(place: socket.socket, host: str) -> str:
    """Let clients in, and return the URL. Raises UserError: of two that were bound at once, one may listen."""
    port = place.getsockname()[1]
    with _told(place, host, port):
        place.listen(BACKLOG)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listening(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket that lets clients in, and its URL: at `port`, or at the next one that is free. Raises UserError."""
    for one in range(port, min(port + NEAR, HIGHEST) + 1):
        try:
            place = bound(host, one)
            return place, listen(place, host)
        except Taken:
            continue
    raise Taken(
        f"--port {port}: other programs listen there and at the next {NEAR}; name another port, or 0 for any free one"
    )


@contextmanager
def _told(place: socket.socket, host: str, port: int) -> Iterator[None]:
    """What the system says against a place, in one line."""
    try:
        yield
    except OSError as error:
        place.close()
        if error.errno == errno.EADDRINUSE:
            raise Taken(
                f"--port {port}: another program listens at {host}:{port}; name another port, or 0 for any free one"
            ) from None
        if error.errno == errno.EACCES:
            line = f"--port {port}: this user may not listen there; name a port from 1024 on"
        else:
            line = f"--host {host}: cannot listen there ({error.strerror}); {HOSTS}"
        raise UserError(line) from None


def made(app: ASGIApp, patience: float) -> uvicorn.Server:
    """The server of an application. At its end it finishes the requests that are there, for `patience` seconds at most."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,  # warnings and errors go to stderr, line by line
            timeout_keep_alive=round(KEPT),
            timeout_graceful_shutdown=math.ceil(patience),
        )
    )


def run(server: uvicorn.Server, place: socket.socket, patience: float) -> None:
    """Serve until SIGTERM or SIGINT (Ctrl-C). patience: seconds that a request may take to arrive, and to be answered."""
    with _ended_by_signals():
        asyncio.run(_serve(server, place, patience))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """uvicorn ends at these signals, then sends them again to whoever handled them before it: by default they kill."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _serve(server: uvicorn.Server, place: socket.socket, patience: float) -> None:
    sweeping = asyncio.create_task(_sweep(server, patience))
    try:
        await server.serve(sockets=[place])
    finally:
        sweeping.cancel()


async def _sweep(server: uvicorn.Server, patience: float) -> None:
    """Close the connections that have been in one state for too long: uvicorn has a time limit for idle ones alone, and lets a
    client that sends a byte now and then hold its connection for ever.
    """
    since: dict[H11Protocol, tuple[State, float]] = {}
    while True:
        await asyncio.sleep(1)
        now, before = asyncio.get_running_loop().time(), since
        since = {}
        for connection in server.server_state.connections:
            if not isinstance(connection, H11Protocol):
                continue
            state = _state(connection)
            was, began = before.get(connection, (state, now))
            since[connection] = state, (began if was == state else now)
            if now - since[connection][1] > _allowed(state, patience):
                connection.transport.abort()


State = tuple[
    RequestResponseCycle | None, bool, bool
]  # the latest request, whether it is answered, whether a next one begins


def _state(connection: H11Protocol) -> State:
    latest = connection.cycle
    answered = latest is None or latest.response_complete
    return latest, answered, answered and bool(connection.conn.trailing_data[0])


def _allowed(state: State, patience: float) -> float:
    """Seconds that a connection may be in a state."""
    latest, answered, begun = state
    if not answered:
        return 2 * patience + HEAD  # until it has arrived, until it is answered, until the answer is taken
    return HEAD if latest is None or begun else KEPT + HEAD
