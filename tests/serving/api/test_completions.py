from __future__ import annotations

import json
from typing import Any

import pytest

from chatfed import Chat, Generation
from serving.api.log_probs import InCompletion
from tests.serving.api.running import Running
from tests.serving.api.test_chat_completions import events

PATH = "/v1/completions"
TEXT = "please check the paper"


def scoring(prompt: Any, **more: Any) -> dict[str, Any]:
    """What lm-evaluation-harness 0.4.13 sends for log-likelihoods."""
    return {
        "model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True,
    } | more  # fmt: skip


def harness_reads(choice: dict[str, Any], context: int) -> tuple[float, bool]:
    """What lm-evaluation-harness makes of a choice whose first `context` tokens are given."""
    told = choice["logprobs"]
    own, top = told["token_logprobs"][context:-1], told["top_logprobs"][context:-1]
    return sum(own), all(each == max(near.values()) for each, near in zip(own, top, strict=True))


def test_echo_gives_the_harness_what_the_model_says_of_each_prompt(api_server: Running, wide_chat: Chat) -> None:
    prompts = [wide_chat.encode(text) for text in (TEXT, "my laptop will not start", "né ☃")]
    answer = api_server.json(PATH, scoring(prompts))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    for ids, choice in zip(prompts, answer["choices"], strict=True):
        scored = wide_chat.score_ids(ids, 1)
        assert len(choice["logprobs"]["tokens"]) == len(ids) + 1, "exactly one token is drawn"
        assert choice["logprobs"]["token_logprobs"][0] is None and choice["logprobs"]["top_logprobs"][0] is None
        wanted = sum(score.log_prob for score, _ in scored[2:] if score is not None)
        best = all(score.log_prob == top[0].log_prob for score, top in scored[2:] if score is not None)
        found, greedy = harness_reads(choice, 2)
        assert found == pytest.approx(wanted, abs=1e-4) and greedy == best


def test_a_likeliest_continuation_counts_as_greedy(api_server: Running, wide_chat: Chat) -> None:
    ids = wide_chat.encode(TEXT)
    written = [e.score.token for e in wide_chat.events_after(ids, Generation(max_new_tokens=4)) if e.score]
    choice = api_server.json(PATH, scoring([[*ids, *written]]))["choices"][0]
    assert harness_reads(choice, len(ids))[1]


def test_one_token_is_drawn_also_where_it_ends_the_message(
    api_server: Running, wide_chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = wide_chat.encode(TEXT)
    likeliest = wide_chat.score_ids([*ids, 0], 1)[-1][1][0].token
    monkeypatch.setattr(wide_chat, "_ends", {likeliest})
    for more in ({}, {"max_tokens": 2}):  # read in one pass, and drawn by the engine
        answer = api_server.json(PATH, scoring([ids], **more))
        choice = answer["choices"][0]
        assert choice["finish_reason"] == "stop" and choice["text"] == TEXT
        assert len(choice["logprobs"]["tokens"]) == len(ids) + 1 and answer["usage"]["completion_tokens"] == 1


def test_one_pass_and_the_engine_agree(api_server: Running, wide_chat: Chat) -> None:
    ids = wide_chat.encode(TEXT)
    quick = api_server.json(PATH, scoring([ids], logprobs=4))["choices"][0]
    drawn = api_server.json(PATH, scoring([ids], logprobs=4, max_tokens=2))["choices"][0]
    assert quick["logprobs"]["tokens"] == drawn["logprobs"]["tokens"][: len(ids) + 1]
    assert quick["logprobs"]["token_logprobs"][-1] == pytest.approx(
        drawn["logprobs"]["token_logprobs"][len(ids)], abs=1e-4
    )
    assert drawn["text"].startswith(quick["text"].removesuffix("\ufffd"))


def test_prompts_come_as_texts_and_as_ids(api_server: Running, wide_chat: Chat) -> None:
    ids = wide_chat.encode(TEXT)

    def texts(prompt: Any) -> list[str]:
        asked = {"model": "tiny", "prompt": prompt, "max_tokens": 5, "seed": 3}
        return [choice["text"] for choice in api_server.json(PATH, asked)["choices"]]

    one = texts(TEXT)
    assert one == texts([TEXT]) == texts(ids) == texts([ids]) and len(one) == 1
    assert texts([TEXT, "my badge"]) == [*one, *texts("my badge")]


def test_choices_to_several_prompts_stand_prompt_by_prompt(api_server: Running) -> None:
    asked = {"model": "tiny", "prompt": [TEXT, "my badge"], "max_tokens": 4, "temperature": 1, "seed": 3, "n": 2}
    both = [choice["text"] for choice in api_server.json(PATH, asked)["choices"]]
    alone = [c["text"] for p in (TEXT, "my badge") for c in api_server.json(PATH, asked | {"prompt": p})["choices"]]
    assert both == alone


def test_offsets_are_where_the_tokens_stand_in_the_text(api_server: Running) -> None:
    choice = api_server.json(PATH, scoring("a né ☃ plain text", max_tokens=3))["choices"][0]
    told = choice["logprobs"]
    places = told["text_offset"]
    assert places[0] == 0 and places == sorted(places)
    for token, at in zip(told["tokens"], places, strict=True):
        if not token.startswith("bytes:") and not token.startswith("<|"):
            assert choice["text"][at : at + len(token)] == token


def test_nothing_is_drawn_where_no_token_is_asked_for(api_server: Running) -> None:
    answer = api_server.json(PATH, scoring(TEXT, max_tokens=0))
    assert answer["choices"][0]["text"] == TEXT and answer["usage"]["completion_tokens"] == 0
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_stream_begins_with_the_echo_and_ends_with_a_reason(api_server: Running) -> None:
    _, _, text = api_server.ask(PATH, scoring(TEXT, max_tokens=4, stream=True, stream_options={"include_usage": True}))
    *data, done = events(text)
    first, *middle, last, usage = [json.loads(each) for each in data]
    assert done == "[DONE]" and usage["choices"] == []
    assert first["choices"][0]["text"] == TEXT and last["choices"][0]["finish_reason"] in ("length", "stop")
    whole = api_server.json(PATH, scoring(TEXT, max_tokens=4))
    assert "".join(chunk["choices"][0]["text"] for chunk in (first, *middle)) == whole["choices"][0]["text"]
    tokens = [token for chunk in (first, *middle) for token in chunk["choices"][0]["logprobs"]["tokens"]]
    assert tokens == whole["choices"][0]["logprobs"]["tokens"] and usage["usage"] == whole["usage"]


@pytest.mark.parametrize("field", [{"echo": True}, {"logprobs": 0}, {"logprobs": 1}])
def test_what_reads_the_model_is_the_operators(api_server: Running, field: dict[str, Any]) -> None:
    status, error = api_server.refusal(PATH, {"model": "tiny", "prompt": TEXT} | field, key=None)
    assert status == 403 and error["param"] == next(iter(field))
    assert api_server.json(PATH, {"model": "tiny", "prompt": TEXT, "max_tokens": 1, "logprobs": False}, key=None)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"prompt": [10**9]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [[1], [True]]}, "prompt[1]"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 128, "n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_what_is_no_prompt_is_refused_by_name(api_server: Running, wrong: dict[str, Any], param: str) -> None:
    status, error = api_server.refusal(PATH, {"model": "tiny", "prompt": TEXT} | wrong)
    assert status == 400 and error["param"] == param


def test_a_prompt_may_fill_all_of_the_context_but_one_token(api_server: Running, wide_chat: Chat) -> None:
    ids = (wide_chat.encode(TEXT) * 200)[: wide_chat.context]
    assert api_server.refusal(PATH, scoring([ids]))[1]["code"] == "context_length_exceeded"
    choice = api_server.json(PATH, scoring([ids[:-1]]))["choices"][0]
    assert len(choice["logprobs"]["tokens"]) == wide_chat.context


def test_alternatives_with_one_text_keep_the_likelier() -> None:
    from chatfed.generation.events import TokenScore

    near = (TokenScore(1, "a", b"a", -1.0), TokenScore(2, "a", b"a", -2.0))
    told = InCompletion(2).next(near[1], near)
    assert told["top"] == {"a": -1.0} and told["log_prob"] == -2.0


def test_tokens_of_a_stop_text_are_not_listed_as_it_is_cut(api_server: Running) -> None:
    asked = {"model": "tiny", "prompt": TEXT, "max_tokens": 12, "temperature": 0, "logprobs": 1}
    free = api_server.json(PATH, asked)["choices"][0]
    for stop in (free["text"][4:7], free["text"][:2]):
        for echo in (False, True):
            choice = api_server.json(PATH, asked | {"stop": stop, "echo": echo})["choices"][0]
            told = choice["logprobs"]
            assert choice["finish_reason"] == "stop" and stop not in choice["text"][len(TEXT) * echo :]
            assert all(at < len(choice["text"]) for at in told["text_offset"])
            _, _, text = api_server.ask(PATH, asked | {"stop": stop, "echo": echo, "stream": True})
            blocks = [json.loads(each)["choices"][0]["logprobs"] for each in events(text)[:-1]]
            assert [token for block in blocks if block for token in block["tokens"]] == told["tokens"]
