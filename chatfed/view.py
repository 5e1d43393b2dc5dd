"""How much of a conversation a model sees when it writes the next reply. Knows a Chat, and how it cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatfed.types import Turn

if TYPE_CHECKING:
    from chatfed.chat import Chat


def in_view(chat: Chat, history: Sequence[Turn], max_new_tokens: int = 80) -> tuple[int, bool]:
    """How many of the latest messages the next reply is written from, and whether the first of these is seen whole.

    It is asked of what the model really gets: the fewest latest messages that make the same prompt. Raises ChatfedError
    for a history that no reply can follow.
    """
    prompt = chat._prompt(history, max_new_tokens)
    fewest, most = 1, len(history)
    while fewest < most:
        middle = (fewest + most) // 2
        if chat._prompt(history[-middle:], max_new_tokens) == prompt:
            most = middle
        else:
            fewest = middle + 1
    return most, len(prompt) < chat.context - min(max_new_tokens, chat.context // 2)
