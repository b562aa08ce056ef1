"""The routes: POST /predict answers photos, GET /health and GET /metrics tell of the service itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive

from stages.base.errors import UserError
from stages.serving import counts, incoming
from stages.serving.batching import Batcher, Batches, Full
from stages.serving.counts import Counts
from stages.serving.incoming import FULL, Bounds, Memory, Sent
from stages.serving.watched import CLIENT_GONE, Seen, watched

METHODS = {"/predict": "POST", "/health": "GET", "/metrics": "GET"}
T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """What the service asks of a model."""

    id: str
    size: tuple[int, int]  # height and width of the pixels that `read` gives
    read: Callable[[bytes], np.ndarray]  # a photo's bytes to uint8 [H, W, 3]; raises UserError, without a name
    run: Callable[[np.ndarray], np.ndarray]  # uint8 [n, H, W, 3] to probabilities [n, C]
    told: Callable[[np.ndarray, bool], list[dict[str, Any]]]  # probabilities [n, C], whether to list them: JSON a photo


@dataclass(frozen=True)
class Service:
    """What the routes share."""

    model: Model
    batcher: Batcher
    bounds: Bounds
    memory: Memory
    counts: Counts
    patience: float  # seconds in which a request that has arrived must be answered


def application(model: Model, batches: Batches, bounds: Bounds, decoders: int, say: Callable[[Seen], None]) -> ASGIApp:
    """The service as an ASGI application; `say` is told of each request that is done with.

    Before it is returned the networks run on blank photos, one and as many as a batch may hold: what the first clients would
    wait for, or memory that is lacking, is met now.
    """
    counted = Counts()
    pools = ThreadPoolExecutor(decoders, "decode"), ThreadPoolExecutor(1, "networks")
    batcher = Batcher(model.read, model.run, batches, counted, *pools)
    for count in (1, batches.most):
        pools[1].submit(model.run, np.zeros((count, *model.size, 3), np.uint8)).result()
    service = Service(model, batcher, bounds, Memory(bounds.memory), counted, bounds.seconds)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        working = asyncio.create_task(batcher.work())
        try:
            yield
        finally:
            working.cancel()
            for pool in pools:
                pool.shutdown(cancel_futures=True)

    routes = [
        Route("/predict", partial(_predict, service), methods=["POST"]),
        Route("/health", partial(_health, service), methods=["GET"]),
        Route("/metrics", partial(_metrics, service), methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refused, Exception: _failed})
    app.router.redirect_slashes = False
    return watched(app, counted, tuple(METHODS), say)


async def _predict(service: Service, request: Request) -> Response:
    with service.memory.share() as take:
        try:
            listed = incoming.wants_probabilities(request)
            sent = await incoming.photos(request, service.bounds, service.memory, take)
            work = service.batcher.predict(sent.photos)
            found = await _unless_gone(request.receive, work, service.patience)
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        except Full:
            waiting = service.batcher.waiting
            raise HTTPException(503, f"busy: {waiting} photos wait; try again in a second", FULL) from None
        except TimeoutError:
            raise HTTPException(504, f"no answer within {service.patience:g} s; try again") from None
    return _answer(service, sent, found, listed)


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """What `work` comes to. Raises ClientDisconnect where the client goes before that, or TimeoutError; then it is cancelled."""
    working = asyncio.create_task(work)
    listening = asyncio.create_task(_gone(receive))
    try:
        done, _ = await asyncio.wait((working, listening), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
        if not working.done():
            working.cancel()
    if working in done:
        return working.result()
    await asyncio.wait((working,))
    raise ClientDisconnect if listening in done else TimeoutError


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _answer(service: Service, sent: Sent, found: list[np.ndarray | BaseException], listed: bool) -> JSONResponse:
    """Of a body the photo's answer; of a form a list of them, in which a photo that cannot be read has an error."""
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, UserError):
            raise one
    read = [one for one in found if isinstance(one, np.ndarray)]
    told = iter(service.model.told(np.stack(read), listed) if read else [])
    rows = [
        {"file": name} | ({"error": str(one)} if isinstance(one, BaseException) else next(told))
        for name, one in zip(sent.names, found, strict=True)
    ]
    service.counts.photos["answered"] += len(read)
    service.counts.photos["unreadable"] += len(rows) - len(read)
    if sent.in_form:
        return JSONResponse({"photos": rows, "model": service.model.id}, 200 if read else 422)
    (row,) = rows
    if not read:
        return JSONResponse({"error": f"the photo {row['error']}"}, 422)
    del row["file"]
    return JSONResponse(row | {"model": service.model.id})


async def _health(service: Service, request: Request) -> Response:
    """Whether photos are answered. Before the weights are in and the networks have run, nothing listens."""
    stuck = service.batcher.seconds_in_networks()
    if stuck > service.patience:
        return JSONResponse({"status": "stuck", "seconds": round(stuck), "model": service.model.id}, 503)
    return JSONResponse({"status": "ready", "model": service.model.id})


async def _metrics(service: Service, request: Request) -> Response:
    text = counts.text(service.counts, service.batcher.waiting, service.model.id)
    return Response(text, media_type=counts.TYPE)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    line = error.detail
    if error.status_code == 404:
        line = "there is no such path; POST /predict answers photos, GET /health and GET /metrics tell of the service"
    if error.status_code == 405:
        line = f"{request.scope['path']} takes {METHODS[request.scope['path']]} only"
    return JSONResponse({"error": line}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"unexpected {type(error).__name__}; the service's log says more"}, 500)
