"""Integers of 124 bits as limbs of 30: out of residues of four primes, shifted, and as residues again. Exact.

Masks are such integers: what is opened under them is lifted from residues, and both are then brought to another scale
by the same shift. Knows no cipher.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .ring import PRIMES, Residues, column
from .sampling import LIMB_BITS

Limbs = NDArray[np.uint64]
"""uint64[count, n], the lowest first, each below 2^30: a number that is not negative."""

LIFTED = 4  # primes that are lifted
OFFSET_BITS = 123  # 2^123 is added before a lift, so that what is opened is no negative number
_LOW = np.uint64((1 << LIMB_BITS) - 1)
_BITS = np.uint64(LIMB_BITS)


def near_offset(limbs: Limbs, most: float) -> bool:
    """Whether a number that 2^OFFSET_BITS was added to was of magnitude `most` or less; exact to one part in 2^40."""
    sizes = floats_of(limbs, 1 << OFFSET_BITS)
    return bool(np.abs(sizes).max() <= most)


def column_of_power(bits: int, count: int) -> Residues:
    """2^bits modulo the first primes."""
    return column(tuple(pow(2, bits, p) for p in PRIMES[:count]))


def lifted(residues: Residues) -> Limbs:
    """The number from 0 up to the product of the primes with these residues uint64[4, n], in five limbs (Garner)."""
    digits: list[Residues] = []
    for k in range(len(residues)):
        p = np.uint64(PRIMES[k])
        digit = residues[k]
        for j, earlier in enumerate(digits):
            digit = (digit + p - earlier % p) * np.uint64(pow(PRIMES[j], -1, PRIMES[k])) % p
        digits.append(digit)
    found = np.zeros((LIFTED + 1, residues.shape[1]), np.uint64)
    for digit, prime in zip(reversed(digits), reversed(PRIMES[: len(residues)]), strict=True):
        carry = digit
        for limb in found:  # found = found prime + digit
            carry = limb * np.uint64(prime) + carry
            limb[:] = carry & _LOW
            carry >>= _BITS
    return found


def shifted(limbs: Limbs, bits: int) -> Limbs:
    """The number over 2^bits, rounded; bits >= 0."""
    if not bits:
        return limbs
    rounded, carry = limbs.copy(), np.zeros(limbs.shape[1], np.uint64)
    whole, part = divmod(bits - 1, LIMB_BITS)
    for k in range(whole, len(limbs)):
        rounded[k] += carry + (np.uint64(1 << part) if k == whole else np.uint64(0))
        carry = rounded[k] >> _BITS
        if k < len(limbs) - 1:
            rounded[k] &= _LOW
    whole, part = divmod(bits, LIMB_BITS)
    low = rounded[whole:] >> np.uint64(part)
    low[:-1] |= (rounded[whole + 1 :] << np.uint64(LIMB_BITS - part)) & _LOW
    return low


def residues_of(limbs: Limbs, count: int, below: int = 0) -> Residues:
    """The number less `below`, modulo the first `count` primes: uint64[count, n]."""
    found = np.zeros((count, limbs.shape[1]), np.uint64)
    primes = column(PRIMES[:count])
    for limb in limbs[::-1]:
        found = ((found << _BITS) + limb) % primes
    return (found + column(tuple(-below % p for p in PRIMES[:count]))) % primes


def floats_of(limbs: Limbs, below: int) -> NDArray[np.float64]:
    """The number less `below`: exact while that is of magnitude below 2^53, and else to one part in 2^50."""
    words = [limb.astype(np.int64) for limb in limbs]
    base = [(below >> LIMB_BITS * k) & ((1 << LIMB_BITS) - 1) for k in range(len(words))]
    found = np.zeros(limbs.shape[1])
    for word, part in zip(reversed(words), reversed(base), strict=True):
        found = found * float(1 << LIMB_BITS) + (word - part)
    return found
