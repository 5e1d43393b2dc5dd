"""/v1/chat/completions: a conversation, and the assistant's next message to it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from .bodies import given
from .choices import Job, Reply, collected, drawn, jobs_of, prompt_of_turns
from .keys import refuse_visitor, role_of
from .limits import Limits
from .log_probs import InChat
from .metrics import count_tokens
from .models import Models, ServedModel
from .redacting import Said, said_of
from .requests import CHAT_FIELDS, ChatRequest, conversation_schema, read_chat
from .schemas import described
from .streaming import EventStream, Objects

if TYPE_CHECKING:
    from chatfed.generation.events import Event

SHOWS = "Log-probabilities help to find out what a model was trained on"


def router(models: Models, limits: Limits) -> APIRouter:
    """POST /v1/chat/completions."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions", **described(CHAT_FIELDS, conversation_schema("messages"), "messages"))
    async def chat_completions(request: Request) -> Response:
        """The assistant's next message."""
        asked = read_chat(await given(request))
        limits.check_messages(len(asked.turns))
        most = limits.tokens(asked.sampling.most, asked.sampling.n)
        model = models.find(asked.model, role_of(request))
        if asked.top is not None:
            refuse_visitor(role_of(request), SHOWS, "logprobs")
        await limits.enter(request)
        said = await said_of(asked)
        prompt = await prompt_of_turns(model.chat, said.turns, "messages")
        jobs = jobs_of(model.chat, [prompt], asked.sampling, most, asked.top, role_of(request))
        answer = _Answer(request, asked, model, jobs, said)
        if asked.stream:
            return EventStream(answer.chunks())
        return JSONResponse(answer.whole(await collected(model.chat, jobs)))

    return routes


def usage(prompt: int, completion: int) -> dict[str, int]:
    """How many tokens were read and drawn."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@dataclass
class _Answer:
    """One request's answer, whole or in chunks."""

    request: Request
    asked: ChatRequest
    model: ServedModel
    jobs: Sequence[Job]
    said: Said

    def __post_init__(self) -> None:
        self.id, self.created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        self.read = len(self.jobs[0].prompt.ids)
        silent = () if self.asked.top is None else set(self.model.chat.tokenizer.all_special_ids)
        self.told = [InChat(silent) for _ in self.jobs]
        self.restorers = [self.said.restorer() for _ in self.jobs]

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": self.model.fingerprint,
            "choices": choices,
            **({"redacted": self.said.told} if self.said.told else {}),
        }

    def whole(self, replies: Sequence[Reply]) -> Mapping[str, Any]:
        """A chat.completion."""
        drawn_tokens = sum(len(reply.scored) for reply in replies)
        count_tokens(self.request, self.read, drawn_tokens)
        choices = [self._choice(number, reply) for number, reply in enumerate(replies)]
        return self._object("chat.completion", choices) | {"usage": usage(self.read, drawn_tokens)}

    def _choice(self, number: int, reply: Reply) -> dict[str, Any]:
        content = None
        if self.asked.top is not None:
            for each in reply.scored:
                self.told[number].drawn(*each)
            content = {"content": self.told[number].sent(reply.text), "refusal": None}
        return {
            "index": number,
            "message": {"role": "assistant", "content": self.said.restored(reply.text), "refusal": None},
            "logprobs": content,
            "finish_reason": reply.ending,
        }

    async def chunks(self) -> Objects:
        """chat.completion.chunk after chunk; with include_usage a last one without choices."""
        total = 0
        try:
            for number in range(len(self.jobs)):
                yield self._chunk(number, {"role": "assistant", "content": "", "refusal": None})
            async with aclosing(drawn(self.model.chat, self.jobs)) as events:
                async for number, event in events:
                    total += event.score is not None
                    for chunk in self._of(number, event):
                        yield chunk
            if self.asked.usage:
                yield self._object("chat.completion.chunk", []) | {"usage": usage(self.read, total)}
        finally:
            count_tokens(self.request, self.read, total)

    def _of(self, number: int, event: Event) -> list[dict[str, Any]]:
        """The chunks of one event: its text, and when it is the last, an empty one with the reason."""
        made, scored = [], None
        if self.asked.top is not None:
            if event.score is not None:
                self.told[number].drawn(event.score, event.top)
            told = self.told[number].sent(event.text)
            scored = {"content": told, "refusal": None} if told else None
        text = self.restorers[number].add(event.text) + (self.restorers[number].end() if event.ending else "")
        if text or scored:
            made.append(self._chunk(number, {"content": text}, scored))
        if event.ending:
            made.append(self._chunk(number, {}, ending=event.ending))
        return made

    def _chunk(
        self, number: int, delta: dict[str, Any], scored: dict[str, Any] | None = None, ending: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": number, "delta": delta, "logprobs": scored, "finish_reason": ending}
        chunk = self._object("chat.completion.chunk", [choice])
        return chunk | {"usage": None} if self.asked.usage else chunk
