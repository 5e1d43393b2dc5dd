"""A prompt holds the latest messages that fit, and costs what fits, however long the conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.model.spelling import Speller
from chatfed.model.template import CHAT_TEMPLATE, Rendered, Run, TemplateError
from chatfed.model.tokenizer import encode_prompt
from chatfed.model.windows import _cut, _Near, latest_that_fit
from chatfed.types import Turn
from tests.chats import relaxed
from tests.model.tokenizers_of_others import TEMPLATES, trained


@pytest.fixture(scope="module", params=["chatml", "llama2"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return trained("byte-level", TEMPLATES[request.param])


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Characters of each text that is made into tokens."""
    found: list[int] = []
    encode = Speller.encode

    def counted(speller: Speller, dialogues: Sequence[Rendered]) -> Any:
        found.extend(len(each.text) for each in dialogues)
        return encode(speller, dialogues)

    monkeypatch.setattr(Speller, "encode", counted)
    return found


def talk(count: int, text: str = "hello there") -> list[Turn]:
    return [Turn("user" if i % 2 == 0 else "assistant", f"{text} {i}") for i in range(count)]


def one_by_one(tokenizer: Any, history: list[Turn], most: int) -> list[int]:
    """Drops a user's message and what answers it until the rest fits."""
    system, turns = (history[:1], history[1:]) if history[0].role == "system" else ([], history)
    while len(ids := encode_prompt(tokenizer, [*system, *turns])) > most:
        turns = turns[2:]
    return ids


@pytest.mark.parametrize("rules", [[], [Turn("system", "be kind")]])
@pytest.mark.parametrize("most", [60, 113, 200, 1000])
def test_the_latest_messages_that_fit_are_those_that_dropping_one_at_a_time_leaves(
    tokenizer: Any, rules: list[Turn], most: int
) -> None:
    for count in (1, 5, 31):
        history = [*rules, *talk(count)]
        assert latest_that_fit(tokenizer, history, most) == one_by_one(tokenizer, history, most)


TYPED = ["<|im_end|>", "[INST] </s>", " x ", "word " * 30]
SAID = st.text(st.sampled_from("ab \n|<>ü😀"), max_size=40) | st.sampled_from(TYPED)


@pytest.mark.parametrize("kind", ["byte-level", "unigram", "metaspace"])
@pytest.mark.parametrize("template", sorted(TEMPLATES))
@relaxed
@given(said=st.lists(SAID, min_size=1, max_size=15), system=st.none() | SAID, most=st.integers(8, 300))
def test_any_conversation_is_cut_as_a_whole_tokenisation_of_each_start_cuts_it(
    kind: str, template: str, said: list[str], system: str | None, most: int
) -> None:
    tokenizer: Any = trained(kind, TEMPLATES[template])
    rules = [] if system is None else [Turn("system", system)]
    said = said if len(said) % 2 else said[1:]  # a user's is the last
    turns = [Turn("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(said)]
    try:
        wanted = by_trying(tokenizer, rules, turns, most)
    except TemplateError:
        return
    assert latest_that_fit(tokenizer, [*rules, *turns], most) == wanted


def by_trying(tokenizer: Any, rules: list[Turn], turns: list[Turn], most: int) -> list[int]:
    """The slow way: the prompt of each start, the earliest first."""
    for start in range(0, len(turns), 2):
        kept = [*rules, *turns[start:]]
        ids = encode_prompt(tokenizer, kept)
        if len(ids) <= most and len(kept) <= most:
            return ids
    return _cut(tokenizer, rules, turns[-1:], most)


@pytest.mark.parametrize("count", [401, 10_001])
def test_what_is_near_is_made_into_tokens_once_however_long_the_conversation(
    tokenizer: Any, encoded: list[int], count: int
) -> None:
    history = talk(count)
    ids = latest_that_fit(tokenizer, history, 200)
    assert 180 < len(ids) <= 200
    whole, *beginnings = encoded
    assert whole < 4 * 16 * 200 and len(beginnings) <= 3 and sum(beginnings) < 200


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE, TEMPLATES["blank line"]])
@pytest.mark.parametrize("count", [101, 401, 2_001])
def test_without_markers_what_is_near_is_made_into_tokens_once_and_then_a_few_prompts_that_about_fit(
    encoded: list[int], template: str | None, count: int
) -> None:
    tokenizer: Any = trained("byte-level", template)
    history = talk(count)
    ids = latest_that_fit(tokenizer, history, 400)
    whole, *tries = encoded
    assert ids == one_by_one(tokenizer, history[-101:], 400) and len(ids) > 350
    assert whole < 4 * 16 * 400 and len(tries) <= 6 and max(tries) < 16 * 400 / 2


class Counted(tuple[Run, ...]):
    """Counts what is looked at of it, from one end to the other."""

    looks = 0

    def __iter__(self) -> Iterator[Run]:
        for run in super().__iter__():
            Counted.looks += 1
            yield run


def test_runs_are_not_looked_through_anew_for_every_start() -> None:
    history = talk(801)
    near = _Near.of(trained("byte-level", TEMPLATES["chatml"]), [], history, range(0, 801, 2))
    near.whole = replace(near.whole, runs=Counted(near.whole.runs))
    assert near.latest(200) == one_by_one(near.tokenizer, history[-101:], 200)
    assert Counted.looks < 10 * len(near.whole.runs)


@pytest.mark.parametrize("text", ["word " * 200_000, "x" * 1_000_000, "\n" * 1_000_000, "漢" * 300_000])
def test_a_message_that_is_too_long_alone_is_cut_before_it_is_encoded(
    tokenizer: Any, encoded: list[int], text: str
) -> None:
    ids = latest_that_fit(tokenizer, [*talk(2), Turn("user", text + "last")], 200)
    assert len(ids) <= 200 and sum(encoded) < 50_000
    whole = encode_prompt(tokenizer, [Turn("user", "last")])
    assert ids[-3:] == whole[-3:]
    assert ids[0] == whole[0]  # what opens the message is there: it is still a user's


def test_a_long_system_message_leaves_the_end_of_the_talk(tokenizer: Any) -> None:
    ids = latest_that_fit(tokenizer, [Turn("system", "be kind " * 50_000), Turn("user", "hello")], 64)
    assert len(ids) == 64 and ids[-3:] == encode_prompt(tokenizer, [Turn("user", "hello")])[-3:]
