"""A cache of one's own, and short ways to write a source and to say what was read of it."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from chatfed.data.dialogue import DialogueTable, read_dialogues
from tests.data.ways import Read, Say

LETTERS = {"system": "S", "user": "U", "assistant": "A"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads records as JSON Lines, a value as .json, or text as a file of the name that is given."""

    def reading(*content: object, name: str = "a.jsonl", **options: object) -> DialogueTable:
        path = tmp_path / name
        if name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(each) + "\n" for each in content), encoding="utf-8")
        else:
            text = content[0] if isinstance(content[0], str) else json.dumps(content[0])
            path.write_text(text, encoding="utf-8")
        return read_dialogues(str(path), **options)  # type: ignore[arg-type]

    return reading


@pytest.fixture
def said(read: Read) -> Say:
    """What was read, a dialogue a list: "U hi" for the user's, "A-" for an answer that is not to be learned."""

    def saying(*content: object, **options: object) -> list[list[str]]:
        return [
            [f"{LETTERS[turn.role]}{'' if turn.learn else '-'} {turn.content}" for turn in dialogue.messages]
            for dialogue in read(*content, **options)
        ]

    return saying
