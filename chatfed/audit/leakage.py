"""How far training moved each word of a text: the served model's word scores against a public reference's.

Takes two lists of word scores; knows no model, no tokenizer and no page.

What a shift can show. A large positive shift means that the served model finds the word likelier, after the words
before it, than the public reference does: training moved it there. A memorised secret appears as a large shift on
rare tokens (a name, a number) that stand among words that moved little.

What it cannot show. House vocabulary that many clients share is learned on purpose and shifts as well, so a shift is
no proof that anybody wrote the word. No shift is no proof of privacy: it speaks of this text in this order only, and
other questions may draw out what this one did not. What bounds the worst case is the guarantee, in epsilon.

Shifts are summed over a word's tokens, so that rare long words have room for larger ones: look at `tokens`. They mean
something only against a matched reference: the public model that training started from, with the same tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chatfed.types import ChatfedError, Span, WordScore

LEVELS: tuple[tuple[float, str], ...] = (
    (8.0, "far more expected"),
    (4.0, "much more expected"),
    (2.0, "more expected"),
    (1.0, "slightly more expected"),
    (-1.0, "hardly moved"),
    (-2.0, "slightly less expected"),
    (-4.0, "less expected"),
    (-math.inf, "much less expected"),
)
"""Fixed edges in bits, highest first: a level holds from its edge up to the next. The same for every text and model."""

SCALE_BITS = 8.0  # where a colour scale is full: 256 times as likely


class AuditError(ChatfedError):
    """What was given to an audit cannot be compared or written. Names the thing and the mend."""


@dataclass(frozen=True)
class WordShift:
    """One word in both models. Log-probabilities and shift in bits; ranks are of its first token, 1 = likeliest."""

    word: str
    span: Span
    served_log_prob: float  # <= 0
    reference_log_prob: float  # <= 0
    shift: float  # served - reference: +1 is twice as likely, -1 half
    served_rank: int
    reference_rank: int
    tokens: int


@dataclass(frozen=True)
class TextShift:
    """A text as a whole. The total is log2 of how much likelier the served model finds the text than the reference."""

    words: int
    tokens: int
    total: float  # bits
    mean: float  # bits per word; 0 for a text without words
    highest: WordShift | None  # the word that moved up most


def word_shifts(served: Sequence[WordScore], reference: Sequence[WordScore]) -> list[WordShift]:
    """Each word's shift in bits, `served - reference`, in the order of the text.

    Both must be scores of the same text under the same tokenizer. Raises AuditError where they differ or where a
    log-probability is no log-probability.
    """
    if len(served) != len(reference):
        raise AuditError(
            f"the served model scored {len(served)} words and the reference {len(reference)}: score the same text"
        )
    return [_shift(place, ours, theirs) for place, (ours, theirs) in enumerate(zip(served, reference, strict=True), 1)]


def level(shift: float) -> str:
    """The name of a shift in bits.

    >>> level(0.3), level(5.0), level(-2.0)
    ('hardly moved', 'much more expected', 'slightly less expected')
    """
    if math.isnan(shift):
        raise AuditError("a shift that is not a number has no level: score the text again")
    return next(name for edge, name in LEVELS if shift >= edge)


def intensity(shift: float) -> float:
    """Where a shift in bits stands on the fixed colour scale: -1 to 1, full at `SCALE_BITS`.

    >>> intensity(4.0), intensity(-40.0)
    (0.5, -1.0)
    """
    if math.isnan(shift):
        raise AuditError("a shift that is not a number has no colour: score the text again")
    return max(-1.0, min(1.0, shift / SCALE_BITS))


def summarise(shifts: Sequence[WordShift]) -> TextShift:
    """The text as a whole; an empty text has moved by 0 bits."""
    total = math.fsum(each.shift for each in shifts)
    return TextShift(
        words=len(shifts),
        tokens=sum(each.tokens for each in shifts),
        total=total,
        mean=total / len(shifts) if shifts else 0.0,
        highest=max(shifts, key=lambda each: each.shift, default=None),
    )


def _shift(place: int, served: WordScore, reference: WordScore) -> WordShift:
    if (served.word, served.span) != (reference.word, reference.span):
        raise AuditError(
            f"word {place} is {served.word!r} at {served.span.start} for the served model and {reference.word!r} at "
            f"{reference.span.start} for the reference: score the same text"
        )
    if served.tokens != reference.tokens:
        raise AuditError(
            f"word {place}, {served.word!r}, is {served.tokens} tokens for the served model and {reference.tokens} for "
            "the reference: compare with the public model that training started from"
        )
    for name, score in (("served model", served), ("reference", reference)):
        if not (math.isfinite(score.log_prob) and score.log_prob <= 0):
            raise AuditError(
                f"word {place}, {score.word!r}: {score.log_prob} is no log-probability (the {name}'s weights may be "
                "broken): load the model again"
            )
    return WordShift(
        word=served.word,
        span=served.span,
        served_log_prob=served.log_prob,
        reference_log_prob=reference.log_prob,
        shift=served.log_prob - reference.log_prob,
        served_rank=served.rank,
        reference_rank=reference.rank,
        tokens=served.tokens,
    )
