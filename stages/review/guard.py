"""Who may ask: whoever opened the printed URL, in a browser that no other site speaks through.

Three ways in are closed. Other users and programs of the machine lack the token. Other sites in the same browser cannot write,
since a browser says where a request comes from (Origin), and are not shown anything (SameSite=Strict, no CORS). A name that
another site has pointed at this address (DNS rebinding) is no name that is asked for here.
"""

import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_BYTES = 24  # random ones
SAFE = ("GET", "HEAD")
LACKING = (
    "maskcli review: this URL lacks the token, or has another session's; open the URL that `maskcli review` printed"
)
OTHER_NAME = "maskcli review: is not asked for by this name; open the URL that `maskcli review` printed"
OTHER_SITE = "maskcli review: this request comes from another site, and nothing was written; decide on the page itself"
EARLIER = (
    "maskcli review: this page is of an earlier start, whose questions and photos may have had other numbers; nothing was "
    "written; load the page again"
)
ONWARD = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>maskcli</title><a href="/">review</a>'
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """What a request must show."""

    port: int  # where it listens: browsers share cookies between the ports of a host
    host: str  # as it was asked to listen at
    token: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES))
    # What a page's requests name, and no secret: a tab that is left over from an earlier start gets the new cookie too.
    session: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def cookie(self) -> str:
        return f"maskcli_review_{self.port}"

    def holds(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())

    def is_named(self, host: str) -> bool:
        """Whether a Host header names this machine: by an address, or by a name of its own."""
        name = _name(host)
        return name in {"localhost", self.host.lower(), socket.gethostname().lower()} or _is_address(name)


def guarded(app: ASGIApp, access: Access) -> ASGIApp:
    """An ASGI application that lets through to `app` what may ask, and answers 403 to the rest."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                added += [] if b"cache-control" in known else [(b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        answer = _refused(scope, access)
        await (app if answer is None else answer)(scope, receive, sent)

    return run


def _refused(scope: Scope, access: Access) -> Response | None:
    """What to answer in the application's place; None where it may answer itself."""
    headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
    token = query.get("token")
    if not access.is_named(headers.get("host", "")):
        return PlainTextResponse(OTHER_NAME, 403)
    if scope["method"] not in SAFE and not from_itself(headers):
        return PlainTextResponse(OTHER_SITE, 403)
    if token is not None:
        return _entered(access, headers) if access.holds(token) else PlainTextResponse(LACKING, 403)
    shown = cookie_parser(headers.get("cookie", "")).get(access.cookie, "")
    if not access.holds(shown):
        return PlainTextResponse(LACKING, 403)
    return None if query.get("session", access.session) == access.session else PlainTextResponse(EARLIER, 409)


def _entered(access: Access, headers: Mapping[str, str]) -> Response:
    """To the page without the token in its URL, which stays in histories and is sent along by people.

    Where the URL was a link on another site's page (a notebook's terminal, a chat), a browser sends no strict cookie through a
    redirect: what leads on is then a page of this site.
    """
    typed = headers.get("sec-fetch-site") in ("none", "same-origin", "same-site")
    answer = RedirectResponse("/", 303) if typed else HTMLResponse(ONWARD)
    answer.set_cookie(access.cookie, access.token, httponly=True, samesite="strict", path="/")
    return answer


def from_itself(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that its own page sends this. What says nothing about it is no browser of today, and refused."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return bool(origin) and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
