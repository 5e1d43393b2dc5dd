"""Stands before the page: lets through what the page itself asks for, and nothing else.

Gradio answers on dozens of routes: files, uploads, other servers' addresses, stored calls, tools for development. This
page needs nine, ROUTES. A request must name one of them exactly; what is handed on is written anew, without its other
headers and its query, so that nothing of a visitor's but texts and numbers reaches gradio. At each release of gradio
ask whether ROUTES still fits: tests/serving/test_application.py stops when gradio's own routes have changed.
Knows HTTP as ASGI gives it; knows no model.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from .calls import MOST_BYTES, Calls, Refused
from .languages import preferred
from .sessions import Sessions
from .texts import FIRST, read_texts

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # gradio's own page needs both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
HANDED_ON = frozenset(
    b"accept accept-encoding accept-language content-type host if-modified-since if-none-match user-agent".split()
)
COOKIE = "chatfed-visitor"
_VISITOR = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes
_SESSION = r"[a-z0-9]{4,32}"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # of a file: no dot in front, no slash, nothing encoded


@dataclass(frozen=True)
class Route:
    """One thing that the page asks for. `kind` is page, file, stream or call; `path` is a regular expression."""

    kind: str
    methods: tuple[str, ...]
    path: str


@dataclass(frozen=True)
class PublicAddress:
    """Where visitors find the page when a proxy stands before it: https://chat.example/talk has the path /talk."""

    origin: str  # scheme, host and, unless it is the scheme's own, port; "": as each request says
    path: str = ""  # no slash at its end

    @classmethod
    def parse(cls, text: str) -> PublicAddress:
        """Raises ValueError for what is no http or https address, or has more than a host, a port and a path."""
        parts = urlsplit(text)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise ValueError(text)
        path = cls.under(parts.path).path
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
        return cls(f"{parts.scheme}://{host}{port}", path)

    @classmethod
    def under(cls, path: str) -> PublicAddress:
        """Of a page whose path alone is known. Raises ValueError for what is no path of plain names."""
        if not re.fullmatch(r"(?:/[A-Za-z0-9_~.-]+)*/?", path) or "/." in path:
            raise ValueError(path)
        return cls("", path.rstrip("/"))

    @property
    def scheme(self) -> str:
        """Http or https; empty where only the path is known."""
        return self.origin.partition("://")[0]

    @property
    def host(self) -> str:
        """As a browser writes it into Host."""
        return self.origin.partition("://")[2]

    def __str__(self) -> str:
        return self.origin + self.path


BODY_SECONDS = 20.0  # that a call's body may take to come
READ = ("GET", "HEAD")
ROUTES = (
    Route("page", READ, "/"),
    Route("file", READ, "/theme\\.css"),
    Route("file", READ, "/favicon\\.ico"),
    Route("file", READ, f"/assets/{_NAME}"),
    Route("file", READ, "/published/(?:privacy\\.json|audit\\.(?:json|html|sig))"),
    Route("file", READ, f"/static/(?:img|js)/{_NAME}"),
    Route("stream", ("GET",), f"/gradio_api/heartbeat/(?P<session>{_SESSION})"),
    Route("stream", ("GET",), "/gradio_api/queue/data"),
    Route("call", ("POST",), "/gradio_api/queue/join"),
)


def route_of(method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
    """The route that a request names, with the parts of its path; None when there is none."""
    for route in ROUTES:
        found = re.fullmatch(route.path, path)
        if found and method in route.methods:
            return route, found.groupdict()
    return None


def host_name(text: str) -> str:
    """A name that requests may call this host by. Raises ValueError for a pattern, a port or an address of a page."""
    name = text.lower()
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        if not re.fullmatch(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", name):
            raise
        return name


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Answers what is no part of the page with 403, and puts on every answer what keeps the browser on this host.

    Refused are also requests that the browser says come from a page elsewhere (Origin, Sec-Fetch-Site). With
    `only_loopback` so are requests that name another host: a page elsewhere could otherwise point its own name at this
    machine and talk to the model through the visitor's browser (DNS rebinding). `hosts` are other names that this
    machine may be called by; where any are given, so are requests refused that name none of them, nor loopback.
    Behind a proxy, `public` is the name by which visitors know the page: a proxy may leave that out of Host, and its
    path in front of ours or not. Where `public` is a path alone, the name is what Host says, as the proxy hands it on,
    and whether it is https says X-Forwarded-Proto.
    """

    def __init__(
        self,
        app: ASGIApp,
        calls: Calls,
        sessions: Sessions,
        only_loopback: bool = True,
        public: PublicAddress | None = None,
        hosts: Sequence[str] = (),
        spoken: Sequence[str] = (FIRST,),
    ) -> None:
        self.app = app
        self.calls = calls
        self.sessions = sessions
        self.only_loopback = only_loopback
        self.public = public
        self.hosts = frozenset(hosts)
        self.spoken = tuple(spoken)  # languages of the page, for refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; see the ASGI specification."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                await self._answer(scope, receive, send)
            except Refused as refused:
                await refuse(refused, scope, send, self.spoken)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": str(Refused(403, "not_ours"))})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._check_origin(scope)
        path = self._path(scope)
        found = route_of(scope["method"], path)
        if found is None:
            raise Refused(403, "not_ours")
        route, parts = found
        visitor = _visitor(scope)
        handed, session, query = receive, "", b""
        if route.kind == "call":
            session, body = self.calls.read(await _body(scope, receive))
            handed = _replay(body, receive)
        elif route.kind == "stream":
            session = parts.get("session") or _session_asked(scope)
            query = b"" if "session" in parts else f"session_hash={session}".encode()
        if session or route.kind in ("call", "stream"):
            if not re.fullmatch(_SESSION, session):
                raise Refused(403, "not_ours")
            self.sessions.admit(session, visitor)
        given = self._cookie(scope) if route.kind == "page" and not visitor else ()
        with self.sessions.stream(session) if route.kind == "stream" else nullcontext():
            asked = {**_handed_on(scope, path, query), "scheme": self._scheme(scope)}
            await self.app(asked, handed, _with_headers(send, route.kind, given))

    def _check_origin(self, scope: Scope) -> None:
        host, origin = header(scope, b"host").lower(), header(scope, b"origin").lower()
        name = _without_port(host)
        known = self.public is not None and self.public.origin != "" and host == self.public.host
        if (self.only_loopback or self.hosts) and not known and name not in self.hosts and not is_loopback(name):
            raise Refused(403, "not_this_host")
        own = origin.partition("://")[2] == host or (self.public is not None and origin == self.public.origin)
        if origin and not own:  # origin and host both leave out a default port
            raise Refused(403, "elsewhere")
        if header(scope, b"sec-fetch-site") in ("cross-site", "same-site") and self._path(scope) != "/":
            raise Refused(403, "elsewhere")

    def _path(self, scope: Scope) -> str:
        """The path as the page knows it: without what a proxy may have left in front of it."""
        path = _plain_path(scope)
        return path.removeprefix(self.public.path) if self.public and path.startswith(self.public.path + "/") else path

    def _scheme(self, scope: Scope) -> str:
        """Http or https, as the visitor's browser asked."""
        if self.public is None:
            return str(scope.get("scheme", "http"))
        said = header(scope, b"x-forwarded-proto").partition(",")[0].strip().lower()
        return self.public.scheme or (said if said in ("http", "https") else str(scope.get("scheme", "http")))

    def _cookie(self, scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
        """A header that makes a new visitor known.

        Lax, not Strict: who comes by a link from elsewhere is still the visitor of the tabs that are open. A page
        elsewhere gets nothing but the bare page all the same.
        """
        path = self.public.path if self.public else ""
        secure = "; Secure" if self._scheme(scope) == "https" else ""
        value = f"{COOKIE}={secrets.token_urlsafe(32)}; Path={path or '/'}; HttpOnly; SameSite=Lax{secure}"
        return ((b"set-cookie", value.encode()),)


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name, or nothing."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _without_port(host: str) -> str:
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]


def _plain_path(scope: Scope) -> str:
    """The path as it was sent, so that nothing encoded turns into a route; empty when it cannot be known."""
    sent = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    plain: str = sent.partition(b"?")[0].decode("latin-1")
    return plain if plain == scope["path"] else ""


def _session_asked(scope: Scope) -> str:
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True, max_num_fields=4)
    if set(asked) != {"session_hash"} or len(asked["session_hash"]) != 1:
        raise Refused(403, "not_ours")
    return str(asked["session_hash"][0])


def _visitor(scope: Scope) -> str:
    """Who asks, by the cookie that came with the page; empty for a browser that keeps none.

    Read without http.cookies: that takes seconds for some headers, and drops all cookies where one of another program
    of this host is odd.
    """
    given = (each.strip().partition("=") for each in header(scope, b"cookie").split(";"))
    return next((value for name, _, value in given if name == COOKIE and _VISITOR.fullmatch(value)), "")


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The body of a call, read only as far as it may go."""
    if header(scope, b"content-type").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "not_ours")
    length = header(scope, b"content-length")
    if length and (not length.isdecimal() or int(length[:20]) > MOST_BYTES):
        raise Refused(413, "too_large")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _whole(receive)
    except TimeoutError:
        raise Refused(408, "slow", seconds=BODY_SECONDS) from None


async def _whole(receive: Receive) -> bytes:
    read = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "not_ours")
        read += message.get("body", b"")
        if len(read) > MOST_BYTES:
            raise Refused(413, "too_large")
        if not message.get("more_body"):
            return bytes(read)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives `body` once, and then what comes."""
    waiting = [body]

    async def replayed() -> Message:
        return {"type": "http.request", "body": waiting.pop()} if waiting else await receive()

    return replayed


def _handed_on(scope: Scope, path: str, query: bytes) -> Scope:
    """The request as gradio sees it: our path and query, the headers that it needs."""
    headers = [(name, value) for name, value in scope["headers"] if name in HANDED_ON]
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": query, "headers": headers}


def _with_headers(send: Send, kind: str, more: tuple[tuple[bytes, bytes], ...] = ()) -> Send:
    """A send that adds our headers. A stream's tell a proxy to pass pieces on as they come."""
    stream = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")) if kind == "stream" else ()

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS, *stream, *more]
        await send(message)

    return sent


async def refuse(refused: Refused, scope: Scope, send: Send, spoken: Sequence[str] = (FIRST,)) -> None:
    """The refusal, as the page's own script reads it (the sentence in `detail` is shown) and as others do.

    spoken: languages that there is a page in; the one that the browser likes best is taken for the sentence.
    """
    texts = read_texts(preferred(header(scope, b"accept-language"), spoken))
    guarded = _with_headers(send, "refusal")
    plain = [(b"content-type", b"application/json")]
    if refused.status == 408:
        plain.append((b"connection", b"close"))  # the rest of it may still come
    await guarded({"type": "http.response.start", "status": refused.status, "headers": plain})
    said = json.dumps({"detail": refused.told(texts), "error": refused.to_json()}, allow_nan=False)
    await guarded({"type": "http.response.body", "body": said.encode()})
