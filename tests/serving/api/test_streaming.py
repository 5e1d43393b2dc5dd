from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from chatfed import Chat
from serving.api.errors import ApiError
from serving.api.streaming import EventStream
from tests.serving.api.hosting import asking, until
from tests.serving.api.running import Running, running

SECRET = "my-medical-secret"


def sent_by(objects: AsyncGenerator[Mapping[str, Any], None], named: bool = False) -> str:
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    asyncio.run(EventStream(objects, named)({"type": "http"}, receive, send))
    return b"".join(sent).decode()


async def failing(error: Exception) -> AsyncGenerator[Mapping[str, Any], None]:
    yield {"type": "first"}
    raise error


def test_an_error_in_a_stream_is_an_event_of_it() -> None:
    text = sent_by(failing(ApiError(400, "Too much.", param="n", reason="odd")))
    first, error, done = text.removesuffix("\n\n").split("\n\n")
    assert first == 'data: {"type":"first"}' and done == "data: [DONE]"
    assert json.loads(error.removeprefix("data: "))["error"]["message"] == "Too much."


def test_a_failure_of_ours_tells_nobody_what_was_written(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        text = sent_by(failing(RuntimeError(SECRET)))
    assert SECRET not in text + caplog.text and "RuntimeError at test_streaming.py" in caplog.text
    assert '"code": "internal"' in text


def test_a_named_stream_says_each_objects_type_and_no_done() -> None:
    async def two() -> AsyncGenerator[Mapping[str, Any], None]:
        yield {"type": "a", "said": "line\nline\r\u2028"}
        yield {"type": "b"}

    text = sent_by(two(), named=True)
    assert text.startswith('event: a\ndata: {"type":"a","said":"line\\nline\\r\\u2028"}\n\n')
    assert text.endswith('event: b\ndata: {"type":"b"}\n\n')


@pytest.fixture
def failing_server(wide_chat: Chat, monkeypatch: pytest.MonkeyPatch) -> Any:
    from serving.api.options import ApiOptions
    from serving.api.routes import api

    def broken(history: Any) -> list[int]:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(wide_chat, "prompt_ids", broken)
    with running(api(wide_chat, None, ApiOptions("tiny"))) as server:
        yield server


def test_a_failure_of_ours_is_a_500_and_no_text_is_logged(
    failing_server: Running, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = {"model": "tiny", "messages": [{"role": "user", "content": SECRET}]}
    with caplog.at_level(logging.DEBUG):
        status, error = failing_server.refusal("/v1/chat/completions", asked)
    assert status == 500 and error["type"] == "server_error"
    assert SECRET not in caplog.text + "".join(capfd.readouterr()) + str(error)


def test_a_client_that_leaves_stops_the_model_and_frees_its_place(
    wide_chat: Chat, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.api.keys import Keys
    from serving.api.limits import Allowed, Limits
    from serving.api.options import ApiOptions
    from serving.api.routes import api

    monkeypatch.setattr(wide_chat, "_ends", set())  # each of the replies fills the context
    limits = Limits(Allowed(places=1))
    with running(api(wide_chat, None, ApiOptions("tiny", Keys(), limits))) as server:
        for stream in (True, False):
            asked = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": stream, "n": 16}
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
                client.sendall(asking("/v1/chat/completions", json.dumps(asked).encode()))
                until(lambda: limits.held == 1)
                if stream:
                    client.recv(10)
            until(lambda: limits.held == 0 and wide_chat._engine.load == (0, 0), 60)
            assert len(written) < 16 * 200 // 2, "it goes on without its client"
            written.clear()
            with suppress(OSError):
                client.close()
        assert server.json("/v1/chat/completions", asked | {"n": 1, "stream": False, "max_tokens": 1}, key=None)
