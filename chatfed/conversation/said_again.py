"""Words that are held back already, found where a text has them again: whatever capitals, blanks and invisible marks.

A tree of words and marks, so that a text is read once, however much is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from chatfed.types import Span

from .entities import Entity
from .plain import plain

SHORTEST = 3  # characters of words that are held back wherever they come again
LONGEST = 64  # words and marks of them: bounds what is read again at each word of a text

_PIECE = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass
class _Branch:
    """What may follow; `kind`: words that are held end here."""

    kind: str | None = None
    next: dict[str, _Branch] = field(default_factory=dict)


class HeldWords:
    """All that one conversation holds back. Its words are in no representation."""

    def __init__(self) -> None:
        self._root = _Branch()

    def add(self, words: str, kind: str) -> None:
        """Holds these words back from now on. Of two kinds of the same words the first stays."""
        pieces = [piece for piece, _, _ in _pieces(plain(words).text.strip())]
        if len(words) < SHORTEST or not 0 < len(pieces) <= LONGEST:
            return
        at = self._root
        for piece in pieces:
            at = at.next.setdefault(piece, _Branch())
        at.kind = at.kind or kind

    def find(self, text: str) -> Iterator[Entity]:
        """Where the text has words that are held, whole words alone: the first, and of those the longest.

        In time linear in the text's length: at each of its pieces LONGEST are read at most.
        """
        if not self._root.next:
            return
        read = plain(text)
        pieces, at = list(_pieces(read.text)), 0
        while at < len(pieces):
            end, kind = self._longest(pieces, at)
            if kind is not None:
                yield Entity(read.given(Span(pieces[at][1], pieces[end - 1][2])), kind, "again")
            at = max(end, at + 1)

    def _longest(self, pieces: list[tuple[str, int, int]], first: int) -> tuple[int, str | None]:
        """(the piece behind the longest words that are held and begin here, their kind)."""
        branch, at = self._root, first
        end, kind = first, None
        while at < len(pieces) and (follows := branch.next.get(pieces[at][0])) is not None:
            branch, at = follows, at + 1
            if branch.kind is not None:
                end, kind = at, branch.kind
        return end, kind


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """(words, marks and blanks, as they are compared; start; end)."""
    for match in _PIECE.finditer(text):
        yield (" " if match[0].isspace() else match[0].casefold()), *match.span()
