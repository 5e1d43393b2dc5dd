"""The body of a request: read only as far as it may go, and only for so long. Knows HTTP as ASGI gives it, no route."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from .errors import ApiError
from .fields import Given

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope


THROWN_AWAY = 32 << 20  # bytes of a body that is too large


class Gone(Exception):
    """The client has left: nobody is told of it."""


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """The whole body. Raises ApiError where it is too large, too slow or of another type than JSON, and Gone."""
    if scope["method"] in ("GET", "HEAD"):
        most = 0
    length = _header(scope, b"content-length")
    if length and (not length.isdecimal() or int(length[:20]) > most + THROWN_AWAY):
        raise _too_large(most)
    try:
        async with asyncio.timeout(seconds):
            body = await _pieces(receive, most)
    except TimeoutError:
        raise ApiError(
            408, f"The request was not whole after {seconds:g} s: send it faster.", reason="slow_request"
        ) from None
    if body and _header(scope, b"content-type").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(  # a page elsewhere may send other types from a visitor's browser without asking first
            415, "Send JSON, with the header Content-Type: application/json.", reason="unsupported_media_type"
        )
    return body


async def _pieces(receive: Receive, most: int) -> bytes:
    """All of the body; of one that is too large nothing is kept.

    It is read on for a while all the same: where a server closes before that, the client meets a broken connection in
    the midst of sending, and never sees why.
    """
    read, size = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        piece = message.get("body", b"")
        size += len(piece)
        if size <= most:
            read += piece
        else:
            read.clear()
        if size > most + THROWN_AWAY or (size > most and not message.get("more_body")):
            raise _too_large(most)
        if not message.get("more_body"):
            return bytes(read)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"The request has more than {most:,} bytes: send a shorter one.", reason="request_too_large")


async def given(request: Request) -> Given:
    """The JSON object of a request. Raises ApiError 400 for what is none."""
    return object_from(await request.body())


def object_from(body: bytes) -> Given:
    """A body as a JSON object. Raises ApiError 400; NaN and infinity are no JSON."""
    try:
        read = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):  # also a number of too many digits, nesting too deep, no UTF-8
        raise ApiError(
            400, "The request is not JSON: send an object, encoded as UTF-8.", reason="invalid_json"
        ) from None
    if not isinstance(read, dict):
        raise ApiError(400, "The request is no JSON object: send one, {...}.", reason="invalid_json")
    return read


def _refuse(_: str) -> Any:
    raise ValueError


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
