"""What a request for answers may hold: photos as its body or in a form, within bounds of type, bytes and time."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from stages.serving import form

RAW = ("image/jpeg", "image/png", "application/octet-stream")
FORM = "multipart/form-data"
HOW = "curl -F photo=@photo.jpg, or curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg'"
FULL = {"Retry-After": "1"}


@dataclass(frozen=True)
class Bounds:
    """Of one request, and of all that are there at a time."""

    bytes: int  # of a request's body
    photos: int  # in a form
    memory: int  # bytes of all bodies that have no answer yet
    seconds: float  # in which a body must arrive


@dataclass
class Memory:
    """Bytes of the bodies that have no answer yet."""

    most: int
    used: int = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes so many bytes more, until the end of the block. It raises HTTPException 503."""
        own = 0

        def take(size: int) -> None:
            nonlocal own
            self.check(size)
            own += size
            self.used += size

        try:
            yield take
        finally:
            self.used -= own

    def check(self, size: int) -> None:
        if self.used + size > self.most:
            raise HTTPException(503, "busy: the photos that wait take all the memory; try again in a second", FULL)


@dataclass(frozen=True)
class Sent:
    """Photos by the names that their sender gives them."""

    names: tuple[str, ...]
    photos: tuple[bytes, ...]
    in_form: bool  # then the answer is a list


def wants_probabilities(request: Request) -> bool:
    """What the query asks for. Raises HTTPException 400 for what it cannot."""
    asked = request.query_params.multi_items()
    for key, value in asked:
        if key != "probabilities" or value not in ("0", "1"):
            said = f"{key}={value}"[:80]
            raise HTTPException(400, f"query: `{said}` is not known; it can be probabilities=1")
    return bool(asked) and asked[-1][1] == "1"


async def photos(request: Request, bounds: Bounds, memory: Memory, take: Callable[[int], None]) -> Sent:
    """The photos of a request. Raises HTTPException (400, 408, 413, 415, 503) and ClientDisconnect."""
    kind = request.headers.get("content-type", RAW[-1])  # RFC 9110, 8.3: without a type a receiver may take it for this
    short = kind.partition(";")[0].strip().lower()
    if short not in (*RAW, FORM):
        raise HTTPException(415, f"content type `{short[:80]}`: send a JPEG or PNG ({HOW})")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "a body with a Content-Encoding is not unpacked; send the photo as it is")
    declared = int(request.headers.get("content-length", 0))
    if declared > bounds.bytes:
        raise too_large(bounds)
    memory.check(declared)
    body = await _body(request, bounds, take)
    if short != FORM:
        return Sent(("photo",), (body,), False)
    return _of_form(kind, body, bounds)


def too_large(bounds: Bounds) -> HTTPException:
    return HTTPException(413, f"the request has more than {bounds.bytes:,} bytes; send fewer or smaller photos")


async def _body(request: Request, bounds: Bounds, take: Callable[[int], None]) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > bounds.bytes:
                    raise too_large(bounds)
                take(len(chunk))
                body += chunk
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive within {bounds.seconds:g} s; send it again") from None
    return bytes(body)


def _of_form(kind: str, body: bytes, bounds: Bounds) -> Sent:
    try:
        fields = form.parts(kind, body, bounds.photos)
    except form.BadForm as error:
        raise HTTPException(400, f"the form cannot be read: {error} ({HOW})") from None
    if not fields:
        raise HTTPException(400, f"the form holds no photo ({HOW})")
    wrong = next((one.field for one in fields if one.file is None), None)
    if wrong is not None:
        raise HTTPException(400, f"the form's field `{wrong[:80]}` is no file; what is asked for stands in the query")
    names = tuple(one.file[:255] if one.file else one.field[:255] for one in fields)
    return Sent(names, tuple(one.content for one in fields), True)
