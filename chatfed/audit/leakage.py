"""How far training moved each word of a text, and where that stands among other words of the same form.

Takes word scores and shifts; knows no model, no tokenizer and no page. How the other words (twins) are found is in
twins.py.

What a shift can show. A large positive shift means that the served model finds the word likelier, after the words
before it, than the public reference does: training moved it there. But training moves whole kinds of words (a code
because codes are said, a name because names are), and an invented secret shifts as far as a real one. So what is judged
is the rank of a word's shift among its twins': a memorised secret moved more than words like it that nobody wrote.

What it cannot show. House vocabulary that many clients share is learned on purpose and stands above its twins as well,
so a high rank is no proof that anybody wrote the word, and a low one is no proof of privacy: it speaks of this text in
this order only, and other questions may draw out what this one did not. What bounds the worst case is the guarantee,
in epsilon.

Both mean something only against a matched reference: the public model that training started from, with the same
tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.types import ChatfedError, Span, WordScore

ABOVE_ALL, ABOVE_MOST, LIKE_TWINS, BELOW_MOST, BELOW_ALL, UNJUDGED = (
    "more than all twins",
    "more than 19 in 20 twins",
    "like its twins",
    "less than 19 in 20 twins",
    "less than all twins",
    "not compared",
)
"""What a rank is called. By chance alone the first and the fifth take at most a word in a hundred, the second and the
fourth with them at most a word in twenty."""

RARE, UNUSUAL = 0.01, 0.05

_TIE_BITS = 1e-3  # what float32 sums in another order differ by


class AuditError(ChatfedError):
    """What was given to an audit cannot be compared or written. Names the thing and the mend."""

    code = "bad_audit"
    mend = "give the audit what the message names"


@dataclass(frozen=True)
class TwinRank:
    """How a word's shift stands among its twins'."""

    below: int  # twins that training moved up less than the word
    above: int  # twins that it moved up more; what is left of `twins` moved as much
    twins: int

    @property
    def up(self) -> float:
        """Chance that a word drawn as its twins were stands so high or higher: above 0, up to 1.

        A conformal p-value; ties count against the word.
        """
        return (1 + self.twins - self.below) / (1 + self.twins)

    @property
    def down(self) -> float:
        """The same for so low or lower."""
        return (1 + self.twins - self.above) / (1 + self.twins)


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
    rank: TwinRank | None = None  # None: not compared with twins


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


def rank_among(own: float, others: Sequence[float] | NDArray[np.float64]) -> TwinRank:
    """Where a shift stands among others, all in bits; differences below a thousandth of a bit are ties.

    >>> rank_among(2.0, [0.5, 1.0, 2.0, 3.0])
    TwinRank(below=2, above=1, twins=4)
    """
    difference = np.asarray(others, np.float64) - own
    if not np.isfinite(difference).all():
        raise AuditError("a shift that is not a number has no rank: the weights may be broken; load the models again")
    return TwinRank(int((difference < -_TIE_BITS).sum()), int((difference > _TIE_BITS).sum()), len(difference))


def level(rank: TwinRank | None) -> str:
    """What a rank is called.

    >>> level(TwinRank(100, 0, 100)), level(TwinRank(96, 4, 100)), level(TwinRank(95, 5, 100)), level(None)
    ('more than all twins', 'more than 19 in 20 twins', 'like its twins', 'not compared')
    """
    if rank is None:
        return UNJUDGED
    if rank.up <= UNUSUAL:
        return ABOVE_ALL if rank.up <= RARE else ABOVE_MOST
    if rank.down <= UNUSUAL:
        return BELOW_ALL if rank.down <= RARE else BELOW_MOST
    return LIKE_TWINS


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
