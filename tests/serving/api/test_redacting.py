"""`redact` of a chat request: the model reads placeholders, the reply has the words, an error has neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from chatfed import Chat
from chatfed.generation.events import Event
from chatfed.types import Turn
from serving.api import responses
from serving.api.fields import Given
from serving.api.redacting import said_of
from serving.api.requests import read_chat, read_response
from tests.serving.api.running import Running

PATH = "/v1/chat/completions"
SAID = "my name is Monika Casteldahl, ring 0555 451 9283"


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": SAID}], "max_tokens": 4} | more


def test_the_model_reads_placeholders_and_the_answer_counts_them(api_server: Running, wide_chat: Chat) -> None:
    answer = api_server.json(PATH, asked(redact="mask"))
    assert answer["redacted"] == {"mode": "mask", "counts": {"name": 1, "phone": 1}}
    read = wide_chat.prompt_ids([Turn("user", "my name is [NAME-1], ring [PHONE-1]")])
    assert answer["usage"]["prompt_tokens"] == len(read) != len(wide_chat.prompt_ids([Turn("user", SAID)]))


def test_a_reply_has_the_words_whole_and_in_pieces() -> None:
    given: Given = asked(redact="mask")
    said = asyncio.run(said_of(read_chat(given)))
    assert [turn.content for turn in said.turns] == ["my name is [NAME-1], ring [PHONE-1]"]
    reply = "Dear [NAME-1], we ring [phone 1], not [NAME-9]"
    whole = said.restored(reply)
    assert whole == "Dear Monika Casteldahl, we ring 0555 451 9283, not [NAME-9]"
    restorer = said.restorer()
    assert "".join(restorer.add(letter) for letter in reply) + restorer.end() == whole


def test_what_is_refused_is_a_400_with_kinds_and_no_words(api_server: Running) -> None:
    status, _, text = api_server.ask(PATH, asked(redact="refuse"))
    assert status == 400 and "1 name, 1 phone" in text and "held_back" in text
    assert "Monika" not in text and "0555" not in text


def test_mark_changes_no_word_and_without_it_nothing_is_said_of_it(api_server: Running) -> None:
    bare, off, marked = (api_server.json(PATH, asked(**more)) for more in ({}, {"redact": "off"}, {"redact": "mark"}))
    assert bare["choices"] == off["choices"] == marked["choices"]
    assert "redacted" not in bare and "redacted" not in off and marked["redacted"]["counts"] == {"name": 1, "phone": 1}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"redact": "hide"}, "redact"),
        ({"redact": 1}, "redact"),
        ({"redact": "mask", "redact_language": "fr"}, "redact_language"),
        ({"redact": "mask", "logprobs": True}, "logprobs"),
    ],
)
def test_a_wrong_value_is_named(api_server: Running, more: dict[str, Any], param: str) -> None:
    status, _, text = api_server.ask(PATH, asked(**more))
    assert status == 400 and f'"param":"{param}"' in text.replace(" ", "")


def test_the_route_that_does_not_filter_refuses_to_seem_so(api_server: Running) -> None:
    status, _, text = api_server.ask("/v1/completions", {"model": "tiny", "prompt": SAID, "redact": "mask"})
    assert status == 400 and "/v1/chat/completions and /v1/responses filter" in text


# /v1/responses


RESPONSES = "/v1/responses"


def asked_response(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "input": SAID, "instructions": "Monika Casteldahl asks", "max_output_tokens": 4} | more


def test_a_response_is_drawn_from_placeholders_and_counts_them(api_server: Running, wide_chat: Chat) -> None:
    answer = api_server.json(RESPONSES, asked_response(redact="mask"))
    assert answer["redacted"] == {"mode": "mask", "counts": {"name": 2, "phone": 1}}
    turns = [Turn("system", "[NAME-1] asks"), Turn("user", "my name is [NAME-1], ring [PHONE-1]")]
    assert answer["usage"]["input_tokens"] == len(wide_chat.prompt_ids(turns))
    bare, marked = (api_server.json(RESPONSES, asked_response(**more)) for more in ({}, {"redact": "mark"}))
    assert bare["output"][0]["content"] == marked["output"][0]["content"]
    assert "redacted" not in bare and marked["redacted"]["counts"] == answer["redacted"]["counts"]


def test_a_response_has_the_words_again_whole_and_in_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_of = read_response(asked_response(redact="mask"))
    said = asyncio.run(said_of(asked_of, "input"))
    pieces = ["Dear [NA", "ME-1", "], ring", " [phone 1] [NAME"]
    events = [Event(each, None, (), None) for each in pieces] + [Event("", None, (), "stop")]

    async def drawn(chat: object, jobs: object) -> AsyncIterator[tuple[int, Event]]:
        for each in events:
            yield 0, each

    monkeypatch.setattr(responses, "drawn", drawn)
    monkeypatch.setattr(responses, "ends_of", lambda chat: set())
    monkeypatch.setattr(responses, "count_tokens", lambda *counted: None)
    job = SimpleNamespace(prompt=SimpleNamespace(ids=[1]), settings=SimpleNamespace(temperature=1.0, top_p=1.0))
    answer = responses._Answer(Mock(), asked_of, Mock(), cast("Any", job), said)

    async def every() -> list[Any]:
        return [event async for event in answer.events()]

    told = asyncio.run(every())
    whole = "Dear Monika Casteldahl, ring 0555 451 9283 [NAME"
    assert "".join(each["delta"] for each in told if each["type"] == "response.output_text.delta") == whole
    (text,) = (each["text"] for each in told if each["type"] == "response.output_text.done")
    (part,) = (each["part"]["text"] for each in told if each["type"] == "response.content_part.done")
    (item,) = (each["item"] for each in told if each["type"] == "response.output_item.done")
    assert text == part == item["content"][0]["text"] == whole
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == whole


def test_a_response_that_is_refused_names_input_and_no_words(api_server: Running) -> None:
    status, _, text = api_server.ask(RESPONSES, asked_response(redact="refuse"))
    assert status == 400 and "2 name, 1 phone" in text and '"param":"input"' in text.replace(" ", "")
    assert "Monika" not in text and "0555" not in text
    status, _, text = api_server.ask(RESPONSES, asked_response(redact="hide"))
    assert status == 400 and '"param":"redact"' in text.replace(" ", "")
