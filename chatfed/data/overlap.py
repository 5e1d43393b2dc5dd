"""Finds text that stands in two places: dialogues alike word for word, dialogues nearly alike, long messages in common.

Turns in, places out. Knows no files, no clients and what no dialogue is about. What is kept of a dialogue is some 230
bytes, and 16 for a long message, by digests under a key that is drawn afresh: they tell nothing without it, and nobody
can prepare a collision.

Words are compared in Unicode's form NFKC, without case, without characters that nobody sees (marks of direction and
order, joiners, soft hyphens) and with white space as one blank; roles do not count. Dialogues are nearly alike when the
Jaccard similarity of their runs of 5 words, taken without punctuation, is 0.8 or more, as minima of 100 hash functions
estimate it (MinHash: Broder 1997), of pairs that agree in one of 20 bands of 5 (LSH: Indyk and Motwani 1998). The
estimate must be 0.7, so that a pair at 0.8 is missed with probability 0.7 %, one at 0.9 below 1e-6; of pairs at 0.6
one in 40 is counted all the same. In a band with many dialogues only neighbours are compared. Nearly alike is also a
dialogue that is another with one or two messages more at its end, or one in front.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.types import IntVector, Turn

LONG = 8  # words of a piece that is looked for by itself: shorter ones are in common by chance
RUN = 5  # words
BANDS, ROWS = 20, 5
ALIKE = 0.7  # share of equal minima from which two dialogues are nearly alike
_AT_ONCE = 256  # dialogues
_MOST_WORDS = 500_000  # distinct ones whose digests are remembered: 60 MB
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
"""Unicode's default ignorables that exports, word processors and keyboards leave in text."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is kept of a list of dialogues to compare it with others that were sketched under the same key."""

    texts: NDArray[np.bytes_]  # S16[n], digest of all words
    words: IntVector  # int64[n], how many
    cuts: NDArray[np.uint64]  # uint64[n, 3], digests without the last message, the last two, the first; 0: too short
    messages: NDArray[np.uint64]  # uint64[m], digests of long messages, and of neighbours that are long together
    owners: IntVector  # int64[m], whose they are
    minima: NDArray[np.uint8]  # uint8[n, BANDS * ROWS], low bytes
    bands: NDArray[np.uint32]  # uint32[n, BANDS]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def numbers(self) -> NDArray[np.uint64]:
        """uint64[n]: half of each text's digest, to compare with cuts."""
        return np.frombuffer(self.texts.tobytes(), np.uint64)[::2]

    def take(self, places: IntVector) -> Sketch:
        """The sketch of the dialogues at `places`, which rise."""
        new = np.full(len(self), -1, np.int64)
        new[places] = np.arange(len(places))
        kept = new[self.owners] >= 0
        return Sketch(
            self.texts[places],
            self.words[places],
            self.cuts[places],
            self.messages[kept],
            new[self.owners[kept]],
            self.minima[places],
            self.bands[places],
        )


class Sketcher:
    """Makes sketches under one key."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or os.urandom(32)
        odd = np.frombuffer(hashlib.shake_256(self._key).digest(16 * (BANDS * ROWS + RUN)), np.uint64) | np.uint64(1)
        self._multipliers, self._addends = odd[: BANDS * ROWS], odd[-BANDS * ROWS :]
        self._positions = odd[BANDS * ROWS : BANDS * ROWS + RUN]
        self._numbers = _Numbers(self._key)

    def sketch(self, dialogues: Iterable[Sequence[Turn]]) -> Sketch:
        """Reads the dialogues once, in order."""
        remaining, parts, start = iter(dialogues), list[Sketch](), 0
        while batch := list(islice(remaining, _AT_ONCE)):
            parts.append(self._batch(batch, start))
            start += len(batch)
        return _joined(parts or [self._batch([], 0)])

    def _batch(self, dialogues: Sequence[Sequence[Turn]], start: int) -> Sketch:
        said = [[_words(turn.content) for turn in turns] for turns in dialogues]
        long = [(start + i, words) for i, messages in enumerate(said) for words in _pieces(messages)]
        whole = [_flat(messages) for messages in said]
        minima = self._minima(whole)
        return Sketch(
            np.array([self._digest(words, 16) for words in whole], "S16"),
            np.array([len(words) for words in whole], np.int64),
            np.array([[self._cut(cut) for cut in _cuts(messages)] for messages in said], np.uint64).reshape(-1, 3),
            np.frombuffer(b"".join(self._digest(words, 8) for _, words in long), np.uint64),
            np.array([owner for owner, _ in long], np.int64),
            minima.astype(np.uint8),
            self._bands(minima),
        )

    def _digest(self, words: Sequence[str], size: int) -> bytes:
        return hashlib.blake2b(
            " ".join(words).encode("utf-8", "surrogatepass"), digest_size=size, key=self._key
        ).digest()

    def _cut(self, messages: Sequence[Sequence[str]]) -> int:
        words = _flat(messages)
        return int.from_bytes(self._digest(words, 16)[:8], "little") if len(words) >= LONG else 0

    def _minima(self, dialogues: Sequence[Sequence[str]]) -> NDArray[np.uint64]:
        """uint64[n, BANDS * ROWS]: the least value that each hash function takes on a dialogue's runs of words."""
        if not dialogues:
            return np.empty((0, BANDS * ROWS), np.uint64)
        numbered = [[self._numbers[word] for word in words] + [0] * (RUN - len(words)) for words in dialogues]
        runs, starts = self._runs(numbered)
        found = [
            np.minimum.reduceat((runs * a + b) >> np.uint64(32), starts)
            for a, b in zip(self._multipliers, self._addends, strict=True)
        ]
        return np.stack(found, 1)

    def _runs(self, numbered: Sequence[Sequence[int]]) -> tuple[NDArray[np.uint64], IntVector]:
        """Hashes of all runs of words, dialogue by dialogue, and where each dialogue's start."""
        counts = np.array([len(numbers) - RUN + 1 for numbers in numbered])
        flat = np.array([number for numbers in numbered for number in numbers], np.uint64)
        offsets = np.cumsum([0, *(len(numbers) for numbers in numbered[:-1])])
        starts = np.cumsum(np.concatenate([[0], counts[:-1]])).astype(np.int64)
        places = np.arange(int(counts.sum())) + np.repeat(offsets - starts, counts)
        runs = sum((flat[places + i] * position for i, position in enumerate(self._positions)), np.uint64(0))
        return _mixed(np.asarray(runs, np.uint64)), starts

    def _bands(self, minima: NDArray[np.uint64]) -> NDArray[np.uint32]:
        rows = minima.reshape(len(minima), BANDS, ROWS) * self._positions
        return (_mixed(rows.sum(2, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32)


class _Numbers(dict[str, int]):
    """A word's 64-bit number, digested once."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_WORDS:
            self.clear()
        bare = "".join(letter for letter in word if unicodedata.category(letter)[0] != "P") or word
        digest = hashlib.blake2b(bare.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()
        self[word] = number = int.from_bytes(digest, "little")
        return number


def _words(text: str) -> list[str]:
    if not text.isascii():
        text = _UNSEEN.sub("", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))
    return text.casefold().split()


def _flat(messages: Sequence[Sequence[str]]) -> list[str]:
    return [word for words in messages for word in words]


def _cuts(messages: Sequence[Sequence[str]]) -> tuple[Sequence[Sequence[str]], ...]:
    return messages[:-1], messages[:-2], messages[1:]


def _pieces(messages: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Long messages, and neighbours that are long only together."""
    yield from (words for words in messages if len(words) >= LONG)
    for one, other in pairwise(messages):
        if max(len(one), len(other)) < LONG <= len(one) + len(other):
            yield [*one, *other]


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of a value in every bit of the result (the finaliser of SplitMix64: Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _joined(parts: Sequence[Sketch]) -> Sketch:
    fields = ("texts", "words", "cuts", "messages", "owners", "minima", "bands")
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
    return Sketch(**joined)


def same(these: Sketch, others: Sketch) -> IntVector:
    """int64[len(these)]: the first of `others` with the same words, -1 where there is none."""
    if not len(others):
        return np.full(len(these), -1, np.int64)
    return _first(others.texts, these.texts)


def firsts(these: Sketch) -> IntVector:
    """int64[n]: for each dialogue the first with the same words; its own place where it is the first."""
    _, first, which = np.unique(these.texts, return_index=True, return_inverse=True)
    return first[which].astype(np.int64)


def near(these: Sketch, others: Sketch) -> IntVector:
    """int64[len(these)]: one of `others` that is nearly alike, -1 where none was found. The same words are near too."""
    found = same(these, others)
    if not len(others):
        return found
    for cut in range(3):
        for at in (_first(others.cuts[:, cut], these.numbers), _first(others.numbers, these.cuts[:, cut])):
            found = np.where(found < 0, at, found)
    for band in range(BANDS):
        at = _first(others.bands[:, band], these.bands[:, band])
        asked = np.flatnonzero((found < 0) & (at >= 0))
        alike = asked[_alike(these.minima[asked], others.minima[at[asked]])]
        found[alike] = at[alike]
    return found


def with_message_of(these: Sketch, others: Sketch) -> IntVector:
    """Places in `these` of the dialogues that have a message of LONG words or more in common with `others`."""
    return np.unique(these.owners[np.isin(these.messages, others.messages)])


def groups(these: Sketch) -> IntVector:
    """int64[n]: the number of the group that each dialogue is in.

    A group is dialogues nearly alike, and what is nearly like one of them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [np.stack([np.arange(len(these)), firsts(these)]), *_extended(these), *_neighbours(these)]
    one, other = np.concatenate(pairs, 1)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(these), len(these)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _extended(these: Sketch) -> Iterator[NDArray[np.int64]]:
    """int64[2, pairs] a cut: a dialogue, and one that it is without some messages."""
    for cut in range(3 if len(these) else 0):
        at = _first(these.numbers, these.cuts[:, cut])
        longer = np.flatnonzero(at >= 0)
        yield np.stack([longer, at[longer]])


def _neighbours(these: Sketch) -> Iterator[NDArray[np.int64]]:
    """int64[2, pairs] a band: neighbours in it that are nearly alike."""
    for band in range(BANDS):
        keys = these.bands[:, band]
        order = np.argsort(keys, kind="stable")
        shared = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
        one, other = order[shared], order[shared + 1]
        alike = _alike(these.minima[one], these.minima[other])
        yield np.stack([one[alike], other[alike]])


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((one == other).mean(1) >= ALIKE)


def _first(values: NDArray[Any], wanted: NDArray[Any]) -> IntVector:
    """int64[len(wanted)]: the first place of each in `values`, -1 where it is not."""
    order = np.argsort(values, kind="stable")
    at = order[np.minimum(np.searchsorted(values, wanted, sorter=order), len(values) - 1)]
    return np.where(values[at] == wanted, at, -1).astype(np.int64)
