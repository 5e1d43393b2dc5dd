"""The server that `chatfed serve` runs, with short clocks; requests as bytes, for clients that do not behave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tests.serving.api.running import Running, running


def patient(
    application: Any, header_seconds: float = 20, taking_seconds: float = 20
) -> AbstractContextManager[Running]:
    """The application behind PatientProtocol, whose second clock is the limit send_seconds."""
    from serving.api.connections import protocol_of
    from serving.api.limits import Allowed

    allowed = protocol_of(Allowed(send_seconds=taking_seconds))
    quick = type("Quick", (allowed,), {"header_seconds": header_seconds})
    return running(application, http=quick, log_level="critical")


def until(holds: Callable[[], Any], seconds: float = 10) -> None:
    """Waits until something holds. Raises AssertionError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.01)


def connected(port: int, seconds: float = 20) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def asking(path: str, body: bytes = b"", *more: str, method: str = "POST", length: int | None = None) -> bytes:
    """A request as bytes. length: what Content-Length says, where that is not true."""
    said = len(body) if length is None else length
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *more]
    return "\r\n".join([*lines, f"Content-Length: {said}", "", ""]).encode() + body


def read_to_end(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    read = b""
    try:
        while piece := connection.recv(65536):
            read += piece
    except ConnectionResetError:
        pass
    return read
