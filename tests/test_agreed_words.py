"""Suggestions of a chat are limited to the words in its run's words.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatfed import Chat, load_chat
from chatfed.agreed_words import FILE, FORMAT, BadWords, read_agreed


def test_only_agreed_words_are_offered_in_any_case_and_with_the_models_probabilities(chat: Chat) -> None:
    free = chat.suggest("my ", k=50)
    assert len(free) > 3
    chat.offered = frozenset({free[0].word.casefold(), free[2].word.casefold()})
    try:
        limited = chat.suggest("my ", k=50)
        assert limited == [each for each in free if each.word.casefold() in chat.offered]
        assert free[0] in limited and free[1] not in limited
        chat.offered = frozenset()
        assert chat.suggest("my ") == []
    finally:
        chat.offered = None


def test_a_run_with_agreed_words_limits_its_chat(chat: Chat, tmp_path: Path) -> None:
    assert chat.path is not None
    (tmp_path / "model").symlink_to(chat.path.resolve())
    assert load_chat(tmp_path).offered is None
    (tmp_path / FILE).write_text(json.dumps({"format": FORMAT, "words": ["printer"]}))
    assert load_chat(tmp_path).offered == frozenset({"printer"})


WRONG = ["", "[]", "[" * 200_000, '{"words": ["x"]}', json.dumps({"format": FORMAT, "words": [1]})]


@pytest.mark.parametrize("said", WRONG)
def test_a_file_that_holds_no_agreed_words_is_refused_by_name(tmp_path: Path, said: str) -> None:
    (tmp_path / FILE).write_text(said)
    with pytest.raises(BadWords, match=FILE):
        read_agreed(tmp_path)
