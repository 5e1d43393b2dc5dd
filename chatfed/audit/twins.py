"""Twins of a word: other words of the same form that a public reference finds about as likely at the same place.

A word of a secret moves with training as all words of its form do (a code with codes, a name with names), also when
nobody ever wrote it. So its shift says little alone; beside the shifts of its twins, none of which has anything to do
with the text, it does. Takes token ids and callables that give log-probabilities; knows no model and no tokenizer.

Twins are drawn token by token: at each step from the tokens of the same form whose log-probability under the reference
is nearest to that of the word's own token. The draws are from a seeded generator: they carry no secret, and a page must
give a text the same colours twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TWINS = 100  # of one word
_DRAWN = 224  # from which they are taken: some are the word itself, twice the same, or spelt as nothing is
_NEAREST = 32  # tokens of like probability, of which a twin takes one at each step
_LONGEST_RUN = 3  # letters of one kind; more count as so many

Rows = NDArray[np.int64]  # int64[n, k]: n alternatives of k tokens


class Continuations(Protocol):
    """What a model expects after a prefix, and after alternatives that grow from it side by side."""

    first: NDArray[np.float32]  # float32[1, vocabulary], bits

    def grow(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Adds a token to each of n alternatives; bits of each token after them, float32[n, vocabulary]."""


def form(text: str) -> str:
    """The form of a token: digits as 0, small letters as a, capitals as A, all else as it is.

    Of a run of more than three letters of a kind three are kept, so that words of any length are of one form.

    >>> form(" Bergamot"), form("K7"), form("-42"), form(" lost")
    (' Aaaa', 'A0', '-00', ' aaa')
    """
    runs = [(kind, len(list(run))) for kind, run in groupby(_kind(letter) for letter in text)]
    return "".join(kind * (min(length, _LONGEST_RUN) if kind in "aAx" else length) for kind, length in runs)


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "0"
    if letter.isalpha():
        return "a" if letter.islower() else "A" if letter.isupper() else "x"  # x: letters of scripts without case
    return letter


class Forms:
    """Which tokens of a vocabulary are of the same form."""

    def __init__(self, texts: Sequence[str]) -> None:
        groups: dict[str, list[int]] = {}
        for token, text in enumerate(texts):
            if text:
                groups.setdefault(form(text), []).append(token)
        self._texts = texts
        self._groups = {name: np.array(tokens, np.int64) for name, tokens in groups.items()}

    def alike(self, token: int) -> NDArray[np.int64]:
        """Tokens of the form of `token`, itself among them; itself alone when it has no text."""
        text = self._texts[token]
        return self._groups[form(text)] if text else np.array([token], np.int64)


def draw_twins(
    word: Sequence[int],
    reference: Continuations,
    forms: Forms,
    spelt: Callable[[Rows], NDArray[np.bool_]],
    generator: np.random.Generator,
    count: int = TWINS,
) -> Rows:
    """At most `count` twins of `word`, all different from it and from each other; int64[n, len(word)].

    `spelt` says which rows are what the tokenizer makes of their text. Fewer come back where the form has fewer: a
    single digit has nine, a mark none.
    """
    rows = _grown(word, reference, forms, generator)
    rows = np.unique(rows[(rows != np.array(word)).any(1)], axis=0)
    rows = rows[generator.permutation(len(rows))]
    if len(rows):
        rows = rows[spelt(rows)]
    return rows[:count]


def _grown(word: Sequence[int], reference: Continuations, forms: Forms, generator: np.random.Generator) -> Rows:
    """Row 0 is the word; each other row takes a token like the word's at each step."""
    alike = [forms.alike(token) for token in word]
    if all(len(tokens) == 1 for tokens in alike):
        return np.array([word], np.int64)
    near = _nearest(reference.first[:, alike[0]], float(reference.first[0, word[0]]), _NEAREST)
    if len(word) == 1:
        near = _nearest(reference.first[:, alike[0]], float(reference.first[0, word[0]]), _DRAWN // 2)
        return alike[0][near[0]][:, None]
    columns = [alike[0][near[0][generator.integers(near.shape[1], size=_DRAWN)]]]
    for token, tokens in zip(word[1:], alike[1:], strict=True):
        columns[-1][0] = word[len(columns) - 1]
        log_probs = reference.grow(columns[-1])
        near = _nearest(log_probs[:, tokens], float(log_probs[0, token]), _NEAREST)
        columns.append(tokens[near[np.arange(_DRAWN), generator.integers(near.shape[1], size=_DRAWN)]])
    columns[-1][0] = word[-1]
    return np.stack(columns, 1)


def _nearest(log_probs: NDArray[np.float32], own: float, most: int) -> NDArray[np.int64]:
    """For each row, the places of the at most `most` log-probabilities nearest to `own`; int64[rows, n]."""
    distance = np.abs(log_probs - own)
    if distance.shape[1] <= most:
        return np.broadcast_to(np.arange(distance.shape[1]), distance.shape)
    found: NDArray[np.int64] = np.argpartition(distance, most - 1, axis=1)[:, :most]
    return found


def total_bits(rows: Rows, model: Continuations) -> NDArray[np.float64]:
    """Bits of each alternative after the model's prefix, float64[n]: the sum over its tokens."""
    total = model.first[0, rows[:, 0]].astype(np.float64)
    for step in range(1, rows.shape[1]):
        log_probs = model.grow(rows[:, step - 1])
        total += log_probs[np.arange(len(rows)), rows[:, step]]
    return total


def seeded(*parts: object) -> np.random.Generator:
    """A generator that is the same for the same parts, on every machine."""
    digest = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
