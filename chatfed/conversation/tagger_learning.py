"""Learns a tagger's weights: the averaged structured perceptron of Collins (2002), in whole numbers.

Whole numbers, so that the same sentences and the same seed give the same file on every machine. Knows no corpus.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import numpy as np

from .tagger import BUCKETS, TAGGED, TAGS, Vocabulary, Words, viterbi, words_of

SEEN = 3  # times, for a word to be told apart by itself
LARGEST = 127  # of stored weights


@dataclass(frozen=True)
class Example:
    """A text, and what in it is of which kind: (start, end, kind)."""

    text: str = field(repr=False)
    marked: tuple[tuple[int, int, str], ...]


def vocabulary_of(examples: Iterable[Example], first_names: Iterable[str]) -> Vocabulary:
    """Common words outside of names, addresses and passwords: none is ever told apart by itself. Illnesses may be."""
    counts: Counter[str] = Counter()
    for example in examples:
        for start, end in words_of(example.text):
            if not any(first <= start < last and kind != "health" for first, last, kind in example.marked):
                counts[example.text[start:end].lower()] += 1
    common = frozenset(word for word, count in counts.items() if count >= SEEN and word.isalpha())
    firsts = frozenset(name.lower() for name in first_names) - {word for word in common if counts[word] >= 20}
    return Vocabulary(common - firsts, firsts)


def tags_of(example: Example) -> list[int]:
    """The tag of each word and mark."""
    tags = []
    for start, end in words_of(example.text):
        inside = [(first, kind) for first, last, kind in example.marked if first < end and start < last]
        inside = [(first, kind) for first, kind in inside if kind in TAGGED]
        tags.append(TAGS.index(f"{'B' if start <= inside[0][0] else 'I'}-{inside[0][1]}") if inside else 0)
    return tags


def learn(
    examples: Sequence[Example],
    vocabulary: Vocabulary,
    passes: int,
    seed: int,
    hide: float,
    say: Callable[[str], None] = lambda text: None,
) -> bytes:
    """A tagger's file. hide: share of first names that are hidden from their list, so that others are found as well."""
    rng = Random(seed)  # noqa: S311  # a shuffle
    weights = np.zeros((BUCKETS, len(TAGS)), np.int64)
    moves = np.zeros((len(TAGS), len(TAGS)), np.int64)
    sums, move_sums = np.zeros_like(weights), np.zeros_like(moves)
    order, clock = list(range(len(examples))), 0
    hidden = sorted(vocabulary.first_names)
    read = _Reader(examples, vocabulary)
    for number in range(passes):
        rng.shuffle(order)
        wrong = 0
        for count, at in enumerate(order):
            if count % 500 == 0:
                seen = frozenset(name for name in hidden if rng.random() >= hide)
                current = Vocabulary(vocabulary.common, seen)
            right = tags_of(examples[at])
            clock += 1
            if not right:
                continue
            rows = read.features(at, current)
            guess = viterbi(weights[rows].sum(1).astype(np.float32), moves.astype(np.float32))
            if guess == right:
                continue
            wrong += 1
            for row, good, bad in zip(rows, right, guess, strict=True):
                if good != bad:
                    for array, step in ((weights, 1), (sums, clock)):
                        np.add.at(array, (row, good), step)
                        np.add.at(array, (row, bad), -step)
            for first, second in pairwise(right):
                moves[first, second] += 1
                move_sums[first, second] += clock
            for first, second in pairwise(guess):
                moves[first, second] -= 1
                move_sums[first, second] -= clock
        say(f"pass {number + 1} of {passes}: {wrong:,} of {len(order):,} messages wrong")
    total, total_moves = (clock + 1) * weights - sums, (clock + 1) * moves - move_sums
    return _file(vocabulary, total, total_moves, clock)


class _Reader:
    """Features of examples, kept from pass to pass: of an example they change only as its first names are hidden."""

    def __init__(self, examples: Sequence[Example], vocabulary: Vocabulary) -> None:
        self._words = [[each.text[start:end] for start, end in words_of(each.text)] for each in examples]
        known = vocabulary.first_names
        self._firsts = [[word.lower() for word in of if word.lower() in known] for of in self._words]
        self._kept: dict[tuple[int, tuple[bool, ...]], Words] = {}

    def features(self, at: int, current: Vocabulary) -> Words:
        """int32[words, features] of one example."""
        key = at, tuple(name in current.first_names for name in self._firsts[at])
        if key not in self._kept:
            self._kept[key] = current.features(self._words[at])
        return self._kept[key]


def _file(vocabulary: Vocabulary, weights: np.ndarray, moves: np.ndarray, clock: int) -> bytes:
    """Averages, as int8 times a scale: whole-number division alone, then one scale."""
    top = max(1, int(np.quantile(np.abs(weights[weights != 0]), 0.999)), int(np.abs(moves).max()))
    small, small_moves = (
        np.clip(array * LARGEST // top, -LARGEST, LARGEST).astype(np.int8) for array in (weights, moves)
    )
    held = io.BytesIO()
    np.savez_compressed(
        held,
        weights=small,
        transitions=small_moves,
        scale=np.float32(top / LARGEST / clock),
        common=np.array(" ".join(sorted(vocabulary.common))),
        first_names=np.array(" ".join(sorted(vocabulary.first_names))),
    )
    return held.getvalue()
