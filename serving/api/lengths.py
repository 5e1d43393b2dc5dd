"""Which texts are too long for a model whatever their tokens are: looked at before any is made. Knows a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from .errors import ApiError
from .fields import refuse

if TYPE_CHECKING:
    from chatfed import Chat

TOO_LONG = "context_length_exceeded"


def check_texts(chat: Chat, texts: Sequence[str], param: str) -> None:
    """Raises ApiError 400 for texts that fill the context even where each token is the vocabulary's longest.

    Templates may cut space around a message, so that this is not counted.
    """
    most = most_characters(chat)
    size = sum(len(text.strip()) for text in texts)
    if most is not None and size > most:
        raise too_long(chat, param, f"{size:,} characters")


def too_long(chat: Chat, param: str, has: str) -> ApiError:
    """A prompt that leaves no room for a reply."""
    return refuse(
        param,
        f"This model sees {chat.context} tokens, prompt and reply together, and {param} has {has}: send a shorter one.",
        TOO_LONG,
    )


@lru_cache(maxsize=8)
def most_characters(chat: Chat) -> int | None:
    """Characters that the context may hold. None where tokens are not simply a text's bytes, so that nothing is sure.

    A character has a byte or more, and a byte-level tokenizer without a normalizer leaves none out.
    """
    texts = chat._token_bytes
    if texts._kind != "bytes" or chat.tokenizer.backend_tokenizer.normalizer is not None:
        return None
    return chat.context * max(len(texts.of(token)[1]) for token in range(len(chat.tokenizer)))
