"""Stands before the API: asks for the key, counts, reads the body, and ends what nobody waits for any more.

What a route needs not care about is here: a request is whole and of a size that is allowed when its route sees it; when
its client leaves, or it holds a place for too long, the route is cancelled, and its place is free. Knows HTTP as ASGI
gives it; knows no model.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import keys as who
from . import limits as places
from . import metrics as counts
from .bodies import Gone, read_body
from .errors import ApiError, event, response
from .keys import Caller, Keys, Role
from .limits import Limits, Visit
from .metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/healthz", "/metrics")  # asked without a key: the first says nothing, the second looks for itself who asks
CLOSING = (408, 413)  # the rest of such a request is not read
DONE = b"data: [DONE]\n\n"
STOPPING = "The server is being stopped: try again in a while."


class Entrance:
    """The API with this around it. CORS stands outside of it: a browser's question before a request has no key."""

    def __init__(self, app: ASGIApp, keys: Keys, limits: Limits, metrics: Metrics) -> None:
        self.app = app
        self.keys = keys
        self.limits = limits
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; see the ASGI specification."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, visit, answer = time.monotonic(), places.begin(scope), _Answer(send)
        counts.mark(scope, self.metrics)
        role = ""
        try:
            caller = self._caller(scope)
            role = str(caller.role)
            body = await read_body(scope, receive, self.limits.body_bytes(caller), self.limits.allowed.body_seconds)
            await self._watch(scope, body, receive, answer, visit)
        except ApiError as error:
            self.metrics.refused(error)
            await answer.refuse(error, scope, receive)
        except Gone:
            self.metrics.left()
        except asyncio.CancelledError:  # the server stops: said quietly, for its log would tell of an accident
            await answer.refuse(ApiError(503, STOPPING, reason="stopping", retry_after=5), scope, receive)
        finally:
            self.limits.leave(visit)
            self.metrics.answered(scope, role, answer.status, time.monotonic() - began)

    def _caller(self, scope: Scope) -> Caller:
        """Who asks; marks the request with it, and counts it. A wrong key counts for the address that it came from."""
        address, key, free = address_of(scope), _header(scope, b"authorization"), _path(scope) in OPEN
        try:
            caller = self.keys.caller(key, address)
        except ApiError:
            caller = Caller(Role.VISITOR, address.encode())
            if key or not free:
                self.limits.count(caller)
            if not free:
                raise
        else:
            if not free:
                self.limits.count(caller)
        who.mark(scope, caller)
        return caller

    async def _watch(self, scope: Scope, body: bytes, receive: Receive, answer: _Answer, visit: Visit) -> None:
        """Runs the route until it is done, its client has left, or its place was held too long."""
        gone = asyncio.Event()
        route = asyncio.create_task(self._route(scope, body, gone, answer))
        left = asyncio.create_task(_left(receive, gone))
        late = asyncio.create_task(self.limits.is_late(visit))
        try:
            await asyncio.wait({route, left, late}, return_when=asyncio.FIRST_COMPLETED)
            if answer.is_whole:  # a server says that the client has left then as well
                await asyncio.wait({route, late}, return_when=asyncio.FIRST_COMPLETED)
            if route.done():
                await route  # raises what it raised
                return
            answer.is_wanted = not left.done()
            await _ended(route)
            if not answer.is_wanted:
                raise Gone
            raise ApiError(400, self._too_long(), reason="took_too_long")
        finally:
            for task in (route, left, late):
                await _ended(task)

    async def _route(self, scope: Scope, body: bytes, gone: asyncio.Event, answer: _Answer) -> None:
        waiting = [body]

        async def receive() -> Message:
            if waiting:
                return {"type": "http.request", "body": waiting.pop(), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        await self.app(scope, receive, answer)

    def _too_long(self) -> str:
        return f"The answer took longer than {self.limits.allowed.seconds:g} s: ask for fewer tokens."


class _Answer:
    """A send that knows how far an answer is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0  # nothing was sent
        self.is_stream = self.is_named = self.is_whole = False
        self.is_wanted = True  # its client is there

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
            self.is_stream = any(kind.startswith(b"text/event-stream") for kind in kinds)
        elif message["type"] == "http.response.body":
            self.is_whole = not message.get("more_body")
            self.is_named |= message.get("body", b"").startswith(b"event:")  # such a stream knows no [DONE]
        if self.is_wanted:
            await self._send(message)

    async def refuse(self, error: ApiError, scope: Scope, receive: Receive) -> None:
        """Says the error: as an answer, or as the last event of a stream. In the midst of another answer, nothing."""
        if not self.status:
            said = response(error)
            if error.status in CLOSING:
                said.headers["connection"] = "close"
            await said(scope, receive, self)
        elif self.is_stream and not self.is_whole:
            last = event(error).encode() + (b"" if self.is_named else DONE)
            await self({"type": "http.response.body", "body": last, "more_body": False})


async def _left(receive: Receive, gone: asyncio.Event) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancels a task and waits for its end: what it held is free then."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


def address_of(scope: Scope) -> str:
    """The address that requests are counted by: of IPv6 the network of 64 bits, of which one house has all.

    Behind a proxy on this machine uvicorn has read it from X-Forwarded-For.
    """
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _path(scope: Scope) -> str:
    """The path within the API: without what a proxy or a mount put in front."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
