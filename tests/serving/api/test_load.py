"""Many streaming clients at once, for a few seconds; benchmarks/serving_load.py is the long version, of a real run."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.serving_load import Client, Load, asked_for, converse, held_places, left, loaded, overloaded
from chatfed import Chat
from serving.api import limits
from serving.api.keys import Caller, Keys, Role
from serving.api.limits import Allowed, Limits
from serving.api.options import ApiOptions
from serving.api.routes import api
from tests.conftest import build_tiny
from tests.serving.api.hosting import patient, until
from tests.serving.api.running import Running

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CLIENTS, EQUALS, PLACES, WAITING = 12, 8, 4, 16
LONG = 16_000  # tokens of a reply whose client leaves: minutes of them
KEYS = [f"visitor-{number}-of-the-load-test" for number in range(CLIENTS)]


@pytest.fixture(scope="module")
def endless(tiny_tokenizer: PreTrainedTokenizerFast) -> Chat:
    """A model that writes on until it may not, since no token ends a message."""
    made = Chat(build_tiny(tiny_tokenizer, LONG + 384), tiny_tokenizer)
    made._ends.clear()
    return made


@pytest.fixture(scope="module")
def server(endless: Chat) -> Iterator[Running]:
    allowed = Allowed(requests_a_minute=100_000, places=PLACES, waiting=WAITING, tokens=LONG)
    with patient(api(endless, None, ApiOptions("tiny", Keys(KEYS), Limits(allowed)))) as running:
        yield running


def test_all_clients_are_written_to_and_none_meets_an_error(server: Running) -> None:
    load = asyncio.run(loaded(server.port, "tiny", KEYS, 3, 8, os.getpid()))
    found = load.to_json()
    assert not load.errors and found["refused"] == 0, found
    assert found["answers"] >= CLIENTS, found
    assert found["answers_of_a_client"]["least"] >= 1, found
    assert held_places(server.port) == 0
    assert max(load.memory) - load.memory[len(load.memory) // 3] < 64 * 1024, load.memory  # KiB


def test_equal_requests_get_equal_shares_of_the_model(server: Running) -> None:
    """Counted when so many answers are there, however long that took."""
    clients = [Client() for _ in range(EQUALS)]

    def goes_on() -> bool:
        return sum(each.answers for each in clients) < 10 * EQUALS

    async def all_ask() -> None:
        asked = (asked_for("tiny", 8, seed) for seed in range(EQUALS))
        await asyncio.gather(
            *(
                converse(each, server.port, body, key, goes_on)
                for each, body, key in zip(clients, asked, KEYS, strict=False)
            )
        )

    asyncio.run(all_ask())
    load = Load(clients, ())
    assert not load.errors and load.fairness >= 0.97 and load.turns >= 0.97, load.to_json()


def test_many_callers_whose_replies_end_by_chance_get_nearly_equal_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own line and places; a reply in a place grows by a token at each tick of a clock of ours."""
    monkeypatch.setattr(limits, "caller_of", lambda request: request.caller)
    told = {}
    for name, tokens in {
        "equal": lambda _: 64,
        "by chance": lambda by: min(64, 1 + int(by.expovariate(1 / 60))),
    }.items():
        told[name] = asyncio.run(ticked(tokens)).fairness
    assert told["equal"] >= 0.999 and told["by chance"] >= 0.99, told


async def ticked(tokens: Callable[[random.Random], int], count: int = 50, ticks: int = 3000) -> Load:
    """What so many callers got of 16 places; each asks again as soon as a reply of so many tokens is over."""
    now, growing, clients = [0.0], list[asyncio.Future[None]](), [Client() for _ in range(count)]
    line = Limits(Allowed(wait_seconds=3600), lambda: now[0])

    async def ask(number: int, client: Client) -> None:
        by, caller = random.Random(number), Caller(Role.VISITOR, str(number).encode())
        while True:
            request: Any = SimpleNamespace(scope={}, caller=caller)
            visit = limits.begin(request.scope)
            await line.enter(request)
            for _ in range(tokens(by)):
                growing.append(asyncio.get_running_loop().create_future())
                await growing[-1]
                client.tokens += 1
            client.answers += 1
            line.leave(visit)

    asking = [asyncio.create_task(ask(number, client)) for number, client in enumerate(clients)]
    for _ in range(ticks):
        for _ in range(4):  # until each has asked, or has its place
            await asyncio.sleep(0)
        due, growing[:] = growing[:], []
        now[0] += 1
        for each in due:
            each.set_result(None)
    for each in asking:
        each.cancel()
    return Load(clients, ())


def test_more_than_places_and_line_take_are_told_when_to_come_again_and_all_others_are_answered(
    server: Running,
) -> None:
    many = 3 * (PLACES + WAITING)
    load = asyncio.run(overloaded(server.port, "tiny", KEYS, many, 32))
    found = load.to_json()
    assert not load.errors and found["refused"] > 0 and found["answers"] >= PLACES + WAITING, found
    assert found["refused"] + found["answers"] == many
    assert all(1 <= wait <= 60 for each in load.clients for wait in each.retries)
    assert held_places(server.port) == 0


def test_clients_that_leave_free_their_places_long_before_their_replies_are_written(
    server: Running, endless: Chat, written: list[int]
) -> None:
    asyncio.run(left(server.port, "tiny", KEYS, PLACES, LONG, lambda: held_places(server.port)))
    until(lambda: endless._engine.load == (0, 0), 60)
    assert PLACES <= len(written) < PLACES * LONG // 4, len(written)
