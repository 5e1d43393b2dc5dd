"""/v1/completions: texts or token ids, gone on from as they are, with log-probabilities of the prompt too (`echo`)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from .bodies import given
from .chat_completions import SHOWS, usage
from .choices import Job, Prompt, Reply, closes, collected, drawn, ends_of, jobs_of, prompt_of
from .keys import refuse_visitor, role_of
from .limits import Limits
from .log_probs import InCompletion
from .metrics import count_tokens
from .models import Models, ServedModel
from .requests import COMPLETION_FIELDS, CompletionRequest, prompt_schema, read_completion
from .schemas import described
from .streaming import EventStream, Objects
from .working import in_thread, unless

if TYPE_CHECKING:
    from chatfed import Chat
    from chatfed.generation.events import Event

    from .keys import Role


def router(models: Models, limits: Limits) -> APIRouter:
    """POST /v1/completions."""
    routes = APIRouter()

    @routes.post("/v1/completions", **described(COMPLETION_FIELDS, prompt_schema(), "prompt"))
    async def completions(request: Request) -> Response:
        """What follows a text."""
        asked = read_completion(await given(request))
        most = limits.tokens(asked.sampling.most, len(asked.prompts) * asked.sampling.n)
        model = models.find(asked.model, role_of(request))
        _check_role(role_of(request), asked)
        await limits.enter(request)
        prompts = [await prompt_of(model.chat, each, _named(at, asked)) for at, each in enumerate(asked.prompts)]
        jobs = jobs_of(model.chat, prompts, asked.sampling, max(most, 1), asked.top, role_of(request))
        answer = _Answer(request, asked, model, prompts, jobs)
        if asked.stream:
            return EventStream(answer.chunks())
        return JSONResponse(await answer.whole())

    return routes


def _check_role(role: Role, asked: CompletionRequest) -> None:
    if asked.top is not None:
        refuse_visitor(role, SHOWS, "logprobs")
    if asked.echo:
        refuse_visitor(role, "echo reads a text as the model does", "echo")


def _named(at: int, asked: CompletionRequest) -> str:
    return f"prompt[{at}]" if len(asked.prompts) > 1 else "prompt"


@dataclass
class _Read:
    """A prompt as its choices begin: what they show of it, and where the offsets of their tokens go on.

    shown, waiting: of a choice that is streamed, the characters that were sent, and tokens whose text was not yet.
    """

    text: str = field(repr=False)
    entries: list[dict[str, Any]] = field(repr=False)
    tokens: InCompletion
    shown: int = 0
    waiting: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.shown = len(self.text)

    def ready(self, event: Event, ends: set[int]) -> list[dict[str, Any]]:
        """Tokens that can be told with an event; those of a stop text never are, as none of it is in the text."""
        if event.score is not None:
            self.waiting.append(self.tokens.next(event.score, event.top))
        self.shown += len(event.text)
        whole = event.ending is not None and not (event.ending == "stop" and not closes(event, ends))
        told = self.waiting if whole else _within(self.waiting, self.shown)
        self.waiting = self.waiting[len(told) :]
        return told


def _within(entries: list[dict[str, Any]], characters: int) -> list[dict[str, Any]]:
    """Those that begin in so much text. Offsets only grow."""
    return [each for each in entries if each["offset"] < characters]


async def _read(chat: Chat, prompt: Prompt, asked: CompletionRequest) -> _Read:
    """The prompt as echo shows it: nothing without echo."""
    tokens = InCompletion(asked.top or 0)
    if not asked.echo:
        return _Read("", [], tokens)
    if asked.top is None:
        return _Read(prompt.text, [], tokens)
    top = asked.top
    scored = await in_thread(lambda stop: chat.score_ids(prompt.ids, top, unless(stop)))
    entries = [tokens.first(chat.decode(prompt.ids[:1]))]
    entries += [tokens.next(score, top) for score, top in scored[1:] if score is not None]
    return _Read(prompt.text, entries, tokens)


def _one_pass(asked: CompletionRequest) -> bool:
    """Whether reading the prompt tells the one token that is asked for: how evaluation programs ask for scores."""
    drawn_so = asked.sampling.temperature == 0 and asked.sampling.repetition_penalty == 1 and not asked.sampling.stop
    return asked.echo and asked.top is not None and asked.sampling.most == 1 and drawn_so


async def _read_on(chat: Chat, prompt: Prompt, top: int) -> tuple[_Read, Reply]:
    """The prompt as echo shows it, and the likeliest token after it, of the same pass."""
    ids = [*prompt.ids, 0]  # what stands there matters not
    scored = await in_thread(lambda stop: chat.score_ids(ids, max(top, 1), unless(stop)))
    tokens = InCompletion(top)
    entries = [tokens.first(chat.decode(prompt.ids[:1]))]
    entries += [tokens.next(score, near) for score, near in scored[1:-1] if score is not None]
    near = scored[-1][1]
    closed, silent = near[0].token in ends_of(chat), near[0].token in chat.tokenizer.all_special_ids
    text = "" if closed or silent else near[0].data.decode("utf-8", "replace")
    reply = Reply(text, [(near[0], near[:top])], "stop" if closed else "length", closed)
    return _Read(prompt.text, entries, tokens), reply


@dataclass
class _Answer:
    """One request's answer, whole or in chunks. The choices to one prompt stand together, in the prompts' order."""

    request: Request
    asked: CompletionRequest
    model: ServedModel
    prompts: Sequence[Prompt]
    jobs: Sequence[Job]

    def __post_init__(self) -> None:
        self.id, self.created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
        self.read, self.ends = sum(len(prompt.ids) for prompt in self.prompts), ends_of(self.model.chat)

    def _object(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": self.model.fingerprint,
            "choices": choices,
        }

    def _choice(
        self, number: int, text: str, logprobs: dict[str, Any] | None, ending: str | None = None
    ) -> dict[str, Any]:
        return {"text": text, "index": number, "logprobs": logprobs, "finish_reason": ending}

    async def whole(self) -> Mapping[str, Any]:
        """A text_completion."""
        pairs = await self._pairs()
        choices = [self._whole_choice(number, *pair) for number, pair in enumerate(pairs)]
        written = sum(len(reply.scored) for _, reply in pairs)
        count_tokens(self.request, self.read, written)
        return self._object(choices) | {"usage": usage(self.read, written)}

    async def _pairs(self) -> list[tuple[_Read, Reply]]:
        """Each choice's prompt as echo shows it, and its reply."""
        chat, asked = self.model.chat, self.asked
        if _one_pass(asked):
            return [await _read_on(chat, job.prompt, asked.top or 0) for job in self.jobs]
        reads = [await _read(chat, job.prompt, asked) for job in self.jobs]
        replies = await collected(chat, self.jobs) if asked.sampling.most else [Reply() for _ in self.jobs]
        return list(zip(reads, replies, strict=True))

    def _whole_choice(self, number: int, read: _Read, reply: Reply) -> dict[str, Any]:
        text, entries = read.text + reply.text, [read.tokens.next(*each) for each in reply.scored]
        if reply.ending == "stop" and not reply.closed:  # at a stop text, which is cut
            entries = _within(entries, len(text))
        return self._choice(number, text, self._block(read, read.entries + entries), reply.ending)

    async def chunks(self) -> Objects:
        """text_completion after text_completion; with echo each choice begins with its prompt."""
        chat, written = self.model.chat, 0
        try:
            reads = [await _read(chat, job.prompt, self.asked) for job in self.jobs]
            for number, read in enumerate(reads):
                if self.asked.echo:
                    yield self._chunk([self._choice(number, read.text, self._block(read, read.entries))])
            async with aclosing(drawn(chat, self.jobs if self.asked.sampling.most else [])) as events:
                async for number, event in events:
                    written += event.score is not None
                    for chunk in self._of(number, reads[number], event):
                        yield chunk
            if not self.asked.sampling.most:
                for number in range(len(self.jobs)):
                    yield self._chunk([self._choice(number, "", None, "length")])
            if self.asked.usage:
                yield self._object([]) | {"usage": usage(self.read, written)}
        finally:
            count_tokens(self.request, self.read, written)

    def _of(self, number: int, read: _Read, event: Event) -> list[dict[str, Any]]:
        """The chunks of one event: its text, and when it is the last, an empty one with the reason."""
        made, scored = [], None
        if self.asked.top is not None and (told := read.ready(event, self.ends)):
            scored = self._block(read, told)
        if event.text or scored:
            made.append(self._chunk([self._choice(number, event.text, scored)]))
        if event.ending:
            made.append(self._chunk([self._choice(number, "", None, event.ending)]))
        return made

    def _block(self, read: _Read, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
        return None if self.asked.top is None else read.tokens.block(entries)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = self._object(choices)
        return chunk | {"usage": None} if self.asked.usage else chunk
