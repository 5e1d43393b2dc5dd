"""What a model that cannot be used is told with. Knows no model."""

from __future__ import annotations

from chatfed.types import ChatfedError


class ModelError(ChatfedError):
    """A model, its tokenizer or its adapters cannot be used: missing, damaged, or of a kind that nobody can train."""

    code = "bad_model"
    mend = "give another base, or restore its files; `chatfed base check` tries one before a run"
