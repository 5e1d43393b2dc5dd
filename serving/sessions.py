"""Keeps each browser session to the visitor who began it, and has it forgotten once its last stream has ended.

A session is the name that gradio's page draws for itself in the browser; the visitor is known by a random cookie.
Knows no page: what there is to forget, it is told. All of it runs in the server's one event loop.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .calls import Refused

PATIENCE = 10.0  # seconds that a session lives on after its last stream
BEFORE_THE_FIRST = 6  # times as long it waits for one: a page may load slowly
MOST_SESSIONS = 1000
STEPS = 5

Forget = Callable[[str], Awaitable[bool]]
"""Erases what is held of a session; False when something of it still runs and must be erased afterwards."""


@dataclass
class _Session:
    visitor: str = field(repr=False)
    streams: int = 0  # open right now
    begun: bool = False  # whether there ever was one
    admitted: int = 0  # requests so far
    end: asyncio.Task[None] | None = None


class Sessions:
    """The sessions that live."""

    def __init__(self, forget: Forget, patience: float = PATIENCE, most: int = MOST_SESSIONS) -> None:
        self._forget = forget
        self._patience = patience
        self._most = most
        self._living: dict[str, _Session] = {}

    def __len__(self) -> int:
        return len(self._living)

    def admit(self, session: str, visitor: str) -> None:
        """Lets the visitor use the session, which is its own from then on. Raises Refused when it is another's."""
        found = self._living.get(session)
        if found is None:
            if len(self._living) >= self._most:
                raise Refused(503, "crowded")
            found = self._living[session] = _Session(visitor)
        if not secrets.compare_digest(found.visitor.encode(), visitor.encode()):
            raise Refused(403, "another_visitors")
        found.admitted += 1
        self._watch(session, found)

    @contextmanager
    def stream(self, session: str) -> Iterator[None]:
        """Keeps an admitted session alive while one of its streams is open."""
        found = self._living[session]
        found.streams, found.begun = found.streams + 1, True
        try:
            yield
        finally:
            found.streams -= 1
            self._watch(session, found)

    def _watch(self, session: str, found: _Session) -> None:
        """Ends the session after a while, unless a stream is open by then."""
        if found.end is None:
            found.end = asyncio.get_running_loop().create_task(self._end(session, found))

    async def _end(self, session: str, found: _Session) -> None:
        while not found.streams:
            admitted = found.admitted
            if await self._quiet(found) and await self._forget(session) and found.admitted == admitted:
                self._living.pop(session, None)
                return
        found.end = None

    async def _quiet(self, found: _Session) -> bool:
        """Waits in steps for as long as the session may be silent: while the loop is busy, a request may wait in it."""
        patience = self._patience * (1 if found.begun else BEFORE_THE_FIRST)
        for _ in range(STEPS):
            await asyncio.sleep(patience / STEPS)
            if found.streams:
                return False
        return True
