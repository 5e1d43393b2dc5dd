"""A connection that waits for nobody without an end: for headers that never come, for a client that takes no answer.

What uvicorn itself leaves open: it ends idle connections after an answer, and no other. Knows HTTP/1.1 as uvicorn
speaks it; knows no route.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from .limits import Allowed

HEADER_SECONDS = 20.0  # from a connection, or a request's first byte, until its headers are whole
TAKING_SECONDS = 20.0  # until a client has taken what waits for it, some tens of kilobytes


class PatientProtocol(H11Protocol):
    """uvicorn's own, with two clocks. For `uvicorn.Config(http=...)`."""

    header_seconds, taking_seconds = HEADER_SECONDS, TAKING_SECONDS

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._headers: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Waits for headers from now on."""
        super().connection_made(transport)
        self._headers = self.loop.call_later(self.header_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Stops waiting while a request is answered, and waits again where the next has begun."""
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            self._headers = _stop(self._headers)
        elif self._headers is None:
            self._headers = self.loop.call_later(self.header_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        _stop(self._taking)
        self._taking = self.loop.call_later(self.taking_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken most of it."""
        super().resume_writing()
        self._taking = _stop(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._headers, self._taking = _stop(self._headers), _stop(self._taking)
        super().connection_lost(exc)


def protocol_of(allowed: Allowed | None) -> type[PatientProtocol]:
    """The protocol with the clocks that are allowed; with its own where there is no API."""
    if allowed is None:
        return PatientProtocol
    return type("AllowedProtocol", (PatientProtocol,), {"taking_seconds": allowed.send_seconds})


def _stop(clock: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if clock is not None:
        clock.cancel()
    return None
