"""One model and many replies at once: a thread that owns the model, and rows that join and leave between its steps.

A step reads some tokens of prompts that wait, then grows every reply by a token. What a reply says depends on its own
prompt, settings and seed, never on who is beside it. A reply that is alone is drawn in its reader's own thread where
that is one and computes as any new thread does, since handing over costs a good part of a small model's token; once
another comes, the engine's thread goes on with both. Knows tokens and events; no template and no page.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from weakref import WeakSet

import numpy as np
import torch

from chatfed.generation.events import Event
from chatfed.generation.lanes import Lane, lane_of
from chatfed.generation.reply import Reply
from chatfed.generation.tickets import AHEAD, Arrivals, Deliver, Item, Post, Ticket
from chatfed.model.decoding import Decoder
from chatfed.types import ChatfedError

MOST_ROWS = 64  # replies that grow at once
MOST_WAITING = 256  # and those that wait for their turn
_HELD = 4  # times as many rows are kept in all, with those whose readers do not keep up
_IDLE = 5.0  # seconds after which a thread with nothing to do ends
_LEAVING = 2.0  # seconds that a reader who closes waits at most for the step in progress
_ENDING = 10.0  # seconds that a program which ends waits at most for the step in progress
_LOOK = 5.0  # seconds between looks at whether the thread is still there
_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # what numpy does in a new thread


class ModelBusy(ChatfedError):
    """More replies are asked for at once than the model takes."""

    code = "model_busy"
    mend = "ask again in a moment, or for fewer at once"


class EngineStopped(ChatfedError):
    """The thread that draws replies ended before a reply did: a step failed, or the process was forked or is ending."""

    code = "engine_stopped"
    mend = "ask again, in the process that loaded the model"


_ENGINES: WeakSet[Engine] = WeakSet()


@atexit.register
def _stop_all() -> None:
    """A thread within native code when the interpreter goes would abort the process."""
    for engine in list(_ENGINES):
        engine.stop()


class Engine:
    """Draws replies of one model. Safe to use from several threads and event loops."""

    def __init__(self, decoder: Decoder, most_rows: int = MOST_ROWS, most_waiting: int = MOST_WAITING) -> None:
        self._decoder, self._most_rows, self._most_waiting = decoder, most_rows, most_waiting
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._lanes: list[Lane] = []
        self._posts: list[Post] = []
        self._thread: threading.Thread | None = None
        self._driver: threading.Thread | None = None  # which steps the lanes now
        self._drawn: Ticket | None = None  # whose reader stepped last
        self._own: Ticket | None = None  # of the only reply, where its reader draws it
        self._stopped = False
        _ENGINES.add(self)

    def events(self, reply: Reply) -> Generator[Event, None, None]:
        """The events of a reply as they are drawn; closing the iterator frees its row. Raises ModelBusy."""
        inbox: SimpleQueue[Item] = SimpleQueue()
        ticket = self.open(reply, inbox.put, own=True)
        yield from self.read(ticket, inbox)

    def each(self, replies: Iterable[Reply]) -> Iterator[list[Event]]:
        """The events of each of several replies, in order, drawn as many at once as there are rows."""
        begun: deque[tuple[Ticket, SimpleQueue[Item]]] = deque()
        try:
            for reply in replies:
                inbox: SimpleQueue[Item] = SimpleQueue()
                ticket = self.open(reply, inbox.put)
                ticket.taken = 1 << 62  # whoever wants all of it is never behind
                begun.append((ticket, inbox))
                if len(begun) >= self._most_rows:
                    yield list(self.read(*begun.popleft()))
            while begun:
                yield list(self.read(*begun.popleft()))
        finally:
            for ticket, _ in begun:
                self.leave(ticket)

    def read(self, ticket: Ticket, inbox: SimpleQueue[Item]) -> Generator[Event, None, None]:
        """The events of a ticket that was opened with `inbox.put`."""
        current, longest = threading.current_thread, _LEAVING  # a module's names may be gone where a program has ended
        try:
            while True:
                item = self._next(ticket, inbox)
                self._took(ticket)
                yield _event(item)
                if isinstance(item, Event) and item.ending:
                    return
        finally:
            self.leave(ticket)
            if not ticket.gone.is_set() and ticket.thread not in (None, current()):
                ticket.gone.wait(longest)

    async def aevents(self, reply: Reply) -> AsyncGenerator[Event, None]:
        """As `events`, for a program of coroutines."""
        inbox = Arrivals()
        ticket = self.open(reply, inbox.put, asyncio.get_running_loop())
        try:
            while True:
                item = await self._arriving(ticket, inbox)
                self._took(ticket)
                yield _event(item)
                if isinstance(item, Event) and item.ending:
                    return
        finally:
            self.leave(ticket)

    def open(
        self, reply: Reply, deliver: Deliver, loop: asyncio.AbstractEventLoop | None = None, own: bool = False
    ) -> Ticket:
        """Takes in a reply; its events go to `deliver`, in that loop or from another thread.

        own: its reader, who is a thread that calls `read`, draws it as long as it is the only one. Raises ModelBusy,
        and EngineStopped where the program is ending or no thread can be started.
        """
        with self._changed:
            if self._stopped:
                raise _ending()
            ticket = Ticket(reply, deliver, None if loop is None else self._post(loop))
            if len(self._waiting) >= self._most_waiting:
                raise ModelBusy(
                    f"The model is busy: {self._most_waiting} replies wait for their turn. Ask again in a moment."
                )
            alone = not self._waiting and not self._lanes and self._own is None and not self._driven()
            if own and alone and _plain():
                self._own = ticket
            else:
                self._hand_over(ticket)
            self._waiting.append(ticket)
        return ticket

    def _hand_over(self, ticket: Ticket) -> None:
        """A reply, and one that its reader drew, are the thread's to their ends."""
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="chatfed-engine", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                raise _no_thread() from None
            self._thread = thread
        for each in (ticket, self._own):
            if each is not None:
                each.thread = self._thread
        self._own = None
        self._changed.notify_all()

    def _post(self, loop: asyncio.AbstractEventLoop) -> Post:
        self._posts = [post for post in self._posts if not post.loop.is_closed()]
        found = next((post for post in self._posts if post.loop is loop), None)
        if found is None:
            found = Post(loop)
            self._posts.append(found)
        return found

    def leave(self, ticket: Ticket) -> None:
        """Nobody reads a reply any more: its row is freed before the next step, its turn at once."""
        if ticket.gone.is_set():
            return
        ticket.quit = True
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                ticket.gone.set()
            if self._drawn is ticket and self._driver is threading.current_thread():  # a Ctrl-C came before it rested
                self._driver = None
            if self._own is ticket:  # no step is in progress: its reader is here
                self._own, self._lanes = None, []
                ticket.gone.set()
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the thread after its step, for good; replies that are not whole end with EngineStopped."""
        held = self._changed.acquire(timeout=_LEAVING)  # who holds it in a process that was forked lets it never go
        self._stopped, threads = True, {self._thread, self._driver} - {None, threading.current_thread()}
        if held:
            self._changed.release()
        for thread in threads:
            if thread is not None and thread.is_alive():  # else it is another process's, and so may the lock be
                with self._changed:
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: not self._driven(), _ENDING)
                if thread is self._thread:
                    thread.join(_ENDING)

    @property
    def load(self) -> tuple[int, int]:
        """(replies that are being drawn, replies that wait for their turn)."""
        return sum(len(lane) for lane in list(self._lanes)), len(self._waiting)

    def _next(self, ticket: Ticket, inbox: SimpleQueue[Item]) -> Item:
        while True:
            while ticket.thread is None and inbox.empty():
                self._drive(ticket)
            there = ticket.thread is None or ticket.thread.is_alive()
            try:
                return inbox.get(timeout=_LOOK if there else 0)
            except Empty:
                if not there:
                    raise _vanished() from None

    async def _arriving(self, ticket: Ticket, inbox: Arrivals) -> Item:
        while True:
            there = ticket.thread is not None and ticket.thread.is_alive()
            item = await inbox.next(_LOOK)
            if item is not None:
                return item
            if not there:
                raise _vanished()

    def _took(self, ticket: Ticket) -> None:
        ticket.taken += 1
        if ticket.aside and ticket.given - ticket.taken <= AHEAD // 2:
            with self._changed:
                self._changed.notify_all()

    def _drive(self, ticket: Ticket) -> None:
        """A step of the only reply, in its reader's thread. Those who came meanwhile are left to the engine's own."""
        try:
            with self._changed:
                if self._stopped:
                    raise _ending()
                if self._own is not ticket:
                    return
                if not _plain():
                    return self._hand_over(ticket)
                self._drawn, self._driver = ticket, threading.current_thread()
                if new := ticket in self._waiting:
                    self._waiting.remove(ticket)
            self._step_alone(ticket, new)
        finally:
            if self._driver is threading.current_thread():
                self._driver = None
            with self._changed:
                if self._own is ticket and ticket.gone.is_set():
                    self._own = None
                self._changed.notify_all()

    def _step_alone(self, ticket: Ticket, new: bool) -> None:
        try:
            if new:
                self._take_in(ticket)
            self._step()
        except BaseException as error:
            self._tell(error)
            if not isinstance(error, Exception):
                raise

    def _run(self) -> None:
        try:
            while self._rest_until_work():
                while self._has_room() and (ticket := self._first_waiting()):
                    self._take_in(ticket)
                self._step()
        except BaseException as error:  # no reader waits for ever
            with self._changed:
                for ticket in self._waiting:
                    ticket.give(_told(error))
                    ticket.gone.set()
                self._waiting.clear()
                self._tell(error)
                self._own = self._thread = self._driver = None
                self._changed.notify_all()
            if not isinstance(error, Exception):
                raise

    def _step(self) -> None:
        with torch.inference_mode():
            for lane in list(self._lanes):
                lane.step()
        self._lanes = [lane for lane in self._lanes if len(lane)]
        self._send()

    def _tell(self, error: BaseException) -> None:
        """Ends all replies that are being drawn."""
        for ticket in [ticket for lane in self._lanes for ticket in lane.tickets()]:
            ticket.give(_told(error))
            ticket.gone.set()
        self._lanes = []
        self._send()

    def _send(self) -> None:
        for post in self._posts:
            post.send()

    def _rest_until_work(self) -> bool:
        """Whether the thread steps now. False: there was no work for a while, and the thread ends."""
        with self._changed:
            self._driver = None if self._driver is threading.current_thread() else self._driver
            while not self._changed.wait_for(self._may_step, _IDLE):
                if not self._waiting and (not self._lanes or self._own is not None) and not self._driven():
                    self._thread = None
                    return False
            if self._stopped:
                raise _ending()
            self._driver = threading.current_thread()
            return True

    def _may_step(self) -> bool:
        return not self._driven() and (self._stopped or (self._own is None and self._has_work()))

    def _driven(self) -> bool:
        """Whether a step is in progress, in any thread of this process: a fork leaves all but one behind."""
        return self._driver is not None and self._driver.is_alive()

    def _has_work(self) -> bool:
        return (bool(self._waiting) and self._has_room()) or any(lane.has_work() for lane in self._lanes)

    def _has_room(self) -> bool:
        growing, held = sum(lane.growing() for lane in self._lanes), sum(len(lane) for lane in self._lanes)
        return growing < self._most_rows and held < _HELD * self._most_rows

    def _first_waiting(self) -> Ticket | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _take_in(self, ticket: Ticket) -> None:
        if not ticket.reply.asked.room:
            ticket.give(ticket.reply.nothing())
            ticket.gone.set()
            return
        try:
            lane_of(self._decoder, self._lanes).join(ticket)
        except Exception as error:  # the others go on
            ticket.give(_told(error))
            ticket.gone.set()


def _plain() -> bool:
    """Whether this thread computes as a new one does: autocast, a default device and numpy's errors are a thread's own.

    What a reply says depends on none of them.
    """
    modes = torch._C._len_torch_function_stack() + torch._C._len_torch_dispatch_stack()
    return not modes and not torch._C._is_any_autocast_enabled() and np.geterr() == _ERRORS


def _event(item: Item) -> Event:
    if isinstance(item, BaseException):
        raise item
    return item


def _told(error: BaseException) -> EngineStopped:
    """What went wrong, for one reader: by its kind alone, as its text may hold another's words."""
    if isinstance(error, EngineStopped):
        return EngineStopped(str(error))
    return EngineStopped(f"The model failed with {type(error).__name__} and drew no further. Ask again.")


def _ending() -> EngineStopped:
    return EngineStopped("The program is ending, and draws no more replies. Ask another process.")


def _vanished() -> EngineStopped:
    return EngineStopped("The thread that draws replies has ended. Ask again.")


def _no_thread() -> EngineStopped:
    return EngineStopped("The system starts no further thread to draw replies in. Ask again when fewer run.")
