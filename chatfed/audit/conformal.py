"""Conformal p-values, and what may be found with them when many are looked at and hang together.

Takes scores and p-values as arrays; knows no word, no model and no client but by number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.types import IntVector

Floats = NDArray[np.float64]


def conformal(scores: Floats, null: Floats) -> Floats:
    """Conformal p-values of scores among those of the null, float64[n]: (1 + #{null >= score}) / (1 + #null).

    Each by itself is valid where the score is exchangeable with the null's: Vovk, Gammerman, Shafer 2005. Ties count
    against the score. null: ascending.

    >>> conformal(np.array([2.0, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.75, 0.25]
    """
    p_values: Floats = (1 + len(null) - np.searchsorted(null, scores, "left")) / (1 + len(null))
    return p_values


def simes(p_values: Floats) -> float:
    """The lowest level at which Benjamini and Hochberg's procedure finds anything: min over k of m p_(k) / k.

    Simes 1986. NaN is left out; infinite where nothing is left.

    >>> round(simes(np.array([0.01, 0.5, 0.03])), 4)
    0.03
    """
    ordered = np.sort(p_values[~np.isnan(p_values)])
    return float((len(ordered) * ordered / np.arange(1, len(ordered) + 1)).min(initial=np.inf))


def benjamini_hochberg(p_values: Floats, level: float) -> NDArray[np.bool_]:
    """Which are found at a level, bool[m]: those up to the largest p_(k) <= k level / m (1995). NaN never is.

    >>> benjamini_hochberg(np.array([0.01, 0.5, 0.03]), 0.05).tolist()
    [True, False, True]
    """
    ordered = np.sort(p_values[~np.isnan(p_values)])
    within = np.flatnonzero(ordered <= level * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    found: NDArray[np.bool_] = p_values <= (ordered[within[-1]] if len(within) else -1.0)
    return found


def most_false(p_values: Floats, found: NDArray[np.bool_], level: float) -> int:
    """How many of the found words are false at most, whichever are called found.

    min over k of #{found: p > k level / m} + k - 1, where `level` is one at which with the confidence wanted no text of
    null words has k or more of its m below k level / m, for any k: Blanchard, Neuvial, Roquain 2020, proposition 2.1,
    with Simes' template, here calibrated on whole texts. As Song, Jin, Candès 2026 (2605.20726) the envelope of null
    p-values is that of their joint law, and so the bound holds at all positions of a slider at once.

    >>> most_false(np.array([0.001, 0.02, 0.9]), np.array([True, True, False]), 0.05)
    1
    """
    tested = int((~np.isnan(p_values)).sum())
    mine = np.sort(p_values[found])
    k = np.arange(1, len(mine) + 1)
    above = len(mine) - np.searchsorted(mine, k * level / max(tested, 1), "right")
    return int((above + k - 1).min(initial=len(mine)))


@dataclass(frozen=True)
class Levels:
    """The lowest level at which each of some texts has a find, client by client."""

    least: Floats  # float64[texts], ascending
    whose: IntVector  # int64[texts], by number from 0
    clients: int

    @classmethod
    def of(cls, least: Floats, clients: IntVector) -> Levels:
        """Texts by `least`, and whose they are, int64[texts]."""
        names, whose = np.unique(clients, return_inverse=True)
        order = np.argsort(least, kind="stable")
        return cls(least[order], whose[order], len(names))

    @property
    def texts(self) -> IntVector:
        """int64[clients]: how many each has."""
        return np.bincount(self.whose, minlength=self.clients)

    def shares(self, level: float) -> Floats:
        """Of each client's texts the share that has a find at this level, float64[clients]."""
        finds = np.bincount(self.whose, self.least <= level, self.clients)
        shares: Floats = finds / self.texts
        return shares

    def at(self, allowed: float) -> float:
        """The highest level at which (1 + the sum of clients' shares) / (1 + clients) is at most `allowed`.

        At most `allowed` itself; 0 where there is none: with 19 clients 5 % is the least that can be. A text drawn from
        a new client, exchangeable with these, then has a find with probability at most `allowed`: the hierarchical
        conformal p-value of its `least` (Lee, Barber, Willett 2023, with each group's weight shared by its members).

        >>> round(Levels.of(np.arange(1, 40) / 100, np.arange(39)).at(0.05), 6)
        0.02
        """
        budget = allowed * (self.clients + 1) - 1
        if budget < -1e-9:
            return 0.0
        over = np.flatnonzero(np.cumsum(1 / self.texts[self.whose]) > budget + 1e-9)
        first = float(self.least[over[0]]) if len(over) else math.inf
        return float(min(allowed, np.nextafter(first, 0.0)))
