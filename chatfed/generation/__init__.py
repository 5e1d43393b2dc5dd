"""How replies are drawn: settings, and the events that a reply consists of. The engine behind a `Chat` is in here.

Whoever takes a setting does not wait for torch: only `chatfed.chat` asks for the modules that draw.
"""

from __future__ import annotations

from chatfed.generation.events import Event, TokenScore
from chatfed.generation.settings import Generation

__all__ = ["Event", "Generation", "TokenScore"]
