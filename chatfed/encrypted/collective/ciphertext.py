"""CKKS in residues (Cheon et al. 2017, 2019): sums, products, relinearisation, rescaling. Knows keys, and no party's.

A ciphertext (c0, c1) under the key s is c0 + c1 s = scale x message + error, kept as values at roots of one. Keys are
switched with one special prime P: digit j of a polynomial is its residue modulo prime j, and the evaluation key's j-th
pair encrypts P s^2 in that residue alone (Gentry, Halevi and Smart 2012; Halevi, Polyakov and Shoup 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from . import sampling
from .errors import LevelsExhausted
from .parameters import LOWEST
from .ring import PRIMES, SPECIAL, Residues, Ring, column, minus, plus, residues_of, small_residues, times
from .slots import Slots, encode


@dataclass(frozen=True, eq=False)
class Ciphertext:
    """uint64[2, L, N]: values modulo the first L primes."""

    pair: Residues = field(repr=False)
    scale: float
    party: str  # whose errors name

    @property
    def levels(self) -> int:
        """Primes that are left."""
        return int(self.pair.shape[1])

    def at(self, levels: int) -> Ciphertext:
        """The same message modulo fewer primes. Raises LevelsExhausted where there are not so many."""
        if self.levels < levels:
            raise LevelsExhausted(self.party, self.levels, levels)
        return replace(self, pair=self.pair[:, :levels])


@dataclass(frozen=True, eq=False)
class PublicKey:
    """The collective public key uint64[2, 6, N], and the evaluation key uint64[6, 2, 7, N], as values."""

    pair: Residues = field(repr=False)
    relinearising: Residues = field(repr=False)


def plain(ring: Ring, slots: Slots, scale: float, levels: int) -> Residues:
    """Slots as the values of a polynomial."""
    return ring.forward(residues_of(encode(slots, scale), levels))


def zero(ring: Ring, key: PublicKey, levels: int, seed: bytes) -> Residues:
    """A fresh encryption of zero uint64[2, levels, N]: added to a ciphertext, it hides what that was made from."""
    drawn = np.stack(
        [
            sampling.ternary(seed, "encrypt", ring.degree),
            sampling.errors(seed, "encrypt 0", ring.degree),
            sampling.errors(seed, "encrypt 1", ring.degree),
        ]
    )
    once, *errors = ring.forward(small_residues(drawn, levels))
    return plus(times(key.pair[:, :levels], once), np.stack(errors))


def encrypted(ring: Ring, key: PublicKey, slots: Slots, scale: float, levels: int, seed: bytes) -> Residues:
    """A fresh encryption of slots."""
    pair = zero(ring, key, levels, seed)
    pair[0] = plus(pair[0], plain(ring, slots, scale, levels))
    return pair


def added(left: Ciphertext, right: Ciphertext) -> Ciphertext:
    """The sum, of two of one scale, on the lower level."""
    levels = min(left.levels, right.levels)
    return replace(left, pair=plus(left.at(levels).pair, right.at(levels).pair))


def subtracted(left: Ciphertext, right: Ciphertext) -> Ciphertext:
    """The difference, likewise."""
    levels = min(left.levels, right.levels)
    return replace(left, pair=minus(left.at(levels).pair, right.at(levels).pair))


def weighed(ring: Ring, one: Ciphertext, weights: Residues, scale: float) -> Ciphertext:
    """The product with numbers in clear, slot by slot, rescaled. weights: of `plain`, on as many levels."""
    pair = times(one.pair, weights)
    return rescaled(ring, replace(one, pair=pair, scale=one.scale * scale))


def less(ring: Ring, one: Ciphertext, slots: Slots) -> Ciphertext:
    """The difference to numbers in clear."""
    pair = one.pair.copy()
    pair[0] = minus(pair[0], plain(ring, slots, one.scale, one.levels))
    return replace(one, pair=pair)


def multiplied(ring: Ring, left: Ciphertext, right: Ciphertext, key: PublicKey) -> Ciphertext:
    """The product, slot by slot: relinearised and rescaled. Raises LevelsExhausted."""
    levels = min(left.levels, right.levels)
    (a, b), (c, d) = left.at(levels).pair, right.at(levels).pair
    middle = (a * d + b * c) % column(PRIMES[:levels])
    pair = plus(np.stack([times(a, c), middle]), switched(ring, times(b, d), key.relinearising))
    return rescaled(ring, replace(left, pair=pair, scale=left.scale * right.scale))


def switched(ring: Ring, values: Residues, key: Residues) -> Residues:
    """A pair uint64[2, L, N] that is worth values x s^2 under s."""
    levels = len(values)
    main = np.zeros((2, levels, ring.degree), np.uint64)
    special = np.zeros((2, 1, ring.degree), np.uint64)
    primes = column(PRIMES[:levels])
    for digit, pair in zip(ring.inverse(values), key, strict=False):  # below 2 p for every other prime p
        lifted = ring.forward(np.minimum(digit, digit - primes))
        main = plus(main, times(pair[:, :levels], lifted))
        high = ring.forward(np.minimum(digit, digit - column(PRIMES[SPECIAL:])), SPECIAL)
        special = plus(special, times(pair[:, SPECIAL:], high, SPECIAL), SPECIAL)
    return divided(ring, main, special, SPECIAL)


def rescaled(ring: Ring, one: Ciphertext) -> Ciphertext:
    """Over the last prime, which goes. Raises LevelsExhausted where it could not be refreshed after that."""
    last = one.levels - 1
    if last < LOWEST:
        raise LevelsExhausted(one.party, one.levels, LOWEST + 1)
    pair = divided(ring, one.pair[:, :last], one.pair[:, last:], last)
    return replace(one, pair=pair, scale=one.scale / PRIMES[last])


def divided(ring: Ring, main: Residues, rest: Residues, which: int) -> Residues:
    """The polynomials over prime `which`, rounded, of residues modulo the others and, uint64[..., 1, N], modulo it."""
    levels, prime = main.shape[-2], PRIMES[which]
    rests = ring.inverse(rest, which)[..., 0, :].astype(np.int64)
    rests -= prime * (rests > prime // 2)
    inverse = column(tuple(pow(prime, -1, p) for p in PRIMES[:levels]))
    return times(minus(main, ring.forward(small_residues(rests, levels))), inverse)


def signed(numbers: NDArray[np.int64], ring: Ring) -> Residues:
    """Small integers as values modulo all primes, uint64[7, N]."""
    return ring.forward(small_residues(numbers, len(PRIMES)))
