"""Canaries: what committed seeds put into a run by fair coins, and how it is looked for in what the run gives away.

A canary of a sum is a random direction: signs, each by 1 / sqrt(d), so that its norm is 1. Who knows the seed takes the
sum's product with each direction; who does not can tell it from noise by nothing. Coins and directions follow from the
seed alone, so that anyone to whom it is opened can do this again. Knows no run, no model and no noise mechanism.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.leakage import AuditError
from chatfed.types import FloatVector, IntVector

SEED_BYTES = 32
CUTS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, math.inf)
"""In robust standard deviations: no coordinate counts for more, since others' own words drown canaries in some."""

_LABEL = b"chatfed canaries v1 "


def commitment(seed: bytes) -> str:
    """SHA-256 of the seed under a label, hex: said before the run, it leaves no choice afterwards.

    Raises AuditError for a seed that is not of SEED_BYTES.
    """
    if len(seed) != SEED_BYTES:
        raise AuditError(f"a seed of canaries has {SEED_BYTES} bytes, not {len(seed)}: give the one of the run")
    return hashlib.sha256(_LABEL + b"seed" + seed).hexdigest()


def coins(seed: bytes, what: str, count: int) -> NDArray[np.bool_]:
    """A fair coin for each of so many canaries: bool[count]; True: it takes part."""
    return _bits(seed, f"coins {what}", count).astype(np.bool_)


def numbers(seed: bytes, what: str, count: int, below: int) -> IntVector:
    """Numbers from 0 to `below` - 1 that follow from the seed: int64[count], each as likely but for 2^-40."""
    drawn = np.frombuffer(_expanded(seed, f"numbers {what}", 8 * count), "<u8")
    return (drawn % np.uint64(below)).astype(np.int64)


def direction(seed: bytes, what: str, canary: int, dimension: int) -> FloatVector:
    """The canary's own direction, of L2 norm 1: float32[dimension]."""
    signs = 2 * _bits(seed, _of(what, canary), dimension).astype(np.float32) - 1
    return (signs / np.float32(math.sqrt(dimension))).astype(np.float32)


def together(seed: bytes, what: str, canaries: Iterable[int], dimension: int) -> FloatVector:
    """The sum of these canaries' directions: float32[dimension]; nought of none."""
    ones, count = np.zeros(dimension, np.int32), 0
    for each in canaries:
        ones += _bits(seed, _of(what, int(each)), dimension)
        count += 1
    return ((2 * ones - count) / math.sqrt(dimension)).astype(np.float32)


def _of(what: str, canary: int) -> str:
    return f"direction {what} {canary}"


def _bits(seed: bytes, what: str, count: int) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(_expanded(seed, what, (count + 7) // 8), np.uint8), count=count)


def _expanded(seed: bytes, what: str, size: int) -> bytes:
    return hashlib.shake_256(_LABEL + seed + what.encode()).digest(size)


@dataclass(frozen=True, eq=False)
class Matched:
    """What a sum says of each canary: `amounts` are about 1 for one that is in it and 0 for one that is not."""

    amounts: NDArray[np.float64]  # float64[canaries], in canaries
    std: float  # of each, noise and everything else in the sum together
    cut: float  # robust standard deviations beyond which a coordinate counts no more
    kept: float  # share of the coordinates that are not cut

    def evidence(self, rate: float = 1.0) -> NDArray[np.float64]:
        """Log-likelihood ratio of "in" to "out": float64[canaries]. rate: at which one takes part that is in.

        log(1 - q + q exp((2 a - 1) / 2 s^2)), of a Gaussian channel behind Poisson sampling.
        """
        exponent = (2 * self.amounts - 1) / (2 * self.std**2)
        if rate >= 1:
            return exponent
        return np.logaddexp(math.log1p(-rate), math.log(rate) + exponent)


def matched(total: FloatVector, seed: bytes, what: str, count: int) -> Matched:
    """The product of a sum float32[d] (in lengths of a canary) with each canary's direction.

    Coordinates are cut to what noise would be (Huber 1964): all clients' common words stand beyond. With signs that are
    independent of the rest y of a sum, the product of psi(y), y cut at t, has the variance mean psi(y)^2, and a canary
    moves it by P(|y| < t), the mean slope of psi. t is what gives the least standard deviation, from the sum alone.
    Raises AuditError for a sum that is not finite.
    """
    if not np.isfinite(total).all():
        raise AuditError("a sum that holds numbers that are not finite hides its canaries: the run has diverged")
    std, cut, limit = _best_cut(total)
    kept = float(np.mean(np.abs(total) < limit))
    inside = np.clip(total, -limit, limit)
    products = np.array([_product(inside, _bits(seed, _of(what, each), len(total))) for each in range(count)])
    return Matched(products / kept, std, cut, kept)


def _product(vector: FloatVector, bits: NDArray[np.uint8]) -> float:
    """Of a vector and the direction of these bits: what of it stands at ones, minus the rest."""
    return (2 * float(bits.astype(np.float32) @ vector) - float(vector.sum())) / math.sqrt(len(vector))


def _best_cut(total: FloatVector) -> tuple[float, float, float]:
    """(standard deviation of an amount, cut, the coordinate's size there), of the CUTS that leaves the least."""
    sizes = np.abs(total).astype(np.float64)
    scale = float(np.median(sizes)) / 0.6745 or 1.0  # of a Gaussian, the median of |y| is 0.6745 standard deviations
    found = []
    for cut in CUTS:
        kept = float(np.mean(sizes < cut * scale))
        if kept:
            found.append((math.sqrt(float(np.mean(np.minimum(sizes, cut * scale) ** 2))) / kept or 1e-12, cut))
    std, best = min(found)
    return std, best, best * scale
