"""Placeholders: the same words have the same one, and the way back is exact, whatever anyone types."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatfed.conversation.entities import Entity
from chatfed.conversation.placeholders import Placeholders, Restorer
from chatfed.conversation.said_again import HeldWords
from chatfed.types import Span

PIECES = st.sampled_from(
    ["Anna Berg", "anna berg", "0555 123 4567", "[NAME-1]", "[name 1]", "[NAME-1.2]", "[TYPED-1]", "[ NAME_2 ]", "[",
     "]", "NAME-1", " ", "hello", "[NAME-0]", "[NAME-01]", "\u200b", "ﬀ"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join)
SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), st.sampled_from(["name", "phone"])), max_size=4)


def entities(text: str, spans: list[tuple[int, int, str]]) -> list[Entity]:
    found, end = [], 0
    for start, length, kind in sorted(spans):
        if end <= start < start + length <= len(text):
            found.append(Entity(Span(start, start + length), kind, "form"))
            end = start + length
    return found


@given(st.lists(st.tuples(TEXTS, SPANS), min_size=1, max_size=4))
def test_what_was_masked_comes_back_to_the_letter(messages: list[tuple[str, list[tuple[int, int, str]]]]) -> None:
    placeholders = Placeholders()
    masked = [placeholders.mask(text, entities(text, spans)) for text, spans in messages]
    assert [placeholders.restore(each.text) for each in masked] == [text for text, _ in messages]
    for each, (text, _) in zip(masked, messages, strict=True):
        for now, was, _ in each.places:
            assert placeholders.restore(each.text[now.start : now.end]) == text[was.start : was.end]


@given(TEXTS, st.lists(st.integers(1, 6), min_size=1, max_size=40))
def test_a_reply_in_pieces_is_restored_like_the_whole(text: str, sizes: list[int]) -> None:
    placeholders = Placeholders()
    placeholders.mask("Anna Berg", [Entity(Span(0, 9), "name", "form")])
    placeholders.mask("[NAME-1]", [])
    restorer, at, made = Restorer(placeholders), 0, ""
    for size in [*sizes, len(text)]:
        made += restorer.add(text[at : at + size])
        at += size
    assert made + restorer.end() == placeholders.restore(text)


def test_the_same_words_have_the_same_placeholder_and_other_capitals_its_number() -> None:
    placeholders = Placeholders()
    spans = [Span(0, 9), Span(14, 23), Span(24, 33), Span(34, 41)]
    masked = placeholders.mask("Anna Berg and anna berg Anna Berg Al Bell", [Entity(s, "name", "form") for s in spans])
    assert masked.text == "[NAME-1] and [NAME-1.2] [NAME-1] [NAME-2]"
    assert placeholders.restore("[NAME-1.2] is [NAME-1]") == "anna berg is Anna Berg"


def test_a_placeholder_that_somebody_types_gets_nobodys_words() -> None:
    placeholders = Placeholders()
    assert placeholders.mask("Anna Berg", [Entity(Span(0, 9), "name", "form")]).text == "[NAME-1]"
    typed = placeholders.mask("who is [name 1]?", []).text
    assert typed == "who is [TYPED-1]?" and placeholders.restore(typed) == "who is [name 1]?"


def test_a_model_may_spell_a_placeholder_its_own_way_but_not_without_brackets() -> None:
    placeholders = Placeholders()
    placeholders.mask("Anna Berg", [Entity(Span(0, 9), "name", "form")])
    for spelt in ("[NAME-1]", "[name-1]", "[Name 1]", "[ NAME-1 ]", "[NAME_1]"):
        assert placeholders.restore(f"Dear {spelt}, hello") == "Dear Anna Berg, hello"
    assert placeholders.restore("NAME-1 and [NAME-2]") == "NAME-1 and [NAME-2]"


def test_words_are_in_no_representation() -> None:
    placeholders = Placeholders()
    masked = placeholders.mask("Anna Berg", [Entity(Span(0, 9), "name", "form")])
    assert "Anna" not in repr(placeholders) and "Anna" not in repr(masked)


def test_what_is_held_is_found_again_in_other_capitals_but_not_inside_a_word() -> None:
    placeholders = Placeholders()
    placeholders.mask("Ann Berg", [Entity(Span(0, 3), "name", "form")])
    found = placeholders.said_again("ANN knows Annabel and ann")
    assert [(each.span, each.kind) for each in found] == [(Span(0, 3), "name"), (Span(22, 25), "name")]


WORDS = st.sampled_from(["ann", "Ann", "ANNA", "b", "-", ".", "0555", "\u00df", "ss", "\u00e9", "@", "\u0301"])
TALK = st.lists(WORDS | st.sampled_from([" ", "  ", "\n"]), min_size=1, max_size=14).map("".join)


def slowly(text: str, held: list[str]) -> list[tuple[int, int]]:
    """The first, and of those the longest, that is held, between edges of words: every piece of the text is tried."""

    def alike(words: str) -> str:
        return re.sub(r"\s+", " ", words.strip()).casefold()

    def edge(at: int) -> bool:
        return not re.fullmatch(r"\w\w", text[max(0, at - 1) : at + 1])

    wanted, found, at = {alike(words) for words in held if len(words) >= 3}, [], 0
    while at < len(text):
        ends = (end for end in range(len(text), at, -1) if edge(at) and edge(end) and alike(text[at:end]) in wanted)
        end = next((end for end in ends if text[at:end].strip() == text[at:end]), None)
        if end is not None:
            found.append((at, end))
        at = end or at + 1
    return found


@given(TALK, st.lists(TALK, max_size=5))
def test_what_is_held_is_found_again_as_by_trying_every_piece_of_a_text(text: str, held: list[str]) -> None:
    words = HeldWords()
    for each in held:
        words.add(each, "name")
    assert [(each.span.start, each.span.end) for each in words.find(text)] == slowly(text, held)


def test_a_text_is_read_once_however_much_is_held() -> None:
    looked = 0

    class Counted(dict[str, Any]):
        def get(self, *asked: Any) -> Any:
            nonlocal looked
            looked += 1
            return super().get(*asked)

    words, text = HeldWords(), " ".join(f"0555 {number:05d}" for number in range(500))
    for number in range(500):
        words.add(f"0555 {number:05d}", "phone")
    words._root.next = Counted(words._root.next)
    assert len(list(words.find(text))) == 500 and looked < 1500, "the start of what is held is looked up once a piece"
