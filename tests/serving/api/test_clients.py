"""The official `openai` client and LangChain's ChatOpenAI as they come, against the API on a real socket."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import openai
import pytest

from chatfed import Chat
from tests.serving.api.running import OPERATOR_KEY, Running

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionMessageParam

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "my laptop will not start"}]
DRAWN: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 6, "seed": 7}


@pytest.fixture(scope="module")
def client(api_server: Running) -> Iterator[OpenAI]:
    with openai.OpenAI(base_url=f"{api_server.url}/v1", api_key=OPERATOR_KEY, max_retries=0) as made:
        yield made


def test_openai_lists_models(client: OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["tiny", "tiny-reference"]
    assert client.models.retrieve("tiny").owned_by == "chatfed"


def test_openai_chats_and_streams_the_same_words(client: OpenAI) -> None:
    whole = client.chat.completions.create(**DRAWN)
    chunks = list(client.chat.completions.create(**DRAWN, stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage and chunks[-1].choices == []
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "length"


def test_openais_own_stream_reader_finds_the_whole_completion(client: OpenAI) -> None:
    whole = client.chat.completions.create(**DRAWN).choices[0].message.content
    assert whole
    with client.chat.completions.stream(**DRAWN, stop=whole[3:]) as stream:  # one that ends by length it calls an error
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == whole[: whole.index(whole[3:])]


def test_openai_reads_log_probabilities(client: OpenAI) -> None:
    found = client.chat.completions.create(**DRAWN, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert found is not None and found.content is not None
    for token in found.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2 and token.bytes is not None
        assert math.exp(token.top_logprobs[0].logprob) <= 1


def test_openai_completes_and_scores_a_text(client: OpenAI, wide_chat: Chat) -> None:
    ids = wide_chat.encode("please check the paper")
    made = client.completions.create(model="tiny", prompt=ids, max_tokens=1, echo=True, logprobs=1, temperature=0)
    told = made.choices[0].logprobs
    assert told is not None and told.token_logprobs is not None and len(told.token_logprobs) == len(ids) + 1
    assert told.token_logprobs[0] is None  # against its own type, as OpenAI's API has it


def test_openai_has_responses_whole_and_as_events(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny", "input": "my laptop will not start", "max_output_tokens": 6}
    whole = client.responses.create(**asked, temperature=0, instructions="be brief", store=False)
    with client.responses.stream(**asked, temperature=0, instructions="be brief") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert said == whole.output_text and whole.usage is not None and whole.usage.output_tokens == 6


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (openai.NotFoundError, {"model": "gpt-4o"}),
        (openai.BadRequestError, {"messages": HELLO * 60}),
        (openai.BadRequestError, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    ],
)
def test_openai_raises_its_own_errors(client: OpenAI, kind: type[openai.APIStatusError], more: dict[str, Any]) -> None:
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**{**DRAWN, **more})
    assert raised.value.code in ("model_not_found", "context_length_exceeded", "unsupported")
    assert raised.value.param == next(iter(more))


def test_openai_is_told_what_its_key_may_not(api_server: Running) -> None:
    with openai.OpenAI(base_url=f"{api_server.url}/v1", api_key="invented", max_retries=0) as visitor:
        assert visitor.chat.completions.create(**DRAWN).choices[0].message.content is not None
        with pytest.raises(openai.PermissionDeniedError, match="operator"):
            visitor.chat.completions.create(**DRAWN, logprobs=True)


def test_langchain_invokes_streams_and_counts(api_server: Running) -> None:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    model = ChatOpenAI(
        model="tiny", base_url=f"{api_server.url}/v1", api_key=SecretStr(OPERATOR_KEY), max_completion_tokens=6,
        seed=7, temperature=1, max_retries=0, stream_usage=True,
    )  # fmt: skip
    whole = model.invoke([("system", "be brief"), ("human", "hi")])
    pieces = list(model.stream([("system", "be brief"), ("human", "hi")]))
    assert "".join(str(piece.content) for piece in pieces) == whole.content
    assert whole.usage_metadata is not None and whole.usage_metadata["output_tokens"] == 6
    counted = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
    assert [each["total_tokens"] for each in counted] == [whole.usage_metadata["total_tokens"]]
    assert [each.content for each in model.batch(["hi", "hi"])] == [model.invoke("hi").content] * 2
    scored = model.bind(logprobs=True).invoke("hi")
    assert len(scored.response_metadata["logprobs"]["content"]) == 6
