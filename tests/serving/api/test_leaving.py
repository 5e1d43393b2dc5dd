"""What goes on, and what is said, when a client leaves or the server stops."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from chatfed import Chat
from serving.api import verdicts
from serving.api.entrance import Entrance
from serving.api.keys import Keys
from serving.api.limits import Limits
from serving.api.metrics import Metrics
from serving.api.working import Abandoned
from tests.serving.api.running import Running


def test_a_probe_asks_the_models_nothing_more_once_its_client_has_left(wide_chat: Chat) -> None:
    stop = threading.Event()
    model = verdicts._Stoppable(wide_chat, stop)
    places = model.word_places("my badge is lost")
    next(places)
    stop.set()
    with pytest.raises(Abandoned):
        next(places)
    for reference in (None, wide_chat):
        with pytest.raises(Abandoned):
            verdicts._probed(wide_chat, reference, None, ("my badge", "user", []), 0.05, stop)


def test_a_visitors_text_of_very_many_tokens_is_refused_by_name(api_server: Running, wide_chat: Chat) -> None:
    text = "🦊" * 900
    assert len(wide_chat.encode(text)) > verdicts.MOST_TOKENS
    for path in ("/v1/leakage", "/v1/next-words"):
        status, error = api_server.refusal(path, {"text": text}, None)
        assert status == 400 and error["param"] == "text" and "tokens" in error["message"]
    assert api_server.ask("/v1/next-words", {"text": text})[0] == 200


class Asked:
    """A request whose client leaves when it is told to, and what it was sent."""

    def __init__(self, app: Any) -> None:
        limits = Limits()
        self.entrance = Entrance(app, Keys(), limits, Metrics(limits))
        self.sent: list[Any] = []
        self.left = asyncio.Event()
        self._whole = [{"type": "http.request", "body": b""}]

    async def receive(self) -> Any:
        if self._whole:
            return self._whole.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def start(self) -> asyncio.Task[None]:
        scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "client": ("127.0.0.1", 1)}
        return asyncio.ensure_future(self.entrance(scope, self.receive, self.send))


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
PIECE = {"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True}


def test_a_server_that_stops_ends_a_stream_with_an_error_and_without_a_failure() -> None:
    async def job() -> None:
        begun = asyncio.Event()

        async def streaming(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send(PIECE)
            begun.set()
            await asyncio.sleep(60)

        asked = Asked(streaming)
        task = asked.start()
        await begun.wait()
        task.cancel()
        await task  # raises nothing
        last = asked.sent[-1]
        said = json.loads(last["body"].decode().split("\n\n")[0].removeprefix("data: "))
        assert said["error"]["code"] == "stopping" and not last["more_body"] and len(asked.sent) == 3

    asyncio.run(asyncio.wait_for(job(), 20))


def test_nothing_is_sent_to_a_client_that_has_left() -> None:
    async def job() -> None:
        begun, tried = asyncio.Event(), list[str]()

        async def stubborn(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                await send(PIECE)
                tried.append("sent")

        asked = Asked(stubborn)
        task = asked.start()
        await begun.wait()
        asked.left.set()
        await task
        assert tried == ["sent"] and asked.sent == [START]

    asyncio.run(asyncio.wait_for(job(), 20))
