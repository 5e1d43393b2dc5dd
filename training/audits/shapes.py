"""How dialogues are shaped and what they speak of, copies beside dialogues of clients that never trained.

Only of those the figures are shown: they are looked at without noise anyway, and a client that trained has no part in
them. Words are compared that public dialogues have, and that several of these clients say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chatfed.types import Turn

from .copies import words_of

CLIENTS = 5  # of those that never trained say a word at least, before it is compared
TOPICAL = (0.02, 0.2)  # of their dialogues have it: more is how everybody speaks, less is chance
WORDS = 100  # that most of their dialogues have, within that
LETTERS = 4  # of a word at least

Texts = Sequence[Sequence[Turn]]


@dataclass(frozen=True)
class Shape:
    """Of some dialogues. `early`: share that has no more room in the model's context; None where nobody counted."""

    turns: float  # of a dialogue, the mean
    words_user: float  # of a message, the mean
    words_assistant: float
    early: float | None
    first_words: float | None = None  # overlap with controls': 1 minus the total variation of a dialogue's first word
    topics: float | None = None  # overlap with controls': sum of smaller over sum of larger shares of topical words

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def shape(texts: Texts, early: float | None, controls: Texts, topical: Sequence[str]) -> Shape:
    """Of one copy, or of the controls themselves. topical: as `topical_words` gives them."""
    user, assistant = (_words_a_message(texts, role) for role in ("user", "assistant"))
    turns = sum(map(len, texts)) / max(1, len(texts))
    mine, theirs = (topic_shares(each, topical) for each in (texts, controls))
    return Shape(turns, user, assistant, early, _overlap(_first(texts), _first(controls)), _common(mine, theirs))


def topical_words(controls: Texts, owners: Sequence[object], public: Texts) -> list[str]:
    """Words that tell what these dialogues are about, the commonest first; ties in order of the alphabet."""
    known = {word for each in public for word in _said(each)}
    dialogues, clients = Counter[str](), dict[str, set[object]]()
    for each, owner in zip(controls, owners, strict=True):
        for word in _said(each) & known:
            dialogues[word] += 1
            clients.setdefault(word, set()).add(owner)
    least, most = (share * len(controls) for share in TOPICAL)
    enough = min(CLIENTS, len(set(owners)))
    found = [word for word, count in dialogues.items() if least <= count <= most and len(clients[word]) >= enough]
    return sorted(found, key=lambda word: (-dialogues[word], word))[:WORDS]


def _said(turns: Sequence[Turn]) -> set[str]:
    return {word for turn in turns for word in words_of(turn.content) if len(word) >= LETTERS and word.isalpha()}


def topic_shares(texts: Texts, topical: Collection[str]) -> list[float]:
    """The share of dialogues that have each word."""
    counts = Counter(word for each in texts for word in _said(each))
    return [counts[word] / max(1, len(texts)) for word in topical]


def _common(mine: Sequence[float], theirs: Sequence[float]) -> float | None:
    larger = sum(map(max, mine, theirs))
    return sum(map(min, mine, theirs)) / larger if larger else None


def _first(texts: Texts) -> Counter[str]:
    return Counter(words[0] for each in texts if each and (words := words_of(each[0].content)))


def _overlap(mine: Counter[str], theirs: Counter[str]) -> float | None:
    if not mine or not theirs:
        return None
    return sum(min(mine[word] / mine.total(), theirs[word] / theirs.total()) for word in mine)


def _words_a_message(texts: Texts, role: str) -> float:
    lengths = [len(turn.content.split()) for each in texts for turn in each if turn.role == role]
    return sum(lengths) / max(1, len(lengths))
