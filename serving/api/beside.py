"""Puts the API beside the page: which requests are whose, and from where the API's may come. Knows HTTP as ASGI has it.

A request to the API need not come from a browser. One that does, from a page elsewhere, is refused unless that page's
origin was allowed; and a name that is not this server's, which a page elsewhere may have pointed here, is refused too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..guard import PublicAddress, header, is_loopback
from .errors import ApiError, response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ALONE = frozenset(("/v1", "/tokenize", "/detokenize", "/tokenizer_info", "/healthz", "/metrics"))
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Beside:
    """The page, with the API before it."""

    def __init__(
        self,
        app: ASGIApp,
        api: ASGIApp,
        only_loopback: bool = True,
        public: PublicAddress | None = None,
        hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
    ) -> None:
        self.app, self.api = app, api
        self.only_loopback, self.public = only_loopback, public
        self.hosts, self.origins = frozenset(hosts), frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; see the ASGI specification."""
        path = self._path(scope) if scope["type"] == "http" else ""
        if path not in ALONE and not path.startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        refused = self._refusal(scope)
        answer = self.api if refused is None else response(refused)
        await answer({**scope, "path": path, "raw_path": path.encode("utf-8", "replace")}, receive, _guarded(send))

    def _path(self, scope: Scope) -> str:
        """Without what a proxy may have left in front of it."""
        path, front = str(scope["path"]), self.public.path if self.public else ""
        return path.removeprefix(front) if front and path.startswith(front + "/") else path

    def _refusal(self, scope: Scope) -> ApiError | None:
        host, origin = header(scope, b"host").lower(), header(scope, b"origin").lower()
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        public = self.public if self.public and self.public.origin else None
        known = is_loopback(name) or name in self.hosts or (public is not None and host == public.host)
        if (self.only_loopback or self.hosts) and not known:
            return ApiError(
                403, "This server answers only as 127.0.0.1 or localhost, or as --public-url or --allow-host say.",
                reason="host_not_allowed",
            )  # fmt: skip
        own = origin.partition("://")[2] == host or (public is not None and origin == public.origin)
        if origin and not own and origin not in self.origins:
            return ApiError(
                403, "Pages elsewhere may not ask this server; --allow-origin names one that may.",
                reason="origin_not_allowed",
            )  # fmt: skip
        return None


def _guarded(send: Send) -> Send:
    async def sent(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]  # type: ignore[misc]
        await send(message)

    return sent  # type: ignore[return-value]
