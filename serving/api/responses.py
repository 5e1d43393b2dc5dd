"""/v1/responses: the text part of OpenAI's Responses API, without memory: a request brings its whole conversation."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from .bodies import given
from .choices import Job, Reply, collected, drawn, ends_of, jobs_of, prompt_of_turns
from .keys import role_of
from .limits import Limits
from .metrics import count_tokens
from .models import Models, ServedModel
from .redacting import Said, said_of
from .requests import RESPONSE_FIELDS, ResponseRequest, conversation_schema, read_response
from .schemas import described
from .streaming import EventStream, Objects


def router(models: Models, limits: Limits) -> APIRouter:
    """POST /v1/responses."""
    routes = APIRouter()

    @routes.post("/v1/responses", **described(RESPONSE_FIELDS, conversation_schema("input"), "input"))
    async def responses(request: Request) -> Response:
        """The assistant's next message, as an item."""
        asked = read_response(await given(request))
        limits.check_messages(len(asked.turns), "input")
        most = limits.tokens(asked.sampling.most, param="max_output_tokens")
        model = models.find(asked.model, role_of(request))
        await limits.enter(request)
        said = await said_of(asked, "input")
        prompt = await prompt_of_turns(model.chat, said.turns, "input")
        job = jobs_of(model.chat, [prompt], asked.sampling, most, None, role_of(request))[0]
        answer = _Answer(request, asked, model, job, said)
        if asked.stream:
            return EventStream(answer.events(), named=True)
        reply = (await collected(model.chat, [job]))[0]
        count_tokens(request, len(prompt.ids), len(reply.scored))
        return JSONResponse(answer.ended(reply))

    return routes


@dataclass
class _Answer:
    """One request's answer, whole or as events."""

    request: Request
    asked: ResponseRequest
    model: ServedModel
    job: Job
    said: Said

    def __post_init__(self) -> None:
        self.id, self.item = f"resp_{secrets.token_hex(24)}", f"msg_{secrets.token_hex(24)}"
        self.created, self.read, self._number = int(time.time()), len(self.job.prompt.ids), 0

    def _object(self, status: str) -> dict[str, Any]:
        settings = self.job.settings  # a visitor's are coarser than what was asked
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": self.asked.instructions,
            "max_output_tokens": self.asked.sampling.most,
            "metadata": dict(self.asked.metadata),
            "model": self.model.name,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": settings.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": settings.top_p,
            "truncation": "disabled",
            "usage": None,
            **({"redacted": self.said.told} if self.said.told else {}),
        }

    def ended(self, reply: Reply) -> dict[str, Any]:
        """The whole response. One that has no more room is incomplete, as its status says."""
        cut = reply.ending == "length"
        return self._object("incomplete" if cut else "completed") | {
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self._message(self.said.restored(reply.text), "incomplete" if cut else "completed")],
            "usage": self._usage(len(reply.scored)),
        }

    def _message(self, text: str | None, status: str) -> dict[str, Any]:
        content = [] if text is None else [_part(text)]
        return {"type": "message", "id": self.item, "status": status, "role": "assistant", "content": content}

    def _usage(self, drawn_tokens: int) -> dict[str, Any]:
        return {
            "input_tokens": self.read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": drawn_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.read + drawn_tokens,
        }

    async def events(self) -> Objects:
        """The events in OpenAI's order: the response and its one message begin, grow, and are done."""
        reply, ends, restorer = Reply(), ends_of(self.model.chat), self.said.restorer()
        try:
            yield self._event("response.created", response=self._object("in_progress"))
            yield self._event("response.in_progress", response=self._object("in_progress"))
            yield self._event("response.output_item.added", output_index=0, item=self._message(None, "in_progress"))
            yield self._in_part("response.content_part.added", part=_part(""))
            async with aclosing(drawn(self.model.chat, [self.job])) as events:
                async for _, event in events:
                    reply.add(event, ends)
                    text = restorer.add(event.text) + (restorer.end() if event.ending else "")
                    if text:
                        yield self._in_part("response.output_text.delta", delta=text, logprobs=[])
            for done in self._closing(reply):
                yield done
        finally:
            count_tokens(self.request, self.read, len(reply.scored))

    def _closing(self, reply: Reply) -> list[Mapping[str, Any]]:
        ended, text = self.ended(reply), self.said.restored(reply.text)
        return [
            self._in_part("response.output_text.done", text=text, logprobs=[]),
            self._in_part("response.content_part.done", part=_part(text)),
            self._event("response.output_item.done", output_index=0, item=ended["output"][0]),
            self._event(f"response.{ended['status']}", response=ended),
        ]

    def _in_part(self, kind: str, **more: Any) -> dict[str, Any]:
        """An event of the message's one part."""
        return self._event(kind, item_id=self.item, output_index=0, content_index=0, **more)

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:
        event = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return event


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
