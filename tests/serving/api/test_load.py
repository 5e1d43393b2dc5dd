"""Many streaming clients at once, for a few seconds; benchmarks/serving_load.py is the long version, of a real run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from benchmarks.serving_load import held_places, left, loaded, overloaded
from chatfed import Chat
from serving.api.keys import Keys
from serving.api.limits import Allowed, Limits
from serving.api.options import ApiOptions
from serving.api.routes import api
from tests.conftest import build_tiny
from tests.serving.api.hosting import patient, until
from tests.serving.api.running import Running

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CLIENTS, PLACES, WAITING = 12, 4, 16
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
