"""chatfed: chat models that learn from private conversations without anyone collecting them.

>>> import chatfed
>>> chat = chatfed.load_chat("runs/default/model")  # doctest: +SKIP
>>> chat.reply([chatfed.Turn("user", "my laptop will not start")])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatfed.chat import Chat, Suggestion, load_chat
    from chatfed.generation import Generation
    from chatfed.types import ChatfedError, Turn, WordScore

__version__ = "0.1.0"
__all__ = ["Chat", "ChatfedError", "Generation", "Suggestion", "Turn", "WordScore", "load_chat"]


def __getattr__(name: str) -> Any:  # PEP 562: torch takes seconds to import, so only who asks for a chat waits for it
    if name in ("ChatfedError", "Turn", "WordScore"):
        from chatfed import types

        return getattr(types, name)
    if name in __all__:
        from chatfed import chat

        return getattr(chat, name)
    raise AttributeError(f"module 'chatfed' has no attribute {name!r}")
