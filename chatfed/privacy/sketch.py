"""Weights of items as a vector that can be summed and noised, and the heavy items of such a sum. Knows no meaning.

A count sketch (Charikar, Chen and Farach-Colton 2002, section 3): each item adds its weight, with signs, to one cell of
each of ROWS rows, so that a vector as wide as one likes holds more items than it has cells. The sketch of a sum is the
sum of sketches, so that heavy items can be read off a secure sum that nobody may look into. What is read is
post-processing: noise that was in the sum protects it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chatfed.privacy.rounding import Scattered
from chatfed.types import FloatVector, InvalidValue

Keys = NDArray[np.uint64]  # uint64[n]: items, by a hash of whoever knows what they are

ROWS = 3
_MIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # splitmix64 (Steele, Lea and Flood 2014)
_GOLDEN = 0x9E3779B97F4A7C15
_SETTLING = 4  # corrections after which weights that share cells move by less than noise
_AT_ONCE = 1 << 20  # candidates, of those that are looked up together


@dataclass(frozen=True)
class Sketch:
    """Which cells of a vector an item is in."""

    dimension: int  # of the vector: ROWS rows of equal width, and what is left over stays 0

    def __post_init__(self) -> None:
        if self.dimension < ROWS:
            raise InvalidValue(f"a sketch of {self.dimension} cells: give {ROWS} or more.", param="dimension")

    def cells(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Of each item its cell in each row, int64[ROWS, n], and the sign there over sqrt(ROWS), float32[ROWS, n]."""
        width = self.dimension // ROWS
        hashes = np.stack([_mixed(keys, row) for row in range(ROWS)])
        places = ((hashes >> np.uint64(32)) * np.uint64(width) >> np.uint64(32)).astype(np.int64)
        signs = (hashes & np.uint64(1)).astype(np.float32) * 2 - 1
        return places + np.arange(ROWS)[:, None] * width, signs / np.float32(math.sqrt(ROWS))

    def of(self, keys: Keys, weights: FloatVector) -> Scattered:
        """The sketch of different items with weights float32[n].

        Of norm |weights| but where two items share a cell: whoever needs a bound clips.
        """
        places, signs = self.cells(keys)
        cells, where = np.unique(places.ravel(), return_inverse=True)
        values = np.bincount(where, (signs * weights).ravel(), len(cells)).astype(np.float32)
        return Scattered(cells, values)

    def estimates(self, vector: FloatVector, keys: Keys) -> NDArray[np.float32]:
        """What each row says of each item's weight: float32[ROWS, n]; their mean has the deviation of one cell."""
        places, signs = self.cells(keys)
        return vector[places] * signs * np.float32(ROWS)


@dataclass
class HeavyItems:
    """The items found in a noisy sum of sketches so far, and what is left of the sum without them."""

    sketch: Sketch
    rest: FloatVector  # float32[d], changed in place
    false: float = 0.1  # of the items of one search, the share that may be noise alone
    keys: Keys = field(default_factory=lambda: np.empty(0, np.uint64))
    weights: FloatVector = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def spread(self) -> float:
        """Standard deviation of a cell by noise and light items: 1.4826 times the median, which heavy ones do not move.

        >>> rng = np.random.default_rng(1)
        >>> found = HeavyItems(Sketch(30_000), rng.normal(0, 2.0, 30_000).astype(np.float32))
        >>> bool(1.9 < found.spread < 2.1)
        True
        """
        return 1.4826 * float(np.median(np.abs(self.rest)))

    def search(self, candidates: Keys, expected: FloatVector | None = None) -> FloatVector:
        """The weights of those of different candidates that are heavy, 0 for all others: float32[n].

        expected: float32[n], what their weights might be: a guess in any unit. Candidates of which a like weight is
        expected, by a factor of two, are searched by themselves, so that the many of which little is expected do not
        raise the bar for the few. Of those found a share `false` at most is not there, on average: what is not there,
        by noise or by heavy items in the same cells, is as often below 0 by so much as above it, since signs are
        hashed, and what is there is above (Barber and Candes 2015, section 2, with signs in place of knockoffs). Asking
        again finds more, once others are out of the rest.
        """
        found = np.zeros(len(candidates), bool)
        known = np.isin(candidates, self.keys)
        heights = self._heights(candidates)
        heights[known] = 0
        strata = np.zeros(len(candidates)) if expected is None else np.floor(np.log2(np.maximum(expected, 2.0**-20)))
        for stratum in np.unique(strata):
            here = np.flatnonzero(strata == stratum)
            found[here] = _discoveries(heights[here], self.false)
        if found.any():
            self._add(candidates[found])
        return self._weights(candidates, known | found)

    def _weights(self, candidates: Keys, heavy: NDArray[np.bool_]) -> FloatVector:
        order = np.argsort(self.keys)
        weights = np.zeros(len(candidates), np.float32)
        weights[heavy] = self.weights[order[np.searchsorted(self.keys[order], candidates[heavy])]]
        return np.maximum(weights, 0)

    def _heights(self, candidates: Keys) -> NDArray[np.float32]:
        heights = np.empty(len(candidates), np.float32)
        for start in range(0, len(candidates), _AT_ONCE):
            rows = self.sketch.estimates(self.rest, candidates[start : start + _AT_ONCE])
            least = np.maximum(rows.min(0), 0) + np.minimum(rows.max(0), 0)  # 0 where rows differ in sign
            heights[start : start + _AT_ONCE] = least
        return heights

    def _add(self, fresh: Keys) -> None:
        self.keys = np.concatenate([self.keys, fresh])
        self.weights = np.concatenate([self.weights, np.zeros(len(fresh), np.float32)])
        places, signs = self.sketch.cells(self.keys)
        for _ in range(_SETTLING):  # steepest descent for the least squares: a whole step where no cells are shared
            more = (self.rest[places] * signs).sum(0)
            moved = np.bincount(places.ravel(), (signs * more).ravel(), len(self.rest))
            step = np.float32(np.square(more, dtype=np.float64).sum() / max(float(moved @ moved), 1e-300))
            self.weights += step * more
            self.rest -= step * moved.astype(np.float32)


def _mixed(keys: Keys, row: int) -> Keys:
    mixed = keys + np.uint64((row + 1) * _GOLDEN % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    return mixed ^ (mixed >> np.uint64(31))


def _discoveries(heights: NDArray[np.float32], rate: float) -> NDArray[np.bool_]:
    """The heights above the least level at which those as far below 0 are a share `rate` of them or less: bool[n]."""
    levels = np.sort(heights[heights > 0])
    below = np.sort(-heights[heights < 0])
    above = len(levels) - np.arange(len(levels))
    opposite = len(below) - np.searchsorted(below, levels)
    enough = np.flatnonzero(1 + opposite <= rate * above)
    found: NDArray[np.bool_] = heights >= (levels[enough[0]] if len(enough) else np.inf)
    return found
