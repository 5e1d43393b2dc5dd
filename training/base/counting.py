"""n-grams of dialogues: a client's count of its own as vectors to sum, and what the server reads off the noisy sum.

Which n-grams a dialogue holds is a vector of norm 1, whatever its length, so that it is clipped, noised, summed and
paid for as its gradient would be. Knows no protocol and adds no noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chatfed.model.ngrams import Heavy, Keys, NGrams, grown, ngrams_in
from chatfed.model.tokenizer import MARKER
from chatfed.privacy.rounding import Scattered
from chatfed.privacy.sketch import HeavyItems, Sketch
from chatfed.types import FloatVector, IntVector

from .tokens import ASSISTANT, TokenTable

SEARCHES = 3  # after which nothing more is found
FALSE = 0.3  # of what is found, the share that may not be there; what is rare weighs little
_LIGHTER = 0.8  # what each token more makes of an n-gram's weight: the shorter ones are needed to find the longer


@dataclass(frozen=True)
class Counting:
    """How n-grams are counted: alike at all clients and at the server."""

    longest: int  # tokens in the longest n-gram
    dimension: int  # of the vectors
    train_on: str = "all"  # or "assistant": only n-grams that end in its words

    def weight(self, length: int) -> float:
        """Of an n-gram of so many tokens beside one of two; of single ones less, since the same are everywhere."""
        return 0.4 if length == 1 else _LIGHTER ** (length - 2)

    def sketch(self, table: TokenTable, dialogues: IntVector) -> Scattered:
        """The different n-grams of some dialogues that end in a token to be learned: of norm 1, or 0 without any.

        One that is in several of them counts the square root of their number: between saying that it is there, and
        letting what everybody says drown the rest.
        """
        found = [self._ngrams(table, int(dialogue)) for dialogue in dialogues]
        keys, weights = [np.empty(0, np.uint64)], [np.empty(0)]
        for length in range(1, self.longest + 1):
            different, dialogues_with = np.unique(_end_to_end([each[length - 1] for each in found]), return_counts=True)
            keys.append(different)
            weights.append(self.weight(length) * np.sqrt(dialogues_with))
        sketch = Sketch(self.dimension).of(np.concatenate(keys), np.concatenate(weights).astype(np.float32))
        norm = float(np.linalg.norm(sketch.values.astype(np.float64)))
        return Scattered(sketch.places, (sketch.values / max(norm, 1e-9)).astype(np.float32))

    def _ngrams(self, table: TokenTable, dialogue: int) -> list[Keys]:
        start, stop = int(table.starts[dialogue]), int(table.starts[dialogue + 1])
        kinds = table.kinds[start:stop]
        counted = (kinds & ~np.uint8(ASSISTANT)) != MARKER
        if self.train_on == "assistant":
            counted &= (kinds & ASSISTANT) != 0
        return ngrams_in(table.ids[start:stop], counted, self.longest)

    def gradients(self, table: TokenTable, dialogues: IntVector) -> Iterator[Scattered]:
        """Sketches as gradients, whose step goes down: each dialogue's with its sign turned."""
        for at in range(len(dialogues)):
            places, values = self.sketch(table, dialogues[at : at + 1])
            yield Scattered(places, -values)

    def read(self, mean: FloatVector, vocabulary: int, openers: IntVector) -> NGrams:
        """The n-grams that a noisy mean of sketches float32[d] holds, with their counts in a unit of its own.

        openers: tokens that are never counted and may stand before others, such as a role's marker.
        """
        items = HeavyItems(Sketch(self.dimension), mean.astype(np.float32), FALSE)
        items.rest /= np.float32(items.spread or 1.0)
        for _ in range(SEARCHES):
            found = grown(lambda length: self._counts(items, length), vocabulary, openers, self.longest)
        return found

    def _counts(self, items: HeavyItems, length: int) -> Heavy:
        weight = np.float32(self.weight(length))

        def counts(keys: Keys, expected: FloatVector | None) -> FloatVector:
            return items.search(keys, expected) / weight

        return counts


def _end_to_end(parts: list[Keys]) -> Keys:
    return np.concatenate([np.empty(0, np.uint64), *parts])
