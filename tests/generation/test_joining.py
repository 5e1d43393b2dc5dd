"""Tokens come one by one, and what is shown of them joins to what all of them together say."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.generation.joining import ReplyText, TokenTexts
from chatfed.model.tokenizer import train_tokenizer
from tests.chats import relaxed
from tests.model.tokenizers_of_others import TEXTS, trained

TOKENIZER = train_tokenizer([*TEXTS, "größer 😀 日本"], 300)
BYTES = TokenTexts(TOKENIZER)
TOKENS = st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=40)


def joined(ids: list[int], stops: tuple[str, ...] = (), lead: str = "") -> list[str]:
    text = ReplyText(BYTES.joiner(), stops, lead)
    pieces = []
    for token in ids:
        pieces.append(text.add(token))
        if text.stopped:
            return pieces
    return [*pieces, text.end()]


@relaxed
@given(TOKENS)
def test_any_tokens_join_to_what_the_tokenizer_makes_of_all(ids: list[int]) -> None:
    assert "".join(joined(ids)) == str(TOKENIZER.decode(ids, skip_special_tokens=True)).lstrip()


@relaxed
@given(
    st.text(st.sampled_from("a b\n😀ü日"), max_size=12),
    st.lists(st.sampled_from(["b", "\n\n", "😀a", "a b"]), max_size=2),
)
def test_a_reply_ends_before_the_first_stop_and_never_shows_a_part_of_one(said: str, stops: list[str]) -> None:
    ids = TOKENIZER.encode(said, add_special_tokens=False)
    whole = said.lstrip()
    end = min((whole.find(stop) for stop in stops if stop in whole), default=len(whole))
    assert "".join(joined(ids, tuple(stops))) == whole[:end]


def test_characters_come_only_when_all_their_bytes_are_there() -> None:
    pieces = joined(TOKENIZER.encode("a😀b", add_special_tokens=False))
    assert "".join(pieces) == "a😀b" and not any("\ufffd" in piece for piece in pieces)
    assert joined([TOKENIZER.encode("😀", add_special_tokens=False)[0]])[-1] == "\ufffd"  # of half of one, at the end


def test_what_leads_to_a_marker_is_held_back_and_not_shown() -> None:
    ids = TOKENIZER.encode("one\ntwo\n", add_special_tokens=False)
    assert "".join(joined(ids, lead="\n")) == "one\ntwo"


def test_partial_bytes_are_named_by_their_numbers_and_markers_by_their_names() -> None:
    first = TOKENIZER.encode("😀", add_special_tokens=False)[0]
    text, data = BYTES.of(first)
    assert text == "bytes:" + "".join(f"\\x{byte:02x}" for byte in data) and "😀".encode().startswith(data)
    end = int(TOKENIZER.eos_token_id or 0)
    assert BYTES.of(end)[0] == "<|end|>" and BYTES.said(end) == b""


@pytest.mark.parametrize("kind", ["byte-level", "regex", "unigram", "metaspace"])
def test_tokenizers_of_others_join_as_they_decode(kind: str) -> None:
    tokenizer: Any = trained(kind)
    texts = TokenTexts(tokenizer)
    for said in TEXTS:
        ids = tokenizer.encode(said, add_special_tokens=False)
        reply = ReplyText(texts.joiner())
        pieces = [reply.add(token) for token in ids]
        assert "".join([*pieces, reply.end()]) == str(tokenizer.decode(ids, skip_special_tokens=True)).lstrip()


@pytest.mark.parametrize("kind", ["ours", "regex"])
def test_a_long_reply_costs_no_more_for_each_token_than_a_short_one(kind: str) -> None:
    tokenizer: Any = TOKENIZER if kind == "ours" else trained(kind)
    texts = TokenTexts(tokenizer)
    ids = tokenizer.encode("hello there my laptop " * 400, add_special_tokens=False)

    def work(count: int) -> tuple[int, int]:
        """Calls of Python and C, and the most characters held back."""
        text, calls, held = ReplyText(texts.joiner(), ("never said",)), 0, 0

        def counted(_: Any, event: str, __: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        for token in ids[:count]:
            sys.setprofile(counted)
            text.add(token)
            sys.setprofile(None)
            held = max(held, len(text._held), *(len(value) for value in vars(text._joiner).values() if _sized(value)))
        return calls, held

    work(1600)  # the texts of tokens are found once
    (few, short), (many, long) = work(200), work(1600)
    assert many < 1.1 * 8 * few and long <= short + 12


def _sized(value: Any) -> bool:
    return isinstance(value, (str, bytes, list))
