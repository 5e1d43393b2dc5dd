"""What a filter found over many conversations, counted: kinds and how many, no words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import HeldBack
from .filter import Filter, Filtered
from .placeholders import Placeholders


@dataclass
class Tally:
    """How many were looked at, how many of them name anything, and what. `of`: what one is called, in the plural."""

    of: str = "dialogues"
    looked_at: int = 0
    touched: int = 0
    found: Counter[str] = field(default_factory=Counter)

    def add(self, messages: Sequence[Filtered]) -> None:
        """One more, with all its messages."""
        counts = sum((each.counts for each in messages), Counter[str]())
        self.looked_at += 1
        self.touched += bool(counts)
        self.found += counts

    def in_words(self, parts: str) -> str:
        """For whoever asked. parts: what looked, as Filter.parts says."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.found.items())) or "nothing"
        return (
            f"{self.touched:,} of {self.looked_at:,} {self.of}: {kinds}. Found by {parts}; what these miss is said as "
            "it is (docs/conversation.md has how much that was, measured)."
        )


def filtered(texts: Sequence[str], chosen: Filter, placeholders: Placeholders) -> list[Filtered]:
    """Each message of a conversation as the mode has it said; as it is with what was found where that is refused."""
    try:
        return chosen.apply_all(texts, placeholders)
    except HeldBack:  # all are looked at, so that one run tells how much there is
        return [Filtered(text, tuple(chosen.find(text))) for text in texts]
