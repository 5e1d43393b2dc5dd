"""Replies drawn for one request: several prompts, several replies to each, side by side and as events.

Nothing here computes in the event loop: what reads texts runs in threads, what draws is the engine's. Knows the
engine's events; knows no JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatfed.generation import Generation
from chatfed.types import InvalidValue, Turn

from .fields import refuse
from .keys import Role
from .lengths import check_texts, too_long
from .requests import Sampling
from .visitors import coarse, mixed
from .working import in_reader

if TYPE_CHECKING:
    from chatfed import Chat
    from chatfed.generation.events import Ending, Event, TokenScore

AT_ONCE = 4  # replies of one request that are drawn side by side; the others wait for these
MOST_AT_ALL = 128  # replies of one request
_SEEDS = 2**64

Scored = tuple["TokenScore", tuple["TokenScore", ...]]  # a token that was drawn, and the likeliest in its place


@dataclass(frozen=True)
class Prompt:
    """What stands before a reply: messages, or a text of its own."""

    ids: list[int] = field(repr=False)
    turns: list[Turn] | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)


@dataclass
class Reply:
    """A whole reply. `scored`: the tokens drawn, that which ended it too where `closed` says so."""

    text: str = field(default="", repr=False)
    scored: list[Scored] = field(default_factory=list, repr=False)
    ending: Ending = "length"
    closed: bool = False

    def add(self, event: Event, ends: set[int]) -> None:
        """Goes on with an event."""
        self.text += event.text
        if event.score is not None:
            self.scored.append((event.score, event.top))
        if event.ending:
            self.ending, self.closed = event.ending, closes(event, ends)


@dataclass(frozen=True)
class Job:
    """One reply to draw."""

    prompt: Prompt
    settings: Generation
    top: int


async def prompt_of_turns(chat: Chat, turns: list[Turn], param: str) -> Prompt:
    """The conversation as token ids. Raises ApiError where it leaves no room for a reply, or the template refuses."""
    check_texts(chat, [turn.content for turn in turns], param)
    return _fitting(chat, Prompt(await in_reader(lambda: chat.prompt_ids(turns)), turns), param)


async def prompt_of(chat: Chat, given: str | list[int], param: str = "prompt") -> Prompt:
    """A text, or token ids, as a prompt of its own. Raises ApiError as `prompt_of_turns`, and for ids that are none."""
    if isinstance(given, str):
        check_texts(chat, [given], param)
    try:
        ids = await in_reader(lambda: chat.encode(given)) if isinstance(given, str) else given
        text = given if isinstance(given, str) else await in_reader(lambda: chat.decode(ids))
    except InvalidValue as error:
        raise refuse(param, str(error).replace("ids", param, 1)) from None
    return _fitting(chat, Prompt(ids, text=text), param)


def _fitting(chat: Chat, prompt: Prompt, param: str) -> Prompt:
    if len(prompt.ids) >= chat.context:
        raise too_long(chat, param, f"{len(prompt.ids):,}")
    return prompt


def jobs_of(
    chat: Chat, prompts: Sequence[Prompt], sampling: Sampling, most: int, top: int | None, role: Role
) -> list[Job]:
    """`sampling.n` replies to each prompt, those to the first one first.

    A reply of a seed has one of its own, counted up from the first: the first is what n: 1 gives. Raises ApiError where
    these are too many. A visitor's are drawn as visitors.py says.
    """
    if len(prompts) * sampling.n > MOST_AT_ALL:
        asked = f"{len(prompts)} prompts with n: {sampling.n}"
        raise refuse("n", f"{asked} are more than {MOST_AT_ALL} replies: ask for them in several requests.")
    jobs = []
    for prompt in prompts:
        drawn_as = sampling if role is Role.OPERATOR else mixed(coarse(sampling), prompt.ids)
        room = min(most, chat.context - len(prompt.ids))
        jobs += [Job(prompt, _settings(drawn_as, room, choice), top or 0) for choice in range(sampling.n)]
    return jobs


def _settings(sampling: Sampling, most: int, choice: int) -> Generation:
    seed = sampling.seed if sampling.seed is None else (sampling.seed + choice) % _SEEDS if choice else sampling.seed
    return Generation(
        max_new_tokens=most,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        stop=sampling.stop,
        seed=seed,
    )


async def drawn(chat: Chat, jobs: Sequence[Job]) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of all replies as they come, each with its reply's number. Closing it stops all of them."""
    if len(jobs) == 1:
        async with aclosing(await _events(chat, jobs[0])) as events:
            async for event in events:
                yield 0, event
        return
    queue: asyncio.Queue[tuple[int, Event] | Exception | None] = asyncio.Queue(maxsize=2 * AT_ONCE)
    places = asyncio.Semaphore(AT_ONCE)
    tasks = [asyncio.create_task(_pump(chat, number, job, places, queue)) for number, job in enumerate(jobs)]
    try:
        left = len(tasks)
        while left:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    chat: Chat,
    number: int,
    job: Job,
    places: asyncio.Semaphore,
    queue: asyncio.Queue[tuple[int, Event] | Exception | None],
) -> None:
    try:
        async with places, aclosing(await _events(chat, job)) as events:
            async for event in events:
                await queue.put((number, event))
        await queue.put(None)
    except Exception as error:  # whoever reads the queue raises it
        with suppress(asyncio.CancelledError):
            await queue.put(error)


async def _events(chat: Chat, job: Job) -> AsyncGenerator[Event, None]:
    prompt = job.prompt
    turns = prompt.turns
    if turns is None:
        return await in_reader(lambda: chat.aevents_after(prompt.ids, job.settings, job.top, prompt))
    return await in_reader(lambda: chat.aevents(turns, job.settings, job.top, request=prompt))


async def collected(chat: Chat, jobs: Sequence[Job]) -> list[Reply]:
    """All replies, whole."""
    replies, ends = [Reply() for _ in jobs], ends_of(chat)
    async with aclosing(drawn(chat, jobs)) as events:
        async for number, event in events:
            replies[number].add(event, ends)
    return replies


def ends_of(chat: Chat) -> set[int]:
    """Tokens that end a message."""
    return chat.ends


def closes(event: Event, ends: set[int]) -> bool:
    """Whether the event's token ended the reply, and is no part of its text."""
    return event.ending == "stop" and event.score is not None and event.score.token in ends
