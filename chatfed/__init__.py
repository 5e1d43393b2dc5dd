"""chatfed: chat models that learn from private conversations without anyone collecting them.

>>> import chatfed
>>> chat = chatfed.load_chat("runs/default/model")  # doctest: +SKIP
>>> chat.reply([chatfed.Turn("user", "my laptop will not start")])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatfed.chat import Chat, Suggestion, load_chat
    from chatfed.generation import Generation
    from chatfed.types import ChatfedError, Turn, WordScore
else:  # torch takes seconds to import, so only who asks for a chat waits for it, and `chatfed --help` not for numpy
    from chatfed.lazy import loading

    HOMES = {"chat": "Chat Suggestion load_chat", "generation": "Generation", "types": "ChatfedError Turn WordScore"}
    __getattr__, __dir__ = loading(__name__, HOMES)

__version__ = "0.1.0"
__all__ = ["Chat", "ChatfedError", "Generation", "Suggestion", "Turn", "WordScore", "load_chat"]
