"""Discrete Gaussian noise whose distribution is known to the last bit. Knows nothing of vectors' meaning or budgets.

N_Z(0, std^2) gives the whole number z a probability proportional to exp(-z^2 / 2 std^2) (Canonne, Kamath and Steinke
2020, definition 1). `std` is that parameter, in ring steps; the variance is never above std^2 (their corollary 9).

A `Table` holds whole-number weights that add up to exactly 2^128, and its sampler draws each value with probability
weight / 2^128, no more and no less, if the entropy is uniform: Walker's alias method (1977) as Vose (1991) builds it,
on Python integers. So the table is the noise, and how far it is from the ideal is a number (`variation`), worked out
from the weights, that the accounting adds to delta. Where one table would not fit the processor's cache, a coarse one
times a multiple is added to a fine one; how far that is from a discrete Gaussian is a number too (`divergence`).

Not covered: time. Reading a table takes longer where it is not in the cache, and one value in 2^16 or fewer of a table
needs more bits than a word; whoever can time single values learns a little of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chatfed.privacy.noise import random_bytes, system_random
from chatfed.types import Entropy, InvalidValue

BITS = 128  # the weights of a table add up to 2^BITS
LEAST_STD, MOST_STD = 0.25, 1e6  # ring steps
_ONE_TABLE_UP_TO = 1000.0  # std; its 26,500 values take 128 kB
_FINE = 4.0  # std of the fine table / multiple of the coarse one
_WORD = 32  # bits that settle almost every draw
_REST = BITS - _WORD
_PLACES = 320  # binary places of the ideal weights
_UNKNOWN = Fraction(1, 1 << 192)  # more than the ideal weights' errors, 2^64 of 2^320 each, can change a variation
_BLOCK = 1 << 15  # values made at a time: temporaries and tables share the second-level cache


@dataclass(frozen=True)
class Table:
    """P(lowest + i) = weights[i] / 2^128, and the same as columns of two values: lowest + i and lowest + its alias."""

    lowest: int
    weights: tuple[int, ...] = field(repr=False)
    variation: float  # total variation distance from the ideal distribution, rounded up
    columns: int  # a power of two
    cuts: NDArray[np.uint32] = field(repr=False)  # a word from here on takes the alias, which the low bits hold
    rests: tuple[int, ...] = field(repr=False)  # of a word whose high bits equal the cut's: below this, of 96 bits, not

    @property
    def reach(self) -> int:
        """The largest |value|."""
        return max(-self.lowest, self.lowest + len(self.weights) - 1)

    def places(self, size: int, entropy: Entropy) -> NDArray[np.uint32]:
        """Independent draws less `lowest`, uint32[size]; four bytes of entropy each, and twelve more for a tie.

        A word's low bits are its column, the high ones decide. Whichever is less, the word or its column's cut, has the
        chosen place in its low bits: below the cut the column itself, from it on the alias.
        """
        words = np.frombuffer(random_bytes(4 * size, entropy), dtype="<u4")
        low = np.uint32(self.columns - 1)
        cuts = self.cuts.take(np.bitwise_and(words, low, dtype=np.intp), mode="wrap")  # in range: the quickest mode
        found: NDArray[np.uint32] = np.minimum(words, cuts)
        cuts ^= words
        if size and cuts.min() <= low:
            for tie in np.flatnonzero(cuts <= low):
                i, rest = int(words[tie] & low), int.from_bytes(random_bytes(_REST // 8, entropy), "little")
                found[tie] = i if rest < self.rests[i] else cuts[tie] ^ words[tie]
        found &= low
        return found


@dataclass(frozen=True)
class DiscreteGaussian:
    """N_Z(0, std^2) as a sum of multiple * table: one table up to a std of 1,000, else a fine and a coarse one."""

    std: float  # ring steps
    parts: tuple[tuple[int, Table], ...]  # one or two of (multiple, table)
    divergence: float  # |log P / N_Z(0, std^2)| of the sum of ideal parts is at most this, at every whole number

    @property
    def variation(self) -> float:
        """Total variation distance between this noise and the sum of its ideal parts, for one value."""
        return sum(table.variation for _, table in self.parts)

    @property
    def reach(self) -> int:
        """The largest |value|; below 2^24 for every std."""
        return sum(multiple * table.reach for multiple, table in self.parts)

    def sample(self, size: int, entropy: Entropy = system_random) -> NDArray[np.int32]:
        """Independent draws, int32[size], from cryptographic bits alone. Raises InvalidValue for a negative size.

        >>> draws = discrete_gaussian(3.0).sample(100_000)
        >>> draws.dtype, bool(2.9 < draws.std() < 3.1)
        (dtype('int32'), True)
        """
        if size < 0:
            raise InvalidValue(f"{size} values of noise: the number must not be negative", param="size")
        drawn = np.empty(size, dtype=np.int32)
        for start in range(0, size, _BLOCK):
            block = drawn[start : start + _BLOCK]
            block[:] = self.parts[0][1].places(block.size, entropy)
            for multiple, table in self.parts[1:]:
                places = table.places(block.size, entropy).view(np.int32)
                places *= np.int32(multiple)
                block += places
            block += np.int32(sum(multiple * table.lowest for multiple, table in self.parts))
        return drawn


@lru_cache(maxsize=4)
def discrete_gaussian(std: float) -> DiscreteGaussian:
    """The noise of parameter `std` (ring steps); building the tables takes up to half a second, once per std.

    Raises InvalidValue unless LEAST_STD <= std <= MOST_STD.

    >>> discrete_gaussian(20.0).variation < 1e-35
    True
    """
    if not LEAST_STD <= std <= MOST_STD:
        raise InvalidValue(
            f"discrete noise of std {std} ring steps: take from {LEAST_STD} to {MOST_STD:g}", param="std"
        )
    if std <= _ONE_TABLE_UP_TO:
        return DiscreteGaussian(std, ((1, table(Fraction(std) ** 2)),), 0.0)
    multiple = 1 << round(math.log2(std / _FINE) / 2)
    fine = Fraction(_FINE * multiple) ** 2
    coarse = (Fraction(std) ** 2 - fine) / multiple**2
    apart = closeness(1 / (multiple**2 / float(fine) + 1 / float(coarse)))
    return DiscreteGaussian(std, ((1, table(fine)), (multiple, table(coarse))), apart)


def closeness(variance: float) -> float:
    """Largest |log ratio| between sums of exp(-(y - c)^2 / 2 variance) over all whole y, for any two shifts c.

    By Poisson summation such a sum is sqrt(2 pi variance) (1 + 2 sum_(k>0) exp(-2 pi^2 variance k^2) cos(2 pi k c)).
    It bounds the max-divergence, both ways, of a sum of two independent discrete Gaussians from the single one: with
    s^2 and r^2 for theirs, X + m Y is within closeness(1 / (m^2 / s^2 + 1 / r^2)) of N_Z(0, s^2 + m^2 r^2). For m = 1
    this is proposition 12 of Kairouz, Liu and Steinke 2021. Infinite where the series says nothing (variance < 0.06).

    >>> f"{closeness(1.0):.2e}"
    '1.07e-08'
    """
    ripple = 2 * sum(math.exp(-2 * math.pi**2 * variance * k * k) for k in range(1, 9)) * (1 + 1e-12)
    return (math.log1p(ripple) - math.log1p(-ripple)) * (1 + 1e-12) if ripple < 0.9 else math.inf


def ideal_weights(variance: Fraction) -> list[int]:
    """exp(-z^2 / 2 variance) * 2^320 for z = 0, 1, ... until it vanishes, each too small by less than 2^64.

    Neighbours' ratio is e^(-1 / 2 variance) to the power 2 z + 1, so two products a value are enough.
    """
    context = Context(prec=120)
    halved = context.divide(Decimal(variance.denominator), Decimal(2 * variance.numerator))
    first = int(context.multiply(context.exp(context.minus(halved)), Decimal(1 << _PLACES)))
    square, ratio, weights = first * first >> _PLACES, first, [1 << _PLACES]
    while weights[-1]:
        weights.append(weights[-1] * ratio >> _PLACES)
        ratio = ratio * square >> _PLACES
    return weights


@lru_cache(maxsize=4)
def table(variance: Fraction) -> Table:
    """The table of N_Z(0, variance): probabilities rounded to 2^-128; what rounding leaves over goes to zero."""
    ideal = ideal_weights(variance)
    total = 2 * sum(ideal) - ideal[0]
    half = [((weight << BITS + 1) + total) // (2 * total) for weight in ideal]
    half = half[: max(z for z, weight in enumerate(half) if weight) + 1]
    half[0] += (1 << BITS) - (2 * sum(half) - half[0])
    lowest, weights = 1 - len(half), half[:0:-1] + half
    return Table(lowest, tuple(weights), _variation(half, ideal, total), *_alias(weights))


def _variation(half: list[int], ideal: list[int], total: int) -> float:
    """Half the sum of |table - ideal| over all whole numbers, an exact fraction, plus the ideal's own error."""
    padded = half + [0] * (len(ideal) - len(half))
    apart = [abs(mine * total - (theirs << BITS)) for mine, theirs in zip(padded, ideal, strict=True)]
    exact = Fraction(2 * sum(apart) - apart[0], 2 * total << BITS)
    return math.nextafter(float(exact + _UNKNOWN), 1.0)


def _alias(weights: list[int]) -> tuple[int, NDArray[np.uint32], tuple[int, ...]]:
    """Columns of equal weight with at most two values each (Vose 1991); exact, as 2^b columns share 2^128."""
    columns = 1 << (len(weights) - 1).bit_length()
    column = (1 << BITS) // columns
    left = weights + [0] * (columns - len(weights))
    cuts, alias = [0] * columns, list(range(columns))
    small = [i for i, weight in enumerate(left) if weight < column]
    large = [i for i, weight in enumerate(left) if weight >= column]
    while small:
        i, j = small.pop(), large[-1]
        cuts[i], alias[i] = left[i], j
        left[j] -= column - left[i]
        if left[j] < column:
            small.append(large.pop())
    # what is in `large` now fills its own column: cut 0, and both values are its own
    packed = np.array([(cut >> _REST) * columns + j for cut, j in zip(cuts, alias, strict=True)], dtype=np.uint32)
    return columns, packed, tuple(cut & (1 << _REST) - 1 for cut in cuts)
