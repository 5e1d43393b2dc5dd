"""Reads whole texts out of spans, token by token: what follows must fit to where a layer's inputs lie.

The search of DAGER (Petrov et al. 2024, arXiv 2405.15586, section 4) for decoders, and of an exact inversion of hidden
states (Nikolaou et al. 2025, arXiv 2510.15511, section 4): a causal model's state after a prefix and one token is a
function of both, so the right token is the one whose state lies in the span. Every prefix that fits is followed, so
that several texts of a batch come out of one gradient. Knows arrays and a callable; no model, no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.updates import Span, distance
from chatfed.types import IntVector

Moves = NDArray[np.int64]
Text = tuple[int, ...]


@dataclass(frozen=True)
class States:
    """What a model makes of a prefix and each of some moves, after the last token of the move."""

    inputs: NDArray[np.float64]  # float64[n, d]: of the layer whose gradient is looked at
    sure: NDArray[np.float64]  # float64[n]: probability of the likeliest next token
    likely: IntVector  # int64[n]: that token


After = Callable[[Text, Moves], States]
"""A prefix and tokens int64[n, m] that may follow it -> states float64[n, ...]."""


@dataclass(frozen=True)
class Rules:
    """How texts look, and when a token fits."""

    begins: Sequence[Text]  # how a text begins: begin marker and a role's
    turns: Sequence[Text]  # what stands between two messages: end marker and a role's
    texts: int  # how many the batch holds
    longest: int  # tokens of one
    fits: float = 0.05  # distance up to which a state lies in the span
    sure: float = 1.0  # probability from which a token leaves no trace in its place: it is read off the model
    blind: int = 8  # such tokens in a row at most
    guessed: int = 24  # tokens of a guess, where nothing fits
    width: int = 32  # prefixes that are followed at a time


def read(spans: Sequence[Span], after: After, candidates: IntVector, rules: Rules) -> list[Text]:
    """The texts, as many as the batch holds at most; where not one token fits, guesses by the least distance.

    candidates: int64[n], tokens that are tried.
    """
    look = _Look(spans, after, rules)
    moves = [candidates[:, None], *_by_length(rules.turns)]
    found, begun = list[Text](), sorted(rules.begins)
    while begun and len(begun[0]) <= rules.longest:
        following = {prefix: look.fitting(prefix, moves) for prefix in begun}
        found += [prefix for prefix, longer in following.items() if not longer and prefix not in rules.begins]
        scored = {text: away for longer in following.values() for text, away in longer.items()}
        begun = sorted(scored, key=lambda text: (scored[text], text))[: rules.width]
    return _distinct(found + begun, rules.texts) or _guessed(look, candidates)


def _by_length(turns: Sequence[Text]) -> list[Moves]:
    lengths = sorted({len(turn) for turn in turns})
    return [np.array([turn for turn in turns if len(turn) == length], np.int64) for length in lengths]


@dataclass(frozen=True)
class _Look:
    """What fits behind a prefix."""

    spans: Sequence[Span]
    after: After
    rules: Rules

    def fitting(self, prefix: Text, moves: Sequence[Moves]) -> dict[Text, float]:
        """Moves whose state lies in the span, behind the prefix, with their distance.

        A state whose next token is all but certain leaves next to nothing in an output layer's gradient: then what
        follows it is certain, and is looked at instead.
        """
        found = dict[Text, float]()
        for left in moves:
            for _ in range(self.rules.blind + 1):
                if not len(left):
                    break
                states = self.after(prefix, left)
                away = distance(self.spans, states.inputs)
                fit = away <= self.rules.fits
                found |= {(*prefix, *m.tolist()): float(a) for m, a in zip(left[fit], away[fit], strict=True)}
                on = ~fit & (states.sure >= self.rules.sure)
                left = np.column_stack([left[on], states.likely[on]])
        return found

    def nearest(self, prefix: Text, moves: Moves) -> list[tuple[float, Text]]:
        away = distance(self.spans, self.after(prefix, moves).inputs)
        return [(float(a), (*prefix, *m.tolist())) for a, m in zip(away, moves, strict=True)]


def _distinct(found: Sequence[Text], count: int) -> list[Text]:
    """The longest first, and last those that leave another at its last steps: a wrong token may fit by chance, few do.

    With fewer than the batch holds, some stand in it twice, as like as not.
    """
    kept, stubs = list[Text](), list[Text]()
    for text in sorted(set(found), key=lambda each: (-len(each), each)):
        stub = any(other[: len(text) - 2] == text[:-2] for other in kept)
        (stubs if stub else kept).append(text)
    return list(islice(cycle(kept + stubs), count)) if kept else []


def _guessed(look: _Look, candidates: IntVector) -> list[Text]:
    """One text, by the least distance at each step: an attack that finds nothing must not pass for a defence."""
    text = min(look.rules.begins)
    while len(text) < min(look.rules.longest, look.rules.guessed):
        _, text = min(look.nearest(text, candidates[:, None]))
    return [text]
