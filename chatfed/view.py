"""How much of a conversation a model sees when it writes the next reply. Knows a Chat, and how it cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatfed.types import Turn

if TYPE_CHECKING:
    from chatfed.chat import Chat


def in_view(chat: Chat, history: Sequence[Turn], max_new_tokens: int = 80) -> tuple[int, bool]:
    """How many of the latest messages the next reply is written from, and whether it is written from all their text.

    Of a last message that is too long by itself only the end is read. It is asked of what the model really gets: the
    fewest latest messages, from a user's on, that make the same prompt. A system message in front stays in any prompt,
    and is not counted. Raises ChatfedError for a history that no reply can follow.
    """
    prompt = chat._prompt(history, max_new_tokens)
    opening = list(history[:1]) if history[0].role == "system" else []
    said = history[len(opening) :]
    counts = [len(said) - at for at in reversed(range(1, len(said))) if said[at].role == "user"]
    counts.append(len(said))

    def latest(count: int) -> list[Turn]:
        return [*opening, *said[len(said) - count :]]

    def enough(place: int) -> bool:
        return chat._prompt(latest(counts[place]), max_new_tokens) == prompt

    last = 0  # from the end on: no more is encoded than twice what is seen
    while last < len(counts) - 1 and not enough(last):
        last = min(2 * last + 1, len(counts) - 1)
    first = (last + 1) // 2
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if enough(middle) else (middle + 1, last)
    seen = counts[last]
    return seen, chat.fits(latest(seen), max_new_tokens)
