"""Refuses what came through a proxy where only this machine was said to reach the page.

The operator's page, the model without a guarantee and an API without keys are given where nobody else comes through. A
proxy that hands on our own Host would let everybody in to them; most say in a header that they stand between. A plain
`proxy_pass` of nginx says nothing, and shows all the same: until 1.29.7 it asks over HTTP/1.0, as no browser does, and
later it leaves out Connection, which is for one hop alone and which browsers write on each request. A program's request
that such a newer one hands on cannot be told from one that comes straight. Knows HTTP as ASGI gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .calls import Refused
from .guard import header, refuse
from .texts import FIRST

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OF_PROXIES = frozenset((b"forwarded", b"via", b"x-real-ip"))


class Straight:
    """Before the page and the API: passes on only what no proxy says it has handed on."""

    def __init__(self, app: ASGIApp, spoken: Sequence[str] = (FIRST,)) -> None:
        self.app, self.spoken = app, tuple(spoken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; see the ASGI specification."""
        if scope["type"] == "http" and _came_through_a_proxy(scope):
            await refuse(Refused(403, "through_a_proxy"), scope, send, self.spoken)
            return
        await self.app(scope, receive, send)


def _came_through_a_proxy(scope: Scope) -> bool:
    if scope.get("http_version") == "1.0" or any(_is_of_a_proxy(name.lower()) for name, _ in scope["headers"]):
        return True
    by_a_browser = header(scope, b"sec-fetch-mode") != ""  # which browsers say to this machine and over TLS
    return by_a_browser and "keep-alive" not in header(scope, b"connection").lower()


def _is_of_a_proxy(name: bytes) -> bool:
    return name in OF_PROXIES or name.startswith(b"x-forwarded-")
