"""The routes: the page, its style and script, pictures by number, questions and photos as JSON, and two that write."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stages.base.errors import UserError
from stages.data.decode import BadPhoto
from stages.review import guard, page_data
from stages.review.decisions import Asked
from stages.review.guard import Access
from stages.review.page_data import Filter, View
from stages.review.pictures import SIZES, Pictures

PAGE = Path(__file__).with_name("page")
TEMPLATE = "review.html.jinja"
FILES = {"review.css": "text/css", "review.js": "text/javascript"}
LARGEST = 20_000  # bytes of a decision
LONGEST = 80  # letters of a name
ARRIVES = 10.0  # seconds in which a decision must arrive


@dataclass(frozen=True)
class Review:
    """What the routes share. `looking` is one thread, so that no two requests read or write decisions at a time."""

    view: View
    pictures: Pictures
    who: str
    session: str  # which start of the command this is
    notes: tuple[str, ...]
    looking: ThreadPoolExecutor
    decoding: ThreadPoolExecutor

    async def ask(self, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.looking, partial(work, *given))


def application(
    view: View, pictures: Pictures, access: Access, who: str, notes: tuple[str, ...], decoders: int
) -> ASGIApp:
    """The page and what it asks for, as an ASGI application. who: whose decisions they are, unless a browser names another."""
    pools = ThreadPoolExecutor(1, "look"), ThreadPoolExecutor(decoders, "decode")
    review = Review(view, pictures, who, access.session, notes, *pools)
    texts = {name: (PAGE / name).read_bytes() for name in FILES}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        for pool in pools:
            pool.shutdown(cancel_futures=True)

    def route(path: str, answer: Callable[[Review, Request], Awaitable[Response]], method: str = "GET") -> Route:
        return Route(path, partial(answer, review), methods=[method])

    routes = [
        route("/", _page),
        *(Route(f"/{name}", partial(_text, texts[name], kind)) for name, kind in FILES.items()),
        Route("/favicon.ico", _nothing),
        route("/photo/{number}/{size}.jpg", _picture),
        route("/question", _question),
        route("/photos", _photos),
        route("/photo/{number}", _alone),
        route("/decide", _decide, "POST"),
        route("/undo", _undo, "POST"),
    ]
    handlers: Any = {HTTPException: _refused, UserError: _cannot, Exception: _failed}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return guard.guarded(app, access)


async def _page(review: Review, request: Request) -> Response:
    """The page, with what it begins with inside."""
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
    start = page_data.start(review.view, review.who, review.notes) | {"session": review.session}
    return Response(environment.get_template(TEMPLATE).render(start=start), media_type="text/html")


async def _text(content: bytes, kind: str, request: Request) -> Response:
    return Response(content, media_type=kind)


async def _nothing(request: Request) -> Response:
    return Response(status_code=204)


async def _picture(review: Review, request: Request) -> Response:
    """A photo as JPEG; where it cannot be shown, why, in a line. A browser that has it asks whether it is still the same."""
    number, size = _number(review, request), request.path_params["size"]
    if size not in SIZES:
        raise HTTPException(404, f"a photo is {', '.join(SIZES)}")
    loop = asyncio.get_running_loop()
    try:
        state = await loop.run_in_executor(review.decoding, review.pictures.state, number)
        headers = {"ETag": f'"{state}-{size}"', "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        jpeg = await loop.run_in_executor(review.decoding, review.pictures.jpeg, number, size)
    except BadPhoto as fault:
        raise HTTPException(422, f"this photo {fault}") from None
    return Response(jpeg, media_type="image/jpeg", headers=headers)


async def _question(review: Review, request: Request) -> Response:
    way = request.query_params.get("way", "next")
    if way not in ("next", "after", "before", "at"):
        raise HTTPException(400, "way is next, after, before or at")
    found = await review.ask(review.view.step, way, _whole(request, "from", -1), _filter(request))
    return JSONResponse(found)


async def _photos(review: Review, request: Request) -> Response:
    return JSONResponse(await review.ask(review.view.listed, _filter(request), max(0, _whole(request, "page", 0))))


async def _alone(review: Review, request: Request) -> Response:
    return JSONResponse(await review.ask(review.view.alone, _number(review, request)))


async def _decide(review: Review, request: Request) -> Response:
    sent = await _sent(request)
    question = sent.get("question")
    texts = [sent.get(name) for name in ("id", "axis", "new")]
    known = question is None or (type(question) is int and 0 <= question < len(review.view.questions))
    if not known or not all(isinstance(text, str) for text in texts) or type(sent.get("seen")) is not int:
        raise HTTPException(400, "a decision has id, axis, new, seen, and the question's number or null")
    name, axis, new = map(str, texts)
    asked = Asked(name, axis, new, _who(review, sent), sent["seen"], question)
    answer = await review.ask(review.view.decisions.decide, asked)
    return JSONResponse({"row": answer.row and page_data.as_json(answer.row), "told": answer.told})


async def _undo(review: Review, request: Request) -> Response:
    sent = await _sent(request)
    row = page_data.row_of(sent.get("row") if isinstance(sent.get("row"), dict) else {})  # type: ignore[arg-type]
    answer = await review.ask(review.view.decisions.undo, row, _who(review, sent))
    return JSONResponse({"row": answer.row and page_data.as_json(answer.row), "told": answer.told})


async def _sent(request: Request) -> dict[str, Any]:
    """The JSON object that a browser sends. Raises HTTPException."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send JSON")
    body = bytearray()
    try:
        async with asyncio.timeout(ARRIVES):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST:
                    raise HTTPException(413, f"a decision has more than {LARGEST:,} bytes")
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(408, "the decision did not arrive; nothing was written") from None
    try:
        value = json.loads(bytes(body))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HTTPException(400, "send a JSON object")
    return value


def _who(review: Review, sent: dict[str, Any]) -> str:
    """Whose decision it is: as the browser says, or whoever started the command."""
    who = sent.get("who")
    return " ".join(who.split())[:LONGEST] if isinstance(who, str) and who.strip() else review.who


def _filter(request: Request) -> Filter:
    label = _whole(request, "class", -1)
    return Filter(
        request.query_params.get("about", ""), None if label < 0 else label, request.query_params.get("text", "")[:200]
    )


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "") or str(default)
    try:
        return max(-1, min(int(text), 10**9))
    except ValueError:
        raise HTTPException(400, f"{name} is a whole number") from None


def _number(review: Review, request: Request) -> int:
    """The number of the photo that a URL names. Raises HTTPException where there is none of it."""
    text, photos = request.path_params["number"], len(review.view.photos.files)
    # Longer ones are not even read: of thousands of digits int() makes no number.
    number = int(text) if text.isdecimal() and len(text) < 10 else photos
    if number >= photos:
        raise HTTPException(404, f"there are {photos} photos; this is none of them")
    return number


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


async def _cannot(request: Request, error: Exception) -> Response:
    """What corrections.csv or a decision cannot be; nothing was written."""
    return PlainTextResponse(f"{error}", 409)


async def _failed(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"unexpected {type(error).__name__}; the terminal of `maskcli review` says more", 500)
