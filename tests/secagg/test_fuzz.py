"""Nothing that reads bytes from outside raises anything but a typed error; and the fuzzer would find it if it did."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chatfed.secagg.messages import MalformedMessage
from tests.secagg import fuzz
from tests.secagg.readers import Reader
from tests.secagg.readers_beside import all_readers


def test_spoiled_bytes_are_taken_or_refused_by_a_typed_error(tmp_path: Path) -> None:
    readers = all_readers(tmp_path)
    for reader in readers:
        assert fuzz.try_one(reader, reader.real) is None, reader  # else nothing behind the first check is ever reached
    figures = fuzz.fuzz(readers, seed=1, executions=9_000)
    assert figures.executions.keys() == figures.refused.keys() == {reader.kind for reader in readers}


def test_an_untyped_error_is_found_and_its_input_raises_it_again() -> None:
    def careless(data: bytes) -> None:
        if len(data) < 40:
            raise MalformedMessage(1, "x", "length")
        if data[39] > 127:
            raise IndexError

    reader = Reader("careless", bytes(64), careless)
    with pytest.raises(fuzz.Found) as caught:
        fuzz.fuzz([reader], seed=0, executions=100_000)
    assert isinstance(caught.value.__cause__, IndexError)
    with pytest.raises(IndexError):
        careless(caught.value.data)


def test_every_way_of_spoiling_changes_something_and_bears_an_empty_input() -> None:
    rng, real = random.Random(0), bytes(range(200)) + b"12 words"
    for spoil in fuzz.SPOILS:
        assert {spoil(real, [b"other" * 60], rng) for _ in range(40)} - {real}, spoil
        assert isinstance(spoil(b"", [b""], rng), bytes)
