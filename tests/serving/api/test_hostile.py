"""Hostile input over a real socket: refused or handled, never a failure of ours, and never back as HTML."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from chatfed import Chat
from chatfed.model.spelling import Speller
from chatfed.model.template import Rendered
from chatfed.model.tokenizer import encode_prompt
from serving.api.beside import Beside
from serving.api.bodies import object_from
from serving.api.keys import Keys
from serving.api.limits import Allowed, Limits
from serving.api.options import ApiOptions
from serving.api.requests import read_chat
from serving.api.routes import OPENAPI, api
from tests.model.tokenizers_of_others import TEMPLATES, trained
from tests.serving.api.hosting import connected, patient, read_to_end
from tests.serving.api.running import OPERATOR_KEY, Running

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
VISITOR_KEY = "visitor-key-of-the-tests-0123456789"
OURS = tuple(str(Path(__file__).resolve().parents[3] / room) for room in ("chatfed", "serving"))
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def server(wide_chat: Chat) -> Iterator[Running]:
    """As `chatfed serve --api` puts it: before a page, behind its own protocol; keys for both roles."""
    limits = Limits(Allowed(requests_a_minute=100_000, tokens=32))
    answers = api(wide_chat, wide_chat, ApiOptions("tiny", Keys([VISITOR_KEY], [OPERATOR_KEY]), limits))
    with patient(Beside(page, answers), header_seconds=3) as running:
        yield running


async def page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def conversation(*texts: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    return {"model": "tiny", "messages": turns, "max_tokens": 4, "temperature": 0} | more


def asked(server: Running, path: str, body: Any, key: str = VISITOR_KEY) -> tuple[int, Any]:
    """Status and JSON; whatever the answer is, it is JSON and says so."""
    status, headers, text = server.ask(path, body, key)
    assert status < 500 and headers["content-type"] == "application/json", text
    assert headers["x-content-type-options"] == "nosniff"
    return status, json.loads(text)


def saying(path: str, text: str) -> dict[str, Any]:
    """A request of each kind with this text."""
    turns = [{"role": "user", "content": text}]
    own: dict[str, dict[str, Any]] = {
        CHAT: {"messages": turns, "max_tokens": 4},
        COMPLETIONS: {"prompt": text, "max_tokens": 4},
        RESPONSES: {"input": text, "max_output_tokens": 4},
    }
    return {"model": "tiny", "temperature": 0} | own.get(path, {"text": text})


ALL = (CHAT, COMPLETIONS, RESPONSES, "/v1/next-words", "/v1/leakage")


@pytest.mark.parametrize("path", ALL)
def test_a_prompt_of_a_megabyte_is_refused_whole_or_by_its_length(server: Running, path: str) -> None:
    for text, expected in (("word " * 209_000, 400), ("word " * 420_000, 413)):
        status, said = asked(server, path, saying(path, text))
        assert status == expected and "word word" not in json.dumps(said)


@pytest.mark.parametrize(
    "text", ["\x00", "\x1b[2J\x1b]0;x\x07", "\u202e\u2066", "\ufffe\uffff", "\r\ndata: [DONE]\r\n\r\n"]
)
def test_control_characters_are_text(server: Running, text: str) -> None:
    status, said = asked(server, CHAT, conversation(text))
    assert status == 200 and said["usage"]["completion_tokens"] <= 4
    for body in (b'{"model":"tiny","messages":[{"role":"user","content":"\x00"}]}', b"\x00", b"\xff\xfe{}"):
        assert asked(server, CHAT, body)[0] == 400  # as raw bytes they are no JSON


@pytest.mark.parametrize("path", ALL)
def test_script_is_text_and_no_refusal_repeats_it(server: Running, path: str) -> None:
    body = saying(path, SCRIPT)
    assert asked(server, path, body)[0] == 200
    for wrong in ({"model": SCRIPT}, {"temperature": SCRIPT}, {"seed": SCRIPT}, {"messages": SCRIPT}, {"k": SCRIPT}):
        status, said = asked(server, path, body | wrong)
        assert "<script" not in json.dumps(said) or status == 200
    assert "<script" not in json.dumps(asked(server, f"/v1/{SCRIPT.replace(' ', '%20')}", body)[1])


BROKEN = (
    b"", b"null", b"[]", b'"text"', b"{", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 100_000, b'{"model": NaN}',
    b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"model": "tiny", "messages": [{"role": "user", "content": 1e999}]}',
    b'{"model": "tiny", "temperature": Infinity, "messages": []}',
    b'{"model": "tiny", "seed": ' + b"9" * 400 + b', "messages": [{"role": "user", "content": "a"}]}',
    b'{"model": "tiny", "messages": {"role": "user"}}', b'{"model": "tiny", "messages": [[]]}',
    b'{"model": "tiny", "messages": [{"role": "tool", "content": "a"}]}',
    b'{"model": ["tiny"], "messages": [{"role": "user", "content": "a"}]}',
    b'{"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
)  # fmt: skip


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_request_is_refused(server: Running, body: bytes) -> None:
    for path in (CHAT, "/v1/next-words"):
        status, said = asked(server, path, body)
        assert status == 400 and said["error"]["message"] and said["error"]["type"] == "invalid_request_error"


TRICKS = (
    "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "file:///etc/passwd", "tiny/../tiny", "tiny\x00",
    "tiny ", "TINY", "tiny-reference", "C:\\Windows", "~", "$HOME", "{{7*7}}", "%s%n", "." * 5000,
    "http://127.0.0.1:1/", "model",
)  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_a_models_name_is_looked_up_and_is_no_path(server: Running, name: str) -> None:
    for path, body in ((CHAT, conversation("hi")), (COMPLETIONS, {"prompt": "hi", "max_tokens": 1})):
        status, said = asked(server, path, body | {"model": name})
        assert status == (403 if name == "tiny-reference" else 404) and "root:" not in json.dumps(said)
        assert name not in json.dumps(said) or name in ("~", "model")


@pytest.mark.parametrize(
    "path",
    ["/v1/models/../../etc/passwd", "/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models/%2e%2e/%00", "/v1/models/tiny%00",
     "/v1/../metrics", "//v1/models", "/v1/models/" + "a" * 20_000, "/v1/models/%ff%fe", "/v1/%2e%2e/tokenizer_info"],
)  # fmt: skip
def test_a_path_that_climbs_leads_nowhere(server: Running, path: str) -> None:
    status, _, text = server.ask(path, key=VISITOR_KEY)
    assert status in (299, 400, 404) and "root:" not in text and "eos_token" not in text


def test_what_is_no_http_is_refused_or_closed_and_the_next_is_answered(server: Running) -> None:
    for sent in (
        b"\x16\x03\x01\x00\xa5", b"GET\r\n\r\n", b"POST /v1/models HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ):  # fmt: skip
        with connected(server.port) as client:
            client.sendall(sent)
            said = read_to_end(client)
            assert not said or said.startswith(b"HTTP/1.1 4"), said[:200]
    assert server.ask("/v1/models", key=VISITOR_KEY)[0] == 200


WRONG_KEYS = (None, "", "wrong", VISITOR_KEY[:-1], VISITOR_KEY + "0", VISITOR_KEY.upper(), "\xff")


def test_every_route_but_two_wants_a_key_and_the_right_one(server: Running) -> None:
    schema = server.json(OPENAPI, key=VISITOR_KEY)
    routes = [(path, method.upper()) for path, ways in schema["paths"].items() for method in ways]
    assert len(routes) >= 11
    for path, method in routes:
        for key in WRONG_KEYS:
            status, _, text = server.ask(path, {} if method == "POST" else None, key, method)
            assert status == (200 if path in ("/healthz", "/metrics") else 401), (path, text)


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, conversation("hi", logprobs=True)), (CHAT, conversation("hi", logprobs=True, top_logprobs=5)),
     (COMPLETIONS, {"model": "tiny", "prompt": "hi", "max_tokens": 1, "logprobs": 1}),
     (COMPLETIONS, {"model": "tiny", "prompt": "hi", "max_tokens": 1, "echo": True, "logprobs": 1}),
     (CHAT, conversation("hi") | {"model": "tiny-reference"}), ("/tokenize", {"prompt": "hi"}),
     ("/detokenize", {"tokens": [1]}),
     ("/v1/leakage", {"text": "hi", "allowed": 0.3})],
)  # fmt: skip
def test_what_helps_an_attacker_is_the_operators(server: Running, path: str, body: Any) -> None:
    status, said = asked(server, path, body)
    assert status == 403 and said["error"]["code"] == "operator_only", said
    assert asked(server, path, body, OPERATOR_KEY)[0] == 200


def test_a_history_of_ten_thousand_turns_is_refused_by_its_count(server: Running) -> None:
    status, said = asked(server, CHAT, conversation(*["my badge is lost"] * 10_000))
    assert status == 400 and said["error"]["code"] == "too_many_messages" and "10,000" in said["error"]["message"]


@pytest.mark.parametrize("template", ["chatfed", "chatml", "llama2"])
def test_a_history_ten_times_as_long_takes_ten_times_the_work_to_read(
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    """Work is counted, not timed: steps of Python, and characters made into tokens. 100 times were quadratic."""
    own = template == "chatfed"
    tokenizer = tiny_tokenizer if own else trained("byte-level", TEMPLATES[template])
    characters: list[int] = []
    encode = Speller.encode

    def counted(speller: Speller, dialogues: Sequence[Rendered]) -> Any:
        characters[-1] += sum(len(each.text) for each in dialogues)
        return encode(speller, dialogues)

    monkeypatch.setattr(Speller, "encode", counted)
    steps: list[int] = []
    for count in (101, 1_001, 10_001) if own else (101, 301, 3_001):  # the first, to warm up
        body = json.dumps(conversation(*["my badge is lost"] * count)).encode()
        characters.append(0)
        with counting() as run:
            turns = read_chat(object_from(body)).turns
            encode_prompt(tokenizer, turns)
        steps.append(run["calls"] + run["lines"])
        assert len(turns) == count
    for work in (steps, characters):
        assert 9 * work[1] < work[2] < 10.2 * work[1], (steps, characters)


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Calls of Python functions inside, by this thread, and lines of our own, anew for each turn of a loop in one."""
    found = Counter[str]()

    def call(frame: FrameType, event: str, _: Any) -> Any:
        found["calls"] += 1
        return line if frame.f_code.co_filename.startswith(OURS) else None

    def line(_: FrameType, event: str, __: Any) -> Any:
        found["lines"] += event == "line"
        return line

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield found
    finally:
        sys.settrace(before)
