from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serving.api.running import Running

PATH = "/v1/responses"
ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "input": "my laptop will not start", "max_output_tokens": 6, "seed": 7} | more


def text_of(answer: Any) -> Any:
    return answer["output"][0]["content"][0]["text"]


def test_a_response_is_the_chats_reply(api_server: Running) -> None:
    answer = api_server.json(PATH, asked())
    chat = {"model": "tiny", "messages": [{"role": "user", "content": asked()["input"]}], "max_tokens": 6, "seed": 7}
    whole = api_server.json("/v1/chat/completions", chat)
    assert text_of(answer) == whole["choices"][0]["message"]["content"]
    assert answer["usage"]["input_tokens"] == whole["usage"]["prompt_tokens"]
    assert answer["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    assert answer["status"] == "incomplete" and answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["store"] is False


def test_instructions_are_a_system_message_and_items_are_messages(api_server: Running) -> None:
    items = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": asked()["input"]}]},
    ]
    with_items = text_of(api_server.json(PATH, asked(input=items)))
    assert text_of(api_server.json(PATH, asked(instructions="be brief"))) == with_items
    assert text_of(api_server.json(PATH, asked())) != with_items


def test_events_come_in_openais_order_and_join_to_the_reply(api_server: Running) -> None:
    status, headers, text = api_server.ask(PATH, asked(stream=True))
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in text.removesuffix("\n\n").split("\n\n")]
    assert all(len(block) == 2 for block in blocks)
    told = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {each['type']}" for each in told]
    kinds = [each["type"] for each in told]
    assert list(dict.fromkeys(kinds)) == [*ORDER, "response.incomplete"]
    assert [each["sequence_number"] for each in told] == list(range(len(told)))
    said = "".join(each["delta"] for each in told if each["type"] == "response.output_text.delta")
    last = told[-1]["response"]
    assert said == text_of(last) == text_of(api_server.json(PATH, asked()))
    assert last["usage"]["output_tokens"] == 6


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"input": None}, "input"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 5}}, "metadata"),
        ({"input": "word " * 900}, "input"),
    ],
)
def test_what_needs_memory_or_more_than_text_is_refused_by_name(
    api_server: Running, wrong: dict[str, Any], param: str
) -> None:
    status, error = api_server.refusal(PATH, asked(**wrong))
    assert status == 400 and error["param"] == param


def test_nothing_that_was_answered_is_kept(api_server: Running) -> None:
    made = api_server.json(PATH, asked())
    assert api_server.refusal(f"{PATH}/{made['id']}")[0] == 404
