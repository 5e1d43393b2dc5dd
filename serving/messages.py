"""A conversation as the page holds it, as text, and as the turns that a model reads. Knows no model and no gradio."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from chatfed.types import Turn

CHARACTERS_A_TOKEN = 16  # as many as any token holds, but for runs of one character

History = list[dict[str, Any]]


def text_of(content: Any) -> str:
    """The text of a message's content, which gradio gives as a string, a block or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return str(content.get("text") or "")
    if isinstance(content, Sequence):
        return "".join(text_of(block) for block in content)
    return ""


def to_page(text: str) -> str:
    """`text` as a message for gr.Chatbot, which reads HTML even with markdown off: what could open a tag is escaped.

    Only that, so that copying or editing a message shows the text itself in all but such cases.
    """

    def literal(seen: re.Match[str]) -> str:
        return "&amp;" + seen[0][1:] if html.unescape(seen[0]) != seen[0] else seen[0]

    text = re.sub(r"&#?\w+;?", literal, text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def from_page(content: Any) -> str:
    """The text of a message as the page holds it; undoes `to_page`."""
    return html.unescape(text_of(content))


def turns_of(history: History) -> list[Turn]:
    """A conversation as the page holds it, as the turns that a Chat reads. Empty messages are left out."""
    turns = [Turn(str(message["role"]), from_page(message["content"])) for message in history]
    return [turn for turn in turns if turn.content.strip()]


def texts_of(history: History) -> History:
    """A conversation as roles and texts alone: nothing else that a browser sent goes back to a page."""
    return [{"role": str(m["role"]), "content": to_page(from_page(m["content"]))} for m in history]


def latest(turns: Sequence[Turn], context: int) -> list[Turn]:
    """Of a conversation of any length what a model with room for `context` tokens may see: the rest is never encoded.

    A message takes one token at least, and a token holds few characters. It begins with a user's message.
    """
    room = context * CHARACTERS_A_TOKEN
    kept: list[Turn] = [Turn(turn.role, turn.content[-room:]) for turn in turns[-1:]]
    for turn in reversed(turns[-context:-1]):
        room -= len(kept[0].content)
        if len(turn.content) > room:
            break
        kept.insert(0, turn)
    while len(kept) > 1 and kept[0].role == "assistant":
        kept.pop(0)
    return kept


def last_of(history: History, role: str) -> str:
    """The latest message of `role`, or nothing."""
    return next((turn.content for turn in reversed(turns_of(history)) if turn.role == role), "")
