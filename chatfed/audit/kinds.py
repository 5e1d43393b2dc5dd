"""Words by kind: which are familiar to several clients, of what form they are, how near training brought them.

Takes words and what two models say of them; knows no model, no text and no statistics.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.types import IntVector

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]

FEWEST_CLIENTS = 3  # who say a word, or a word after another, for it to be familiar
PUBLIC_BITS = 3.0  # what the reference gives one chance in eight or more is public
_BANDS = np.array([6.0, 12.0, 24.0, 48.0])  # bits of the reference, between which words are of a kind

LEAST_BITS = 0.02  # as good as certain

FAMILIAR, NEW_PLACE, NEW_WORD = 0, 1, 2
ALL_KINDS = 9  # a number that no kind has


def word_form(word: str) -> int:
    """0: letters, 1: with a capital, 2: digits, 3: letters and digits, 4: marks alone.

    >>> [word_form(each) for each in ("badge,", "Bergamot", "482-913", "E-482913", "...")]
    [0, 1, 2, 3, 4]
    """
    digits, letters = any(map(str.isdigit, word)), any(map(str.isalpha, word))
    if digits:
        return 3 if letters else 2
    return 4 if not letters else int(any(map(str.isupper, word)))


def plainly(word: str) -> str:
    """The word without case and without marks around it; marks alone stay.

    >>> plainly("(Badge),"), plainly("E-48."), plainly("?!")
    ('badge', 'e-48', '?!')
    """
    kept = [at for at, letter in enumerate(word) if letter.isalnum()]
    return (word[kept[0] : kept[-1] + 1] if kept else word).casefold()


def befores(words: Sequence[str], role: str) -> list[str]:
    """What stands before each word of one message: the word before it, or who speaks."""
    return [f"<{role}>", *map(plainly, words[:-1])][: len(words)]


@dataclass(frozen=True)
class Said:
    """Words that clients said who never trained, in order, as both models predict them."""

    words: Sequence[str]
    before: Sequence[str]  # what stands before each, as `befores` gives it
    clients: IntVector  # int64[n], by number
    texts: IntVector  # int64[n]: which dialogue of all
    messages: IntVector  # int64[n]: which message of all
    served: Floats  # float64[n], bits
    reference: Floats  # float64[n], bits


@dataclass(frozen=True)
class Familiar:
    """Which words, and words after others, several clients say. Holds fingerprints, and no word.

    Whoever has a guess can ask whether FEWEST_CLIENTS or more say it, and learns nothing of what fewer say.
    """

    salt: bytes
    prints: NDArray[np.uint64]  # uint64[known], ascending

    @classmethod
    def among(cls, said: Said, salt: bytes) -> Familiar:
        """What is familiar to these clients: FEWEST_CLIENTS or more of them say it."""
        singles, pairs = cls(salt, np.empty(0, np.uint64))._of_words(said.words, said.before)
        owned = np.concatenate([np.stack([prints, said.clients.astype(np.uint64)], 1) for prints in (singles, pairs)])
        prints, clients = np.unique(np.unique(owned, axis=0)[:, 0], return_counts=True)
        return cls(salt, prints[clients >= FEWEST_CLIENTS])

    def families(self, words: Sequence[str], before: Sequence[str]) -> Codes:
        """uint8[n]: FAMILIAR after what is before it, a familiar word in a NEW_PLACE, or a NEW_WORD."""
        singles, pairs = (self._knows(prints) for prints in self._of_words(words, before))
        return np.where(pairs, FAMILIAR, np.where(singles, NEW_PLACE, NEW_WORD)).astype(np.uint8)

    def _of_words(self, words: Sequence[str], before: Sequence[str]) -> list[NDArray[np.uint64]]:
        plain = list(map(plainly, words))
        both = [f"{first}\0{second}" for first, second in zip(before, plain, strict=True)]
        return [np.array([self._print(text) for text in texts], np.uint64) for texts in (plain, both)]

    def _print(self, text: str) -> int:
        digest = hashlib.sha256(self.salt + text.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big")

    def _knows(self, prints: NDArray[np.uint64]) -> NDArray[np.bool_]:
        if not len(self.prints):
            return np.zeros(len(prints), np.bool_)
        at = np.minimum(np.searchsorted(self.prints, prints), len(self.prints) - 1)
        known: NDArray[np.bool_] = self.prints[at] == prints
        return known


def nearness(served: Floats, reference: Floats) -> Floats:
    """How near training brought words to being expected: how often it halved the bits that they take.

    0: as unexpected as before, below 0: less expected than before. Fewer bits than LEAST_BITS count as so many.

    >>> nearness(np.array([-5.0, -40.0]), np.array([-20.0, -20.0])).tolist()
    [2.0, -1.0]
    """
    halved: Floats = np.log2(np.maximum(-reference, LEAST_BITS) / np.maximum(-served, LEAST_BITS))
    return halved


@dataclass(frozen=True)
class Tested:
    """Words that are tested, as numbers: neither public nor familiar."""

    clients: IntVector  # int64[n]
    texts: IntVector  # int64[n]
    messages: IntVector  # int64[n]
    families: Codes  # uint8[n]: NEW_PLACE or NEW_WORD
    forms: Codes  # uint8[n]
    bands: Codes  # uint8[n]: of the reference's bits
    scores: Floats  # float64[n]

    @classmethod
    def of(cls, said: Said, families: Codes) -> Tested:
        """Those words of `said` that are tested. families: uint8[n], as `Familiar.families` gives them."""
        at = to_test(said.reference, families)
        served, reference = said.served[at], said.reference[at]
        forms = np.array([word_form(said.words[place]) for place in at], np.uint8)
        bands = np.searchsorted(_BANDS, -reference).astype(np.uint8)
        whose = (said.clients[at], said.texts[at], said.messages[at])
        return cls(*whose, families[at], forms, bands, nearness(served, reference))

    def __len__(self) -> int:
        return len(self.scores)

    def kinds(self) -> IntVector:
        """int64[n, 3]: each word's kind, the narrowest first and last all words; a number holds what it is of."""
        family, form, band = (each.astype(np.int64) for each in (self.families, self.forms, self.bands))
        wide = 10 * family + form
        return np.stack([1000 + 10 * wide + band, 100 + wide, np.full_like(band, ALL_KINDS)], 1)


def to_test(reference: Floats, families: Codes) -> IntVector:
    """Which words are tested, int64[tested]: those that are neither public, by bits of the reference, nor familiar."""
    return np.flatnonzero((families != FAMILIAR) & (reference < -PUBLIC_BITS))
