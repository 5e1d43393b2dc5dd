"""What the model is told before a conversation, in the place that its template has for it. Knows no gradio.

Some templates have a role of their own for it, some put it before the user's first message, and some take none: that is
asked of the template itself. Whether a model heeds it depends on what it was trained on, which nobody here knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatfed.model.template import TemplateError
from chatfed.types import Turn

from .failures import NotTaken

if TYPE_CHECKING:
    from chatfed import Chat

    from .texts import Texts

LONGEST = 2000  # characters
SHARE = 4  # of the model's window, as a divisor, that it may take: the rest is for the conversation and the reply


def takes_one(chat: Chat) -> bool:
    """Whether the model's template has a place for it."""
    try:
        chat.prompt_ids([Turn("system", "Be kind."), Turn("user", "Hello")])
    except TemplateError:
        return False
    return True


def told(chat: Chat, text: str | None, turns: Sequence[Turn], texts: Texts) -> list[Turn]:
    """`turns` with the system prompt before them, where one was typed. Raises NotTaken for one that is too long."""
    typed = (text or "").strip()
    if not typed:
        return list(turns)
    if len(typed) > LONGEST:
        raise NotTaken(texts("system.too_long", count=len(typed), most=LONGEST), param="system")
    opening, most = Turn("system", typed), chat.context // SHARE
    taken = len(chat.prompt_ids([opening, Turn("user", "a")]))
    if taken > most:
        said = texts("system.too_many", count=taken, most=most, context=chat.context)
        raise NotTaken(said, param="system")
    return [opening, *turns]
