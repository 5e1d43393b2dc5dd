"""Texts are read in parts, and between two of them whoever no longer waits is heard."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chatfed import Chat
from chatfed.model import decoding

TEXT = "hello there my laptop is not on " * 2


class _Left(Exception):
    """Nobody waits any more."""


@pytest.mark.parametrize("face", ["words", "ids"])
def test_a_reading_ends_between_its_parts_when_nobody_waits(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, calls: list[int], face: str
) -> None:
    monkeypatch.setattr(decoding, "_LOGITS_AT_ONCE", 4 * int(chat.model.config.vocab_size))  # 4 tokens a part
    asked = 0

    def left_after_two_parts() -> None:
        nonlocal asked
        asked += 1
        if asked == 4:
            raise _Left

    def read(check: Callable[[], object]) -> object:
        if face == "words":
            return chat.word_log_probs(TEXT, check=check)
        return chat.score_ids(chat.encode(TEXT), check=check)

    assert read(lambda: None) and len(calls) > 4
    calls.clear()
    with pytest.raises(_Left):
        read(left_after_two_parts)
    assert len(calls) == 3
