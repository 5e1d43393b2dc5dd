"""A prompt holds the latest messages that fit, and costs what fits, however long the conversation."""

from __future__ import annotations

from typing import Any

import pytest

from chatfed.model import windows
from chatfed.model.tokenizer import encode_prompt
from chatfed.model.windows import latest_that_fit
from chatfed.types import Turn
from tests.model.tokenizers_of_others import TEMPLATES, trained


@pytest.fixture(scope="module", params=["chatml", "llama2"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return trained("byte-level", TEMPLATES[request.param])


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


@pytest.mark.parametrize("count", [401, 4001])
def test_what_is_encoded_does_not_grow_with_the_conversation(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    encoded: list[int] = []

    def counted(tokenizer: Any, turns: list[Turn]) -> list[int]:
        encoded.append(sum(len(turn.content) for turn in turns))
        return encode_prompt(tokenizer, turns)

    monkeypatch.setattr(windows, "encode_prompt", counted)
    ids = latest_that_fit(tokenizer, talk(count), 200)
    assert len(ids) <= 200
    assert sum(encoded) < 20_000


@pytest.mark.parametrize("text", ["word " * 200_000, "x" * 1_000_000, "\n" * 1_000_000, "漢" * 300_000])
def test_a_message_that_is_too_long_alone_is_cut_before_it_is_encoded(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    encoded: list[int] = []

    def counted(tokenizer: Any, turns: list[Turn]) -> list[int]:
        encoded.append(sum(len(turn.content) for turn in turns))
        return encode_prompt(tokenizer, turns)

    monkeypatch.setattr(windows, "encode_prompt", counted)
    ids = latest_that_fit(tokenizer, [*talk(2), Turn("user", text + "last")], 200)
    assert len(ids) <= 200 and sum(encoded) < 50_000
    whole = encode_prompt(tokenizer, [Turn("user", "last")])
    assert ids[-3:] == whole[-3:]
    assert ids[0] == whole[0]  # what opens the message is there: it is still a user's


def test_a_long_system_message_leaves_the_end_of_the_talk(tokenizer: Any) -> None:
    ids = latest_that_fit(tokenizer, [Turn("system", "be kind " * 50_000), Turn("user", "hello")], 64)
    assert len(ids) == 64 and ids[-3:] == encode_prompt(tokenizer, [Turn("user", "hello")])[-3:]
