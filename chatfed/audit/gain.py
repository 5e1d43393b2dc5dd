"""How much of what could be learned a run learned: base, model and ceiling on the same held-out dialogues.

The ceiling is the base trained centrally, without privacy, on all private dialogues: its figures are covered by no
claim, and so is every share of them. Takes sums; knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chatfed.audit.comparison import LEARNED, LEVEL, RESAMPLES, Sums, by_groups, intervals, rates
from chatfed.audit.figures import finite, percent, points
from chatfed.types import IntVector

SHARES_OF = {"top1": "{} of the next word right", "top3": "{} within three"}
NOT_COVERED = (
    "The ceiling was trained without privacy on private dialogues: no epsilon covers its figures, nor the shares that "
    "are made with them. Keep them to yourself when the dialogues are real."
)


@dataclass(frozen=True)
class Share:
    """Of what the ceiling gains over the base, how much the model gains; above 0 is better."""

    learnable: float
    learned: float
    share: float | None  # None: the ceiling gains nothing
    low: float | None  # of the share, at LEVEL; None: too few dialogues to tell
    high: float | None


@dataclass(frozen=True)
class Gain:
    """The share of the learnable gain in each measure."""

    over: str  # what was resampled: "clients" or "dialogues"
    groups: int
    resamples: int
    level: float
    bits_a_word: Share
    top1: Share
    top3: Share

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the fields' names."""
        return asdict(self)


def learnable_gain(before: Sums, after: Sums, ceiling: Sums, clients: IntVector | None = None) -> Gain:
    """The share with its interval, by the bootstrap of `compare`: all three models on the same resampled clients.

    Sums float64[dialogues, 5] of base, model and ceiling; clients as in `compare`.
    """
    over, grouped = by_groups((before, after, ceiling), clients)
    base, model, most = _figures(grouped.sum(1))
    low, high = intervals(grouped, lambda sums: _shares(_figures(sums)))
    shares = [finite(share) for share in _shares(np.stack([base, model, most])).tolist()]
    columns = ((most - base).tolist(), (model - base).tolist(), shares, low, high)
    return Gain(over, grouped.shape[1], RESAMPLES, LEVEL, *(Share(*each) for each in zip(*columns, strict=True)))


def bits_a_word(evaluation: Mapping[str, Any]) -> float:
    """Bits that the model needs for a word, on average.

    >>> bits_a_word({"bits_per_byte": 2.0, "bytes": 4500, "words": 1000})
    9.0
    """
    return float(evaluation["bits_per_byte"] * evaluation["bytes"] / evaluation["words"])


def _figures(sums: Sums) -> Sums:
    """float64[..., 5] -> [..., 3], each better above: bits a word with their sign turned, first place, within three."""
    shares = rates(sums)
    return np.stack([-sums[..., 0] / math.log(2) / sums[..., 2], shares[..., 1], shares[..., 2]], -1)


def _shares(figures: Sums) -> Sums:
    """float64[3, 3], base, model and ceiling -> [3]; not a number where the ceiling gains nothing."""
    base, model, ceiling = figures
    shares: Sums = np.divide(model - base, ceiling - base, out=np.full(3, np.nan), where=ceiling > base)
    return shares


def gain_sentence(summary: Mapping[str, Any]) -> str:
    """What share was learned, from a summary.json with a ceiling; empty where that holds none.

    "Learned" is said only where the run's own comparison says it.
    """
    found = _mapping(_mapping(summary.get("ceiling")).get("gain"))
    bits = _mapping(found.get("bits_a_word"))
    learnable = finite(bits.get("learnable"))
    if learnable is None:
        return ""
    if finite(bits.get("share")) is None:
        return "The ceiling is no better than the base: nothing could be learned from the private dialogues."
    verb = "It learned" if _mapping(summary.get("comparison")).get("verdict") == LEARNED else "Its change is"
    told = [
        _told(bits, f"{learnable:.2f} bits a word that could be learned"),
        *(_told(_mapping(found.get(key)), words) for key, words in SHARES_OF.items()),
    ]
    return f"{verb} {'; '.join(each for each in told if each)}."


def _told(share: Mapping[str, Any], words: str) -> str:
    """One measure's share; empty where the ceiling gains nothing in it."""
    value, learnable = finite(share.get("share")), finite(share.get("learnable"))
    if value is None or learnable is None:
        return ""
    return f"{percent(value)} of the {words.format(points(learnable, signed=False))}{_within(share)}"


def _within(share: Mapping[str, Any]) -> str:
    low, high = finite(share.get("low")), finite(share.get("high"))
    return "" if low is None or high is None else f" [{percent(low)} to {percent(high)}]"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
