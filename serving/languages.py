"""The page in the visitor's language: one page for each, chosen by what the browser says it reads (Accept-Language).

All pages have the same functions in the same order, so a call means the same on each. Knows ASGI; knows no texts.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_NAMED = 20  # languages of a header that are looked at
_NAMED = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


def preferred(accepted: str, offered: Sequence[str]) -> str:
    """The language that the header Accept-Language likes best among `offered`; the first of them where it names none.

    >>> preferred("fr, de-AT;q=0.8, en;q=0.5", ("en", "de"))
    'de'
    """
    liked: dict[str, float] = {}
    for part in accepted.split(",")[:MOST_NAMED]:
        if found := _NAMED.fullmatch(part):
            liked.setdefault(found[1].lower(), float(found[2] or 1))
    named = [language for language in liked if language in offered and liked[language] > 0]
    return max(named, key=liked.__getitem__, default=offered[0])


class ByLanguage:
    """Passes each request to the page of its language; on the page itself the language is named, for readers of it."""

    def __init__(self, pages: Mapping[str, ASGIApp]) -> None:
        self._pages = dict(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; see the ASGI specification."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        accepted = next((value for name, value in headers if name == b"accept-language"), b"").decode("latin-1")
        language = preferred(accepted, tuple(self._pages))
        if scope["path"] == "/" and scope["method"] == "GET":
            scope = {**scope, "headers": [each for each in headers if each[0] != b"accept-encoding"]}  # to be read here
            send = _named(send, language)
        await self._pages[language](scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Starts and ends all pages."""
        async with AsyncExitStack() as stack:
            for page in self._pages.values():
                await stack.enter_async_context(page.router.lifespan_context(page))  # type: ignore[attr-defined]
            yield


def in_language(page: bytes, language: str) -> bytes:
    """The page of gradio with its language named, to readers and to gradio's own parts: those ask the browser."""
    tell = f'<script>Object.defineProperty(navigator, "language", {{ value: "{language}" }});</script>'
    page = page.replace(b'lang="en"', f'lang="{language}"'.encode(), 1)
    return page.replace(b"<head>", b"<head>" + tell.encode(), 1)


def _named(send: Send, language: str) -> Send:
    """A send that holds the page until it is whole."""
    start: list[Message] = []
    body = bytearray()

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        whole = in_language(bytes(body), language)
        kept = [each for each in start[0]["headers"] if each[0] != b"content-length"]
        about = [(b"content-length", str(len(whole)).encode()), (b"vary", b"accept-language")]
        await send({**start[0], "headers": [*kept, *about]})
        await send({**message, "body": whole})

    return sent
