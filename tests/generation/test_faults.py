"""What goes wrong with one reply, reader or request stays with that one; and a program that ends, ends in order."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from torch import Tensor

from chatfed import Chat, Generation
from chatfed.generation import Event, engine
from chatfed.generation.engine import Engine, EngineStopped
from chatfed.generation.lanes import Together
from chatfed.generation.reply import Reply
from chatfed.generation.tickets import AHEAD, Item, Ticket
from chatfed.model.decoding import Decoder
from chatfed.types import InvalidValue
from tests.chats import HELLO

LONG = Generation(max_new_tokens=25, seed=1)
_AT_EXIT = """
import sys
from chatfed import Generation, load_chat
g = load_chat(sys.argv[1]).stream("hello", Generation(max_new_tokens=200, temperature=3.0, top_p=1.0, seed=1))
next(g)
"""


def reply(chat: Chat, settings: Generation = LONG) -> Reply:
    return Reply(chat._asked(HELLO, settings, 0, ()), chat._token_bytes, set())


def test_a_program_may_end_with_an_open_stream(tiny_base: Path) -> None:
    command = [sys.executable, "-c", _AT_EXIT, str(tiny_base)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("readers", [1, 2])
def test_an_engine_that_was_stopped_tells_its_readers_and_takes_no_more(chat: Chat, readers: int) -> None:
    own = Engine(chat._decoder)
    streams = [own.events(reply(chat, Generation(max_new_tokens=60))) for _ in range(readers)]
    for events in streams:
        next(events)
    thread = own._thread
    own.stop()
    assert (thread is None) if readers == 1 else (thread is not None and not thread.is_alive())
    for events in streams:
        with pytest.raises(EngineStopped, match="is ending"):
            list(events)
    with pytest.raises(EngineStopped, match="is ending"):
        own.open(reply(chat), lambda item: None)


@pytest.mark.parametrize("shared", [True, False])
def test_a_prompt_is_read_once_for_a_request_and_again_for_another_one(
    chat: Chat, calls: list[int], shared: bool
) -> None:
    requests = [request := object(), request if shared else object(), None, None]

    async def read(request: object) -> list[Event]:
        return [event async for event in chat.aevents(HELLO, LONG, request=request)]

    async def together() -> list[list[Event]]:
        return await asyncio.gather(*(read(request) for request in requests))

    events = asyncio.run(together())
    assert events == events[:1] * 4
    assert calls.count(len(chat.prompt_ids(HELLO))) == (3 if shared else 4)


def test_a_fault_of_one_reply_ends_that_one_alone(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chat._engine
    wanted = list(whole.events(reply(chat)))
    broken = reply(chat)
    take = broken.take

    def fails(token: int, logits: Tensor, at: int, total: float) -> Event:
        if len(broken.drawn) == 3:
            raise RuntimeError("a fault of its own")
        return take(token, logits, at, total)

    monkeypatch.setattr(broken, "take", fails)
    inboxes: list[SimpleQueue[Item]] = [SimpleQueue(), SimpleQueue()]
    with whole._changed:  # both begin in one step
        tickets = [whole.open(each, box.put) for each, box in zip([broken, reply(chat)], inboxes, strict=True)]
    assert list(whole.read(tickets[1], inboxes[1])) == wanted
    with pytest.raises(RuntimeError, match="of its own"):
        list(whole.read(tickets[0], inboxes[0]))
    assert tickets[0].gone.is_set() and whole.load == (0, 0)


def test_a_fault_of_a_step_is_told_each_reader_by_its_kind_alone(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Together) -> None:
        raise RuntimeError("somebody's words")

    monkeypatch.setattr(Together, "step", fails)
    own = Engine(chat._decoder)
    inboxes: list[SimpleQueue[Item]] = [SimpleQueue(), SimpleQueue()]
    with own._changed:
        for box in inboxes:
            own.open(reply(chat), box.put)
    told = [box.get(timeout=20) for box in inboxes]
    assert told[0] is not told[1]
    for error in told:
        assert isinstance(error, EngineStopped) and "RuntimeError" in str(error) and "words" not in str(error)


def test_nothing_is_begun_where_one_history_of_several_is_none(chat: Chat, calls: list[int]) -> None:
    with pytest.raises(InvalidValue):
        chat.replies([HELLO, []], LONG)
    assert calls == [] and chat._engine.load == (0, 0)


def test_a_batch_that_fails_leaves_no_work_behind(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    own, broken = _Counting(chat._decoder), reply(chat)

    def fails(*_: object) -> Event:
        raise RuntimeError("a fault of its own")

    monkeypatch.setattr(broken, "take", fails)
    with pytest.raises(RuntimeError, match="of its own"):
        list(own.each([broken, *(reply(chat, Generation(max_new_tokens=60)) for _ in range(6))]))
    assert len(own.opened) == 7 and all(ticket.left or ticket.gone.is_set() for ticket in own.opened)
    assert all(ticket.gone.wait(20) for ticket in own.opened)


class _Counting(Engine):
    """Keeps the tickets that it gave."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self.opened: list[Ticket] = []

    def open(self, *given: Any) -> Ticket:
        self.opened.append(super().open(*given))
        return self.opened[-1]


class _Gone(Engine):
    """Its thread ends at once, as that of a process that was forked is not there."""

    def _run(self) -> None:
        pass


def test_readers_of_both_faces_hear_that_the_thread_is_gone(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_LOOK", 0.05)
    monkeypatch.setattr(engine, "_LEAVING", 0.05)

    async def read() -> list[Event]:
        return [event async for event in _Gone(chat._decoder).aevents(reply(chat))]

    with pytest.raises(EngineStopped, match="has ended"):
        asyncio.run(asyncio.wait_for(read(), 20))
    gone, inbox = _Gone(chat._decoder), SimpleQueue[Item]()
    with pytest.raises(EngineStopped, match="has ended"):
        list(gone.read(gone.open(reply(chat), inbox.put), inbox))


def test_a_reader_who_is_alone_draws_in_its_own_thread_until_another_comes(chat: Chat) -> None:
    own, settings = Engine(chat._decoder), Generation(max_new_tokens=40)
    first = own.events(reply(chat, settings))
    begun = [next(first) for _ in range(5)]
    assert own._thread is None and own.load == (1, 0)
    second = own.events(reply(chat, settings))
    other = next(second)
    assert own._thread is not None
    assert [*begun, *first] == [other, *second] == list(chat.events(HELLO, settings))
    third = own.events(reply(chat, settings))  # alone once more
    next(third)
    assert own._own is not None
    third.close()
    assert own.load == (0, 0) and own._own is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_step_that_fails_in_its_readers_thread_holds_up_nobody_who_came_meanwhile(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    own, inbox, others = Engine(chat._decoder), SimpleQueue[Item](), list[Ticket]()
    step = Together.step

    def interrupted(lane: Together) -> None:
        monkeypatch.setattr(Together, "step", step)
        others.append(own.open(reply(chat), inbox.put))
        raise error

    first = own.events(reply(chat))
    next(first)
    monkeypatch.setattr(Together, "step", interrupted)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else EngineStopped):
        list(first)
    assert list(own.read(others[0], inbox)) == list(chat.events(HELLO, LONG)) and own.load == (0, 0)


class _Interrupted(deque[Ticket]):
    """A Ctrl-C comes once, when a ticket is taken out."""

    interrupted = False

    def remove(self, ticket: Ticket) -> None:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        super().remove(ticket)


def test_a_ctrl_c_just_before_a_step_leaves_the_engine_to_others(chat: Chat) -> None:
    own = Engine(chat._decoder)
    own._waiting = _Interrupted()
    with pytest.raises(KeyboardInterrupt):
        next(own.events(reply(chat)))
    assert not own._driven() and own.load == (0, 0)
    assert own._own is None and list(own.events(reply(chat))) == list(chat.events(HELLO, LONG))


def test_a_ctrl_c_just_after_a_step_leaves_the_engine_to_others(chat: Chat) -> None:
    own = Engine(chat._decoder)
    first = own.events(reply(chat))
    next(first)
    own._driver = threading.current_thread()  # as where it came before the step's end was noted
    first.close()
    assert not own._driven() and list(own.events(reply(chat))) == list(chat.events(HELLO, LONG))


def test_who_stops_the_engine_waits_for_a_reader_who_is_about_to_step(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, about, steps, step = Engine(chat._decoder), threading.Event(), list[str](), Together.step

    def plain() -> bool:
        if own._own is not None:  # the reader holds the lock, before it says that it steps
            about.set()
            time.sleep(0.1)
        return True

    def slow(lane: Together) -> None:
        steps.append("begun")
        time.sleep(0.1)
        step(lane)
        steps.append("done")

    def read() -> None:
        with pytest.raises(EngineStopped):
            list(own.events(reply(chat)))

    monkeypatch.setattr(engine, "_plain", plain)
    monkeypatch.setattr(Together, "step", slow)
    reader = threading.Thread(target=read)
    reader.start()
    assert about.wait(20)
    own.stop()
    at_stop = [*steps]
    reader.join(20)
    assert at_stop == steps and steps.count("begun") == steps.count("done") and not reader.is_alive()


def test_a_stop_does_not_wait_for_ever_for_a_lock_that_nobody_lets_go(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LEAVING", 0.05)
    own = Engine(chat._decoder)
    holder = threading.Thread(target=own._changed.acquire)  # and ends with it, as in a process that was forked
    holder.start()
    holder.join()
    own.stop()
    assert own._stopped


def test_replies_in_a_loop_that_was_closed_around_them_free_their_rows(chat: Chat) -> None:
    own, endless = Engine(chat._decoder, most_rows=1), Generation(max_new_tokens=60)
    loop, full = asyncio.new_event_loop(), threading.Semaphore(0)
    tickets: list[Ticket] = []

    async def begin() -> None:
        for _ in range(engine._HELD):
            tickets.append(own.open(reply(chat, endless), lambda _: full.release(), asyncio.get_running_loop()))
            for _ in range(AHEAD):
                while not full.acquire(blocking=False):
                    await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(begin(), 20))
    assert own.load == (engine._HELD, 0) and {ticket.given for ticket in tickets} == {AHEAD}
    loop.close()
    assert list(own.events(reply(chat))) == list(chat.events(HELLO, LONG))
    assert all(ticket.gone.wait(20) for ticket in tickets) and own.load == (0, 0)


def test_where_no_thread_can_be_started_a_reply_is_refused_and_leaves_nothing(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    own = Engine(chat._decoder)
    first = own.events(reply(chat))
    begun = [next(first)]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        with pytest.raises(EngineStopped, match="no further thread"):
            next(own.events(reply(chat)))
        assert own.load == (1, 0)
        assert [*begun, *first] == list(chat.events(HELLO, LONG))  # who is drawn is not held up
    assert [*own.each([reply(chat)])] == [list(chat.events(HELLO, LONG))] and own.load == (0, 0)


def test_who_left_while_waiting_holds_no_turn(chat: Chat) -> None:
    own = Engine(chat._decoder, most_rows=1, most_waiting=1)
    with own._changed:  # the thread cannot take any in
        for _ in range(3):
            ticket = own.open(reply(chat), lambda item: None)
            own.leave(ticket)
            assert ticket.gone.is_set() and own.load == (0, 0)


def test_replies_held_for_slow_readers_are_bounded_and_one_who_leaves_makes_room(chat: Chat) -> None:
    own = Engine(chat._decoder, most_rows=1)
    endless = Generation(max_new_tokens=60)
    tickets, full = [], threading.Semaphore(0)
    for _ in range(engine._HELD):
        tickets.append(own.open(reply(chat, endless), lambda _: full.release()))
        assert all(full.acquire(timeout=20) for _ in range(AHEAD))
    inbox: SimpleQueue[Item] = SimpleQueue()
    last = own.open(reply(chat), inbox.put)
    assert own.load == (engine._HELD, 1)
    own.leave(tickets[0])
    assert list(own.read(last, inbox))[-1].ending and own.load[1] == 0
    for ticket in tickets:
        own.leave(ticket)
        assert ticket.gone.wait(20)
