"""The types of this room's fixtures (conftest.py)."""

from __future__ import annotations

from collections.abc import Callable

from chatfed.data.dialogue import DialogueTable

Read = Callable[..., DialogueTable]
Say = Callable[..., list[list[str]]]
