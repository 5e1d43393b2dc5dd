"""How well scores tell members from others: ROC, rates at a false positive rate, area under it, each with its interval.

Takes scores, the higher the likelier a member; knows no model and no attack. A threshold is set on the others that it
is judged by, so the realised false positive rate stands beside every rate. Exact intervals take texts as independent
given the threshold; the area's interval takes clients as independent, whatever their texts have in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from chatfed.audit.leakage import AuditError
from chatfed.types import IntVector

Scores = NDArray[np.float64]
"""float64[n], higher: likelier a member."""

LEVEL = 0.95  # confidence of every interval, two-sided
FALSE_RATES = (0.01, 0.001)
"""At which true positive rates are told (Carlini et al. 2022, arXiv 2112.03570, section 3)."""


@dataclass(frozen=True)
class Share:
    """So many of so many, with the exact interval at LEVEL."""

    hits: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """A number from 0 to 1."""
        return self.hits / self.of

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return {"share": self.share, "hits": self.hits, "of": self.of, "low": self.low, "high": self.high}


def exact_share(hits: int, of: int, level: float = LEVEL) -> Share:
    """The Clopper-Pearson interval (1934) of a share. Raises AuditError where `of` is 0.

    >>> found = exact_share(3, 100)
    >>> round(found.low, 5), round(found.high, 5)
    (0.00623, 0.08518)
    """
    if not 0 <= hits <= of or not of:
        raise AuditError(f"{hits} of {of} is no share: give at least one text, and no more hits than texts")
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, hits, of - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, of - hits)) if hits < of else 1.0
    return Share(hits, of, low, high)


@dataclass(frozen=True)
class AtRate:
    """What is found where at most a share `wanted` of the others is taken for members."""

    wanted: float
    found: Share  # of members: the true positive rate
    false: Share  # of others: the realised false positive rate

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"wanted": self.wanted, "true_positive_rate": self.found.to_json(), "realised": self.false.to_json()}


@dataclass(frozen=True)
class TooFew:
    """There are too few others to speak of such a rate: at least 1 / wanted are needed."""

    wanted: float
    others: int

    def __str__(self) -> str:
        return f"too few controls ({self.others:,} of {math.ceil(1 / self.wanted):,})"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"wanted": self.wanted, "too_few_controls": self.others, "needed": math.ceil(1 / self.wanted)}


def at_false_rate(members: Scores, others: Scores, wanted: float) -> AtRate | TooFew:
    """The share of members above the lowest score that at most a share `wanted` of others is above.

    Above is strictly: ties count for the others. Raises AuditError for no members, or scores that are not finite.

    >>> found = at_false_rate(np.arange(100.0) + 50, np.arange(100.0), 0.01)
    >>> found.found.hits, found.false.hits
    (51, 1)
    >>> str(at_false_rate(np.arange(9.0), np.arange(30.0), 0.01))
    'too few controls (30 of 100)'
    """
    _check(members, others)
    allowed = math.floor(wanted * len(others) + 1e-9)
    if not allowed:
        return TooFew(wanted, len(others))
    limit = np.sort(others)[-allowed - 1] if allowed < len(others) else -np.inf
    found, false = (exact_share(int((each > limit).sum()), len(each)) for each in (members, others))
    return AtRate(wanted, found, false)


def roc_curve(members: Scores, others: Scores) -> tuple[Scores, Scores]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1): float64[k] each, rising."""
    _check(members, others)
    limits = np.unique(np.concatenate([members, others]))[::-1]
    rates = [1 - np.searchsorted(np.sort(each), limits, "left") / len(each) for each in (others, members)]
    return np.concatenate([[0.0], rates[0]]), np.concatenate([[0.0], rates[1]])


@dataclass(frozen=True)
class Area:
    """Area under the ROC: the chance that a member scores above another text, ties counted half."""

    value: float
    low: float
    high: float
    members: int
    others: int

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return {"auc": self.value, "low": self.low, "high": self.high, "members": self.members, "others": self.others}


def area(
    members: Scores, others: Scores, owners: tuple[IntVector, IntVector] | None = None, level: float = LEVEL
) -> Area:
    """The area with an interval over clients (Obuchowski 1997, Biometrics 53:567; of one text each: DeLong 1988).

    By Student's t with one degree less than the side with fewer clients has: a normal one is too narrow for few. Of
    fewer than ten clients this one is too narrow as well.
    owners: int64[members] and int64[others], whose each is; None: all texts are independent. Where the variance is 0,
    as where everything is told apart, the exact interval of as many of as many clients takes its place.
    Raises AuditError for no members, no others, or scores that are not finite.

    >>> found = area(np.array([3.0, 2, 4]), np.array([1.0, 2, 0, 1]))
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.9583, 0.7048, 1.0)
    """
    _check(members, others)
    above = _placements(members, others)
    below = 1 - _placements(others, members)
    value = float(above.mean())
    clients = owners or (np.arange(len(members)), len(members) + np.arange(len(others)))
    few = min(len(np.unique(each)) for each in clients)
    if few < 2:
        return Area(value, 0.0, 1.0, len(members), len(others))
    spread = math.sqrt(max(0.0, _variance(above - value, below - value, *clients)))
    half = float(stats.t.ppf((1 + level) / 2, few - 1)) * spread
    low, high = value - half, value + half
    if not spread:
        exact = exact_share(round(value * few), few, level)
        low, high = min(value, exact.low), max(value, exact.high)
    return Area(value, max(0.0, low), min(1.0, high), len(members), len(others))


def _placements(these: Scores, those: Scores) -> Scores:
    """Of each of these the share of those below it, ties counted half: float64[these]."""
    ordered = np.sort(those)
    below, upto = (np.searchsorted(ordered, these, side) for side in ("left", "right"))
    placed: Scores = (below + upto) / (2 * len(those))
    return placed


def _variance(above: Scores, below: Scores, whose: IntVector, whose_others: IntVector) -> float:
    """Of the area: `above` and `below` are placements less their mean, summed here by client."""
    names, at = np.unique(np.concatenate([whose, whose_others]), return_inverse=True)
    summed = partial(np.bincount, minlength=len(names))
    mine, theirs = summed(at[: len(whose)], above), summed(at[len(whose) :], below)
    first, second = (len(np.unique(each)) for each in (whose, whose_others))
    both = max(2, len(names))
    n, m = len(above), len(below)
    own = first / (first - 1) * float(mine @ mine) / n**2 + second / (second - 1) * float(theirs @ theirs) / m**2
    return own + 2 * both / (both - 1) * float(mine @ theirs) / (n * m)


def _check(members: Scores, others: Scores) -> None:
    for name, scores in (("members", members), ("others", others)):
        if not len(scores):
            raise AuditError(f"there are no scores of {name}: give at least one text of each")
        broken = np.flatnonzero(~np.isfinite(scores))
        if len(broken):
            raise AuditError(
                f"text {broken[0]} of the {name} has the score {scores[broken[0]]}: what is not a finite number has "
                "no rank; load the models again, or leave that text out"
            )
