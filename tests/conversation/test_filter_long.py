"""A megabyte in one message, much of it as whoever wants the filter to stall would write it.

No clock: what is counted is calls, Python's and C's. Work inside one call of an expression is not seen by that;
benchmarks.redaction measures processor time.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from chatfed.conversation.filter import Filter, FilterSettings
from chatfed.conversation.placeholders import Placeholders

SAID = " my name is Monika Casteldahl, ring 0555 451 9283 today. "
COSTLY = ["[", "@", "1 ", "a.", "+1(", "http://a.", "a@b.", "Aa ", "é́", "my name is "]
QUICK = ["a-", "0", "x", "123-45-", "\u202e"]


def of_length(piece: str, length: int) -> str:
    return piece * (length // len(piece))


def alone() -> Filter:
    return Filter(FilterSettings(presidio=False))


def test_a_megabyte_of_hostile_text_comes_back_and_what_stands_between_is_held_back() -> None:
    pieces = [of_length(each, 8_000) for each in COSTLY] + [of_length(each, 190_000) for each in QUICK]
    text = SAID.join(["", *pieces, ""])
    assert len(text) > 1_000_000
    placeholders = Placeholders()
    made = alone().apply(text, placeholders)
    assert "Monika" not in made.said and "0555 451" not in made.said
    assert made.said.count("my name is [NAME-1], ring [PHONE-1] today. ") == len(pieces) + 1
    assert placeholders.restore(made.said) == text


@pytest.mark.parametrize("piece", [*COSTLY, *QUICK], ids=repr)
def test_twice_the_text_takes_twice_the_calls(piece: str) -> None:
    chosen = alone()
    calls_of(chosen, piece)  # what is loaded at the first message
    once, twice = (calls_of(chosen, of_length(piece, length)) for length in (4_000, 8_000))
    assert twice < 2.1 * once + 500, f"{once:,} calls, and for twice the text {twice:,}"


def calls_of(chosen: Filter, text: str) -> int:
    count = 0

    def called(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        chosen.apply(text, Placeholders())
    finally:
        sys.setprofile(before)
    return count
