"""A conversation as people hand it over: what transformers' pipelines take is taken, anything else is named."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast

import pytest

from chatfed import ChatfedError, Turn
from chatfed.turns import as_turns

HI = Turn("user", "hi")


@pytest.mark.parametrize(
    "given",
    [
        "hi",
        [HI],
        (HI,),
        iter([HI]),
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": "hi", "name": "ada"}],
        [MappingProxyType({"role": "user", "content": "hi"})],
        [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}],
        [{"role": "user", "content": ["h", "i"]}],
        [{"role": "user", "content": "hi", "tool_calls": []}],
    ],
    ids=lambda given: type(given).__name__,  # str() of an iterator differs from process to process
)
def test_a_text_and_messages_of_every_usual_kind_are_turns(given: Any) -> None:
    assert as_turns(given) == [HI]


def test_turns_and_mappings_may_stand_beside_each_other_and_a_developer_is_the_system() -> None:
    mixed: list[Turn | dict[str, str]] = [
        {"role": "developer", "content": "be brief"},
        HI,
        {"role": "assistant", "content": "hello"},
    ]
    assert as_turns(mixed) == [Turn("system", "be brief"), HI, Turn("assistant", "hello")]
    assert as_turns([]) == []


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"role": "user", "content": "hi"}, ["single message", "[message]"]),
        (HI, ["single message"]),
        (None, ["NoneType", "give a text"]),
        (b"hi", ["bytes", "give a text"]),
        (7, ["int"]),
        (["hi", "there"], ["Message 1", "str"]),
        ([[HI]], ["Message 1", "list"]),
        ([HI, {"content": "x"}], ["Message 2", "no 'role'", "'content'"]),
        ([{"from": "human", "value": "x"}], ["Message 1", "no 'role'", "'from', 'value'"]),
        ([{"role": "user"}], ["Message 1", "no 'content'"]),
        ([{"role": "user", "content": None}], ["content of message 1", "NoneType"]),
        ([Turn("user", cast("str", 5))], ["content of message 1", "int"]),
        ([{"role": "tool", "content": "x"}], ["Message 1", "'tool'", "system, user and assistant"]),
        ([{"role": ["user"], "content": "x"}], ["Message 1", "role ['user']"]),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], ["part 1", "'image_url'", "'text'"]),
        ([{"role": "user", "content": [{"type": "text"}]}], ["part 1", "NoneType"]),
        ([{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}], ["Message 1", "tools"]),
        ([Turn("user", "half \ud83d")], ["content of message 1", "surrogate"]),
    ],
    ids=str,
)
def test_what_is_no_conversation_is_named_in_one_line(given: Any, parts: list[str]) -> None:
    with pytest.raises(ChatfedError) as caught:
        as_turns(given)
    said = str(caught.value)
    assert "\n" not in said and all(part in said for part in parts), said
