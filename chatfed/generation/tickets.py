"""A reply in the engine as its reader holds it, and the ways on which its events reach a reader."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from chatfed.generation.events import Event
from chatfed.generation.reply import Reply

AHEAD = 16  # events that a reply may be ahead of its reader, before it waits aside

Item = Event | BaseException
Deliver = Callable[[Item], object]


class Ticket:
    """A reply in the engine, as its reader holds it."""

    thread: threading.Thread | None = None  # which draws it; None: whoever reads it does

    def __init__(self, reply: Reply, deliver: Deliver, post: Post | None) -> None:
        self.reply, self._deliver, self._post = reply, deliver, post
        self.given = self.taken = 0  # written by the engine alone, and by the reader alone
        self.quit = self.aside = False
        self.gone = threading.Event()

    @property
    def left(self) -> bool:
        """Whether nobody reads it any more: its reader said so, or was in a loop that is closed."""
        return self.quit or (self._post is not None and self._post.loop.is_closed())

    @property
    def ahead(self) -> bool:
        """Whether the reader has not kept up; asked by the engine alone. It may go on when half of that is read."""
        self.aside = self.given - self.taken > (AHEAD // 2 if self.aside else AHEAD - 1)
        return self.aside

    def give(self, item: Item) -> None:
        """Hands an item to the reader; one that is no longer there has left."""
        self.given += 1
        if self._post is None:
            self._deliver(item)
        else:
            self._post.add(self, item)

    def arrived(self, item: Item) -> None:
        """In the reader's own thread."""
        self._deliver(item)


class Post:
    """Items for readers in one event loop, which is woken once a step for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._items: list[tuple[Ticket, Item]] = []

    def add(self, ticket: Ticket, item: Item) -> None:
        """Puts an item with those to be sent."""
        self._items.append((ticket, item))

    def send(self) -> None:
        """Hands all over, to a loop that is not closed."""
        items, self._items = self._items, []
        if items:
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(_arrived, items)


def _arrived(items: list[tuple[Ticket, Item]]) -> None:
    for ticket, item in items:
        ticket.arrived(item)


class Arrivals:
    """Items for one coroutine. What asyncio has for it makes a task and a timeout of every wait."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """In the coroutine's event loop."""
        self._items.append(item)
        self._wake()

    async def next(self, seconds: float) -> Item | None:
        """The next item; None where none came in so many seconds."""
        if not self._items:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        return self._items.popleft() if self._items else None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
