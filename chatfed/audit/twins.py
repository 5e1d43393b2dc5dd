"""Twins of a word: other words of its form that the public reference finds about as likely at the same place.

Training moves whole kinds of words: codes with codes, names with names, also those that nobody ever wrote. So a word's
shift says little alone; it says more beside the shifts of its twins. Takes what models say as arrays, by callables;
knows no model and no tokenizer.

How twins are drawn: token by token, each uniformly from the tokens of the same form whose log-probability under the
reference is nearest to that of the word's own token. A word of several such tokens has a second set of twins, in which
only its digits are drawn anew, or, where it has no digits beside letters, only what comes after its first token: what
many share in a code (a prefix of the house) is then shared by the twins. A word stands as high as the lower of its two
ranks. The draws are from a seeded generator: they carry no secret, and a text must have the same ranks each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.leakage import AuditError, TwinRank, WordShift, rank_among, word_shifts
from chatfed.types import Span, WordScore

TWINS = 100  # of one set, and not fewer than
LEAST_TWINS = 19  # since with fewer no rank has a chance of one in twenty or less
LONGEST_WORD = 24  # tokens of a word that is compared, and
MOST_WORDS = 80  # of a text, the first ones, and
MOST_READ = (
    1000  # tokens read for a twin of each: a word of k tokens is read anew at each, k (k + 1) / 2; bounds on the time
)
_DRAWN = 140  # of which some are the word itself, twice the same, or not as likely as the word after all
_NEAREST, _NEAR_BITS = 32, 1.0  # a twin's token is one of the nearest so many, or within so many bits
_LONGEST_RUN = 3  # letters of one kind in a token; more count as so many
_LIKE_BITS, _LIKE_SHARE = 2.0, 0.25  # how far a twin's bits may be from the word's: the larger, with its share of them

Rows = NDArray[np.int64]  # int64[n, k]: n alternatives of k tokens
Bits = NDArray[np.float64]  # float64[n]


class Continuations(Protocol):
    """What a model expects after a prefix, and after alternatives that grow from it side by side."""

    @property
    def first(self) -> NDArray[np.float32]:
        """Bits of each token right after the prefix, float32[1, vocabulary]."""

    def grow(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Adds one token to each of n alternatives; bits of each token after them, float32[n, vocabulary]."""


class Place(Protocol):
    """Where a word stands in a text."""

    @property
    def span(self) -> Span:
        """Its characters in the text."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Its tokens, in order."""

    def branches(self) -> Continuations:
        """What a model expects from right before it on."""


class Speaker(Protocol):
    """A model that can be asked how likely words are. `chatfed.Chat` is one."""

    @property
    def token_texts(self) -> Sequence[str]:
        """What each token of the vocabulary stands for."""

    def word_log_probs(self, text: str, role: str = ..., history: Any = ...) -> list[WordScore]:
        """Each word's score, in the order of the text."""

    def word_places(self, text: str, role: str = ..., history: Any = ...) -> Iterable[Place]:
        """Where each word stands, in the order of the text."""


def compare_with_twins(
    served: Speaker, reference: Speaker, text: str, role: str = "user", history: Any = (), most: int = MOST_WORDS
) -> Iterator[WordShift]:
    """Each word of `text`, said by `role` after `history`, with its shift and its rank among its twins.

    In the order of the text, each when it is ready. `rank` is None for a word without enough twins (nothing of its form
    is as likely there), for words after the first `most` or after those that take MOST_READ, and for one of more than
    LONGEST_WORD tokens or half of either model's context.
    """
    history = history if isinstance(history, (str, list, tuple)) else list(history)
    shifts = word_shifts(served.word_log_probs(text, role, history), reference.word_log_probs(text, role, history))
    forms = Forms(reference.token_texts)
    places = _both(served.word_places(text, role, history), reference.word_places(text, role, history))
    ranks = _ranks(places, forms, text)
    found, last = dict[Span, TwinRank | None](), -1
    for place, shift in enumerate(shifts):
        while place < most and last < shift.span.start and (ready := next(ranks, None)) is not None:
            found[ready[0]], last = ready[1], ready[0].start
        yield replace(shift, rank=found.get(shift.span) if place < most else None)


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

    def has_digits(self, token: int) -> bool:
        """Whether the token's text holds a digit."""
        return any(letter.isdigit() for letter in self._texts[token])


def form(text: str) -> str:
    """The form of a token: digits as 0, small letters as a, capitals as A, letters without case as x, all else kept.

    Of a longer run of letters of a kind three are kept, so that words of any length are of one form.

    >>> form(" Bergamot"), form("K7"), form("-42"), form(" lost")
    (' Aaaa', 'A0', '-00', ' aaa')
    """
    runs = [(kind, len(list(run))) for kind, run in groupby(_kind(letter) for letter in text)]
    return "".join(kind * (min(length, _LONGEST_RUN) if kind in "aAx" else length) for kind, length in runs)


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "0"
    if letter.isalpha():
        return "a" if letter.islower() else "A" if letter.isupper() else "x"
    return letter


def draw_twins(
    word: Sequence[int], reference: Continuations, forms: Forms, generator: np.random.Generator
) -> list[Rows]:
    """The sets of twins of `word`, each of at most TWINS.

    In one all of it is drawn anew; in others, where that leaves something, only its digits, or only what comes after
    its first token. A set is int64[n, len(word)], n smaller where the form has fewer: a single digit has nine twins, a
    mark none.
    """
    parts = _parts(word, forms)
    anew = np.repeat(np.array(parts), _DRAWN, axis=0)  # bool[rows, k]
    rows, bits = _grown(word, anew, reference, forms, generator)
    like = np.abs(bits - bits[0]) <= max(_LIKE_BITS, _LIKE_SHARE * -bits[0])
    other = (like & (rows != rows[0]).any(1)).reshape(len(parts), _DRAWN)
    sets = [np.unique(drawn[kept], axis=0) for drawn, kept in zip(np.split(rows, len(parts)), other, strict=True)]
    return [each[generator.permutation(len(each))[:TWINS]] for each in sets]


def _parts(word: Sequence[int], forms: Forms) -> list[list[bool]]:
    """Which tokens each set of twins draws anew: all that can be others, then a part of them."""
    free = [len(forms.alike(token)) > 1 for token in word]
    digits = [can and forms.has_digits(token) for can, token in zip(free, word, strict=True)]
    after = [can and any(free[:step]) for step, can in enumerate(free)]
    part = digits if any(digits) and digits != free else after
    return [free, part] if any(part) else [free]


def _grown(
    word: Sequence[int], anew: NDArray[np.bool_], reference: Continuations, forms: Forms, generator: np.random.Generator
) -> tuple[Rows, Bits]:
    """Rows of tokens, each with its bits under the reference; the first row is the word itself."""
    count = len(anew)
    rows, bits = np.tile(np.array(word, np.int64), (count, 1)), np.zeros(count)
    single = anew.sum(1) == 1  # then each row takes another token
    log_probs = np.broadcast_to(reference.first, (count, reference.first.shape[1]))
    for step, token in enumerate(word):
        alike = forms.alike(token)
        near = np.abs(log_probs[:, alike] - log_probs[0, token])
        nth = np.argsort(near[0], kind="stable")[np.arange(count) % _DRAWN % len(alike)]
        drawn = np.where(single, nth, _any_near(near, generator))
        rows[1:, step] = np.where(anew[:, step], alike[drawn], token)[1:]
        bits += log_probs[np.arange(count), rows[:, step]]
        if step + 1 < len(word):
            log_probs = reference.grow(rows[:, step])
    return rows, bits


def _any_near(distance: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.int64]:
    """For each row one of the nearest tokens, uniformly."""
    last = min(_NEAREST, distance.shape[1]) - 1
    near = distance <= np.maximum(np.partition(distance, last, axis=1)[:, last], _NEAR_BITS)[:, None]
    picked: NDArray[np.int64] = np.where(near, generator.random(near.shape), -1.0).argmax(1)
    return picked


def total_bits(rows: Rows, model: Continuations) -> Bits:
    """Bits of each alternative after the model's prefix, float64[n]: the sum over its tokens."""
    total: Bits = model.first[0, rows[:, 0]].astype(np.float64)
    for step in range(1, rows.shape[1]):
        total += model.grow(rows[:, step - 1])[np.arange(len(rows)), rows[:, step]]
    return total


def _both(ours: Iterable[Place], theirs: Iterable[Place]) -> Iterator[tuple[Place, Place]]:
    """Places of the words that both models read: one of less context leaves out words that the other takes."""
    left = iter(theirs)
    their = next(left, None)
    for our in ours:
        while their is not None and their.span.start < our.span.start:
            their = next(left, None)
        if their is not None and their.span == our.span:
            yield our, their


def _ranks(places: Iterable[tuple[Place, Place]], forms: Forms, text: str) -> Iterator[tuple[Span, TwinRank | None]]:
    """Each word's rank, of as many words as MOST_READ allows."""
    left = MOST_READ
    for ours, theirs in places:
        length = len(ours.tokens)
        left -= length * (length + 1) // 2 if length <= LONGEST_WORD else 0
        if left < 0:
            return
        yield ours.span, _rank(ours, theirs, forms, text)


def _rank(served: Place, reference: Place, forms: Forms, text: str) -> TwinRank | None:
    """The word's rank, the lower of its sets'; None where a set has too few twins for any rank to be unusual."""
    if served.tokens != reference.tokens:
        raise AuditError(
            f"the word at {served.span.start} is other tokens for the reference: compare with the public model that "
            "training started from"
        )
    if len(served.tokens) > LONGEST_WORD:
        return None
    digest = hashlib.sha256(f"{served.span.start}/{text}".encode("utf-8", "surrogatepass")).digest()
    sets = draw_twins(served.tokens, reference.branches(), forms, np.random.default_rng(int.from_bytes(digest, "big")))
    if min(map(len, sets)) < LEAST_TWINS:
        return None
    rows = np.concatenate([np.array([served.tokens], np.int64), *sets])
    shifts = total_bits(rows, served.branches()) - total_bits(rows, reference.branches())
    ends = np.cumsum([1, *map(len, sets)])
    ranks = [rank_among(float(shifts[0]), shifts[start:end]) for start, end in pairwise(ends)]
    return max(ranks, key=lambda rank: rank.up)
