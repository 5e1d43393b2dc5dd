"""The page around a chat of a few fixed words, served in this process: what a visitor sends it, and what comes back."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatfed import Generation, Suggestion, Turn
from chatfed.generation import Event, TokenScore
from serving.run_folder import RunFolder

NOTHING = RunFolder(model=Path("model"), reference=None, privacy=None, summary=None, metrics=())


class Parrot:
    """A chat that says "hi there"; it keeps what it was asked for."""

    context = 64
    offered: frozenset[str] | None = None

    def __init__(self) -> None:
        self.asked: list[Sequence[Turn]] = []

    def stream(self, turns: Sequence[Turn], settings: Generation) -> Iterator[str]:
        self.asked.append(turns)
        yield from ("hi ", "there")

    def events(
        self, turns: Sequence[Turn], settings: Generation, top: int = 0, opening: Sequence[int] = ()
    ) -> Iterator[Event]:
        self.asked.append(turns)
        for token, text in enumerate(("hi ", "there")):
            score = TokenScore(token, text, text.encode(), -0.5)
            yield Event(text, score, (score,)[:top], "stop" if token else None)

    async def aevents(
        self, turns: Sequence[Turn], settings: Generation, top: int = 0, opening: Sequence[int] = ()
    ) -> AsyncIterator[Event]:
        for event in self.events(turns, settings, top, opening):
            yield event

    def _prompt(self, history: Sequence[Turn], room: int) -> list[str]:
        """A word is a token here."""
        words = [word for turn in history for word in (turn.role, *turn.content.split())]
        return words[-(self.context - min(room, self.context // 2)) :]

    def prompt_ids(self, history: Sequence[Turn]) -> list[int]:
        return list(range(len([word for turn in history for word in (turn.role, *turn.content.split())])))

    def fits(self, history: Sequence[Turn], room: int) -> bool:
        return len(self._prompt(history, room)) < self.context - min(room, self.context // 2)

    def suggest(self, text: str, k: int = 3, history: Sequence[Turn] = ()) -> list[Suggestion]:
        self.asked.append(history)
        return [Suggestion("then", 0.5)]


@dataclass
class Visitor:
    """Speaks HTTP with a page at `port`, as the page's script does. Keeps its cookie."""

    port: int
    session: str = field(default_factory=lambda: secrets.token_hex(8))
    cookie: str = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
        """One request: (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"Cookie": self.cookie} if self.cookie else {}
        sent |= {"Content-Type": "application/json"} if body is not None else {}
        text = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        try:
            connection.request(method, path, text, sent | headers)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def open(self) -> None:
        """Loads the page."""
        _, headers, _ = self.ask("GET", "/")
        self.cookie = (headers["set-cookie"] or "").partition(";")[0]

    def call(self, function: int, *data: Any, event: Any = None, **more: Any) -> tuple[int, str]:
        """Puts a call into the queue: (status, body)."""
        body = {"fn_index": function, "trigger_id": 0, "session_hash": self.session, "data": data, "event_data": event}
        status, _, said = self.ask("POST", "/gradio_api/queue/join", body | more)
        return status, said

    def stream(self) -> tuple[int, http.client.HTTPMessage, str]:
        """What the calls in the queue give, to the end."""
        return self.ask("GET", f"/gradio_api/queue/data?session_hash={self.session}")


def functions_of(page: Any) -> dict[str, int]:
    """The first function of each name, by its number."""
    return {getattr(f.fn, "__name__", ""): index for index, f in reversed(page.fns.items()) if f.fn is not None}


@contextmanager
def hosted(application: Any) -> Iterator[int]:
    """The application on a free port of this process; the port."""
    import uvicorn

    config = uvicorn.Config(application, port=0, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


def said(role: str, text: str, **more: Any) -> dict[str, Any]:
    """A message as the page's script sends it."""
    return {"role": role, "content": [{"type": "text", "text": text}], "metadata": None, "options": None} | more
