"""Runs of tokens that were counted, and a model's next-token probabilities with what the counts say in them.

Knows no dialogue, no noise and no network: whose counts they are, and how they were found, is said by whoever calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chatfed.types import FloatVector, IntVector

Keys = NDArray[np.uint64]  # uint64[n]: a hash of each n-gram
Tokens = NDArray[np.int32]  # int32[n, length]

DOUBT = 0.65
"""Share of the model, which sees all that was said, beside what counts say after one token; after n of them DOUBT^n."""

MOST_TOKENS = 4096  # heaviest tokens, whose pairs are tried
_NOTHING = 1e-9  # probability that is not to be shared out: single ones are too small for float32
_TIMES, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)


def extended(keys: Keys, tokens: IntVector | Tokens) -> Keys:
    """The keys of n-grams one token longer; the key of the empty one is 0. Shapes are broadcast."""
    mixed = (keys ^ (tokens.astype(np.uint64) + np.uint64(1))) * _TIMES
    return mixed ^ (mixed >> _SHIFT)


def keys_of(ngrams: Tokens) -> Keys:
    """uint64[n]: the keys of n-grams int32[n, length]."""
    keys = np.zeros(len(ngrams), np.uint64)
    for column in ngrams.T:
        keys = extended(keys, column)
    return keys


def ngrams_in(ids: NDArray[np.int32], counted: NDArray[np.bool_], longest: int) -> list[Keys]:
    """Of each length up to `longest` the different n-grams of a text that end in a counted token: uint64[n] each."""
    keys, found = np.zeros(len(ids) + 1, np.uint64), []
    for length in range(1, longest + 1):
        keys = extended(keys[:-1], ids[length - 1 :])
        found.append(np.unique(keys[counted[length - 1 :]]))
    return found


@dataclass(frozen=True, eq=False)
class NGrams:
    """n-grams of several lengths with their counts, by length from 1."""

    tokens: tuple[Tokens, ...]  # int32[n, length] each
    counts: tuple[FloatVector, ...]  # float32[n] each, above 0: of texts that hold one, in any unit

    @property
    def longest(self) -> int:
        """Tokens in the longest n-grams."""
        return len(self.tokens)

    @cached_property
    def _followers(self) -> tuple[_Followers, ...]:
        """Of each length of context from 1: what follows."""
        return tuple(_followers(*self._pair(length)) for length in range(2, self.longest + 1))

    def _pair(self, length: int) -> tuple[Tokens, FloatVector, Keys, FloatVector]:
        shorter = self.tokens[length - 2], self.counts[length - 2]
        return self.tokens[length - 1], self.counts[length - 1], keys_of(shorter[0]), shorter[1]

    def mixed(self, probabilities: NDArray[np.float32], before: NDArray[np.int64]) -> NDArray[np.float32]:
        """Next-token probabilities float32[rows, V] of a model, with what counts say after `before`, int64[rows, T].

        From short contexts to long ones: a context that was counted gives its followers their share of its count, and
        the rest to all others in proportion to what they had (Katz 1987, section II); what was there before counts
        DOUBT to the power of the context's length (Jelinek and Mercer 1980: the longer, the more it says). Changes and
        returns `probabilities`.
        """
        for length in range(1, min(self.longest - 1, before.shape[1]) + 1):
            keys = keys_of(before[:, before.shape[1] - length :].astype(np.int32))
            self._followers[length - 1].mix(probabilities, keys, 1 - DOUBT**length)
        return probabilities


@dataclass(frozen=True, eq=False)
class _Followers:
    """What follows each context of one length, contexts in order of their keys."""

    contexts: Keys  # uint64[c]
    starts: IntVector  # int64[c + 1], in what follows
    tokens: Tokens  # int32[n]
    shares: FloatVector  # float32[n], of the context's count
    left: FloatVector  # float32[c], the share of all that is not listed

    def mix(self, probabilities: NDArray[np.float32], keys: Keys, share: float) -> None:
        """Mixes in place what follows the contexts uint64[rows], which then counts `share` in [0, 1]."""
        if not len(self.contexts):
            return
        at = np.minimum(np.searchsorted(self.contexts, keys), len(self.contexts) - 1)
        rows = np.flatnonzero(self.contexts[at] == keys)
        if not len(rows):
            return
        at = at[rows]
        sizes = self.starts[at + 1] - self.starts[at]
        row = np.repeat(np.arange(len(rows)), sizes)
        item = np.arange(len(row)) + np.repeat(self.starts[at] - (np.cumsum(sizes) - sizes), sizes)
        token, had = self.tokens[item], probabilities[rows[row], self.tokens[item]]
        others = probabilities[rows].sum(1, dtype=np.float64) - np.bincount(row, had, len(rows))
        none = others < _NOTHING  # no other token can follow: what is left goes to those that are listed
        kept = share * np.where(none, 0, self.left[at] / np.maximum(others, _NOTHING)) + 1 - share
        trust = (share / np.where(none, 1 - self.left[at], 1)).astype(np.float32)
        probabilities[rows] *= kept.astype(np.float32)[:, None]
        probabilities[rows[row], token] = had * np.float32(1 - share) + trust[row] * self.shares[item]


def _followers(tokens: Tokens, counts: FloatVector, shorter: Keys, of_shorter: FloatVector) -> _Followers:
    keys = keys_of(tokens[:, :-1])
    order = np.argsort(keys, kind="stable")
    contexts, starts = np.unique(keys[order], return_index=True)
    starts = np.append(starts, len(keys)).astype(np.int64)
    listed = np.add.reduceat(counts[order], starts[:-1]) if len(contexts) else np.empty(0, np.float32)
    total = np.maximum(listed, _looked_up(contexts, shorter, of_shorter))
    sizes = np.diff(starts)
    shares = (counts[order] / np.repeat(total, sizes)).astype(np.float32)
    return _Followers(contexts, starts, tokens[order, -1], shares, (1 - listed / total).astype(np.float32))


def _looked_up(keys: Keys, among: Keys, values: FloatVector) -> FloatVector:
    """The values of keys, 0 for those that are not there."""
    if not len(among):
        return np.zeros(len(keys), np.float32)
    order = np.argsort(among)
    at = np.minimum(np.searchsorted(among[order], keys), len(among) - 1)
    found: FloatVector = np.where(among[order][at] == keys, values[order][at], np.float32(0))
    return found


Heavy = Callable[[Keys, FloatVector | None], FloatVector]
"""Of candidates uint64[n], of which so much is expected (float32[n], or nobody knows), the counts: 0 of none."""


def grown(heavy: Callable[[int], Heavy], vocabulary: int, openers: IntVector, longest: int) -> NGrams:
    """The n-grams that `heavy` says are there, each found from those one token shorter (TrieHH, Zhu et al. 2020).

    heavy: by length. openers: tokens that may open a pair though they are never counted themselves, such as a role's
    marker. Tried are the pairs of tokens that are there, and of longer n-grams those whose both ends, one token
    shorter, are: an n-gram is no more frequent than what it is made of (Kim et al. 2021, section 3). Expected are as
    many as its ends would make if they were independent.
    """
    tokens = np.arange(vocabulary, dtype=np.int32)[:, None]
    parts = [_kept(tokens, heavy(1)(keys_of(tokens), None))]
    for length in range(2, longest + 1):
        tokens, expected = _pairs(*parts[0], openers) if length == 2 else _joined(*parts[-1], *parts[-2])
        parts.append(_kept(tokens, heavy(length)(keys_of(tokens), expected)))
    return NGrams(tuple(tokens for tokens, _ in parts), tuple(counts for _, counts in parts))


def _kept(tokens: Tokens, counts: FloatVector) -> tuple[Tokens, FloatVector]:
    return tokens[counts > 0], counts[counts > 0]


def _pairs(tokens: Tokens, counts: FloatVector, openers: IntVector) -> tuple[Tokens, FloatVector]:
    most = np.sort(np.argsort(-counts)[:MOST_TOKENS])
    second, of_second = tokens[most, 0], counts[most]
    more = np.setdiff1d(openers.astype(np.int32), second)
    first = np.concatenate([second, more])
    of_first = np.concatenate([of_second, np.full(len(more), counts.max(initial=0), np.float32)])
    pairs = np.stack([np.repeat(first, len(second)), np.tile(second, len(first))], 1)
    expected = np.outer(of_first, of_second).ravel() / max(float(counts.sum()), 1e-9)
    return pairs, expected.astype(np.float32)


def _joined(
    tokens: Tokens, counts: FloatVector, shorter: Tokens, of_shorter: FloatVector
) -> tuple[Tokens, FloatVector]:
    """All n-grams whose first tokens, without the last, and whose last, without the first, are both in `tokens`."""
    heads, tails = keys_of(tokens[:, :-1]), keys_of(tokens[:, 1:])
    order = np.argsort(heads, kind="stable")
    low, high = (np.searchsorted(heads[order], tails, side) for side in ("left", "right"))
    sizes = high - low
    left = np.repeat(np.arange(len(tokens)), sizes)
    right = order[np.arange(len(left)) + np.repeat(low - (np.cumsum(sizes) - sizes), sizes)]
    between = np.maximum(_looked_up(tails, keys_of(shorter), of_shorter), counts)[left]
    joined = np.concatenate([tokens[left], tokens[right, -1:]], 1)
    return joined, counts[left] * counts[right] / between
