"""What of a request the model may read where the request asks for the entity filter, and the way back for its replies.

It runs in this server: what is held back is held back from the model, and not from whoever runs the server. A client
that would hold it back from the server filters before it asks: docs/conversation.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chatfed.conversation.errors import HeldBack
from chatfed.conversation.filter import Mode
from chatfed.conversation.placeholders import Placeholders, Restorer
from chatfed.types import Turn

from ..held_back import filter_of
from .errors import ApiError
from .requests import ChatRequest, ResponseRequest
from .working import in_reader


@dataclass(frozen=True)
class Said:
    """A conversation as the model reads it. `told`: mode and counts by kind, for the answer; None without a filter."""

    turns: list[Turn] = field(repr=False)
    told: Mapping[str, Any] | None = None
    placeholders: Placeholders = field(default_factory=Placeholders, repr=False)

    def restored(self, reply: str) -> str:
        """A reply with the words again."""
        return self.placeholders.restore(reply) if len(self.placeholders) else reply

    def restorer(self) -> Restorer:
        """For one reply that comes in pieces; without placeholders it lets all through at once."""
        return Restorer(self.placeholders)


async def said_of(asked: ChatRequest | ResponseRequest, param: str = "messages") -> Said:
    """What the model may read of a request; param: the field that its words are in.

    Raises ApiError for what the mode refuses: kinds and counts, no words.
    """
    if asked.redact is Mode.OFF:
        return Said(asked.turns)
    found, placeholders = filter_of(asked.redact_language, asked.redact), Placeholders()
    texts = [turn.content for turn in asked.turns]
    try:
        made = await in_reader(lambda: found.apply_all(texts, placeholders))
    except HeldBack as error:
        raise ApiError(400, str(error), param=param, reason=error.code) from None
    turns = [replace(turn, content=each.said) for turn, each in zip(asked.turns, made, strict=True)]
    counts = sum((each.counts for each in made), Counter[str]())
    return Said(turns, {"mode": str(asked.redact), "counts": dict(sorted(counts.items()))}, placeholders)
