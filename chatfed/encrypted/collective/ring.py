"""Polynomials modulo X^N + 1 and seven primes of 31 bits, and their transform, in uint64. Knows no cipher.

A polynomial is a row of residues for each prime: uint64[..., L, N], its first L primes. Coefficients become values and
back by halving X^2m - r^2 = (X^m - r)(X^m + r), always the front half of the array with its back half, so that every
step of numpy is one pass over whole arrays. A product with a known root takes Shoup's quotient (as in Harvey 2014,
"Faster arithmetic for number-theoretic transforms"): floor(r 2^32 / p) is worked out once, and all stays below 2^64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Residues = NDArray[np.uint64]
"""uint64[..., L, N]: residues of the first L primes, or of those said."""

PRIMES = (2147352577, 2147205121, 2147074049, 2146959361, 2146713601, 2146418689, 2146336769)
"""The largest below 2^31 that are 1 modulo 2^14. The last is for switching keys alone."""

SPECIAL = len(PRIMES) - 1  # its place
MOST_DEGREE = 8192


def column(values: tuple[int, ...]) -> Residues:
    """One number for each prime, to be spread over coefficients."""
    return np.array(values, np.uint64)[:, None]


_P = column(PRIMES)


def plus(left: Residues, right: Residues, first: int = 0) -> Residues:
    """The sum; the primes are those from `first` on."""
    p = _P[first : first + left.shape[-2]]
    total = left + right
    found: Residues = np.minimum(total, total - p)
    return found


def minus(left: Residues, right: Residues, first: int = 0) -> Residues:
    """The difference."""
    p = _P[first : first + left.shape[-2]]
    total = left - right
    found: Residues = np.minimum(total, total + p)
    return found


def times(left: Residues, right: Residues, first: int = 0) -> Residues:
    """The product, number by number: of values, that of polynomials."""
    product: Residues = left * right
    product %= _P[first : first + product.shape[-2]]
    return product


def residues_of(numbers: NDArray[np.int64], count: int) -> Residues:
    """Integers of magnitude below 2^62, int64[..., N], modulo the first `count` primes."""
    p = _P[:count].astype(np.int64)
    return np.mod(numbers[..., None, :], p).astype(np.uint64)


def small_residues(numbers: NDArray[np.int64], count: int) -> Residues:
    """The same of magnitudes below 2^30, several times as fast."""
    words = numbers.view(np.uint64)[..., None, :]
    found: Residues = np.minimum(words, words + _P[:count])  # a negative number is a huge one here
    return found


@dataclass(frozen=True, eq=False)
class Ring:
    """The ring of one degree, a power of two up to MOST_DEGREE. Place i holds the value at psi^exponents[i]."""

    degree: int
    exponents: NDArray[np.int64]
    _roots: tuple[Residues, ...]  # of each step of `forward`: uint64[2, 7, N/2], root and Shoup's quotient
    _back: tuple[Residues, ...]
    _scale: Residues

    def forward(self, coefficients: Residues, first: int = 0) -> Residues:
        """Values uint64[..., L, N] of coefficients, of the primes from `first` on."""
        return self._rows(self._values, coefficients, first)

    def inverse(self, values: Residues, first: int = 0) -> Residues:
        """Coefficients of values."""
        return self._rows(self._coefficients, values, first)

    def _rows(self, transform: Callable[..., None], given: Residues, first: int) -> Residues:
        """One row after another, in 200 KiB that stay in the second-level cache."""
        found, half = np.empty_like(given), self.degree // 2
        room = [np.empty(size, np.uint64) for size in (2 * half, 2 * half, half, half)]
        for place in np.ndindex(given.shape[:-1]):
            transform(given[place], first + place[-1], found[place], *room)
        return found

    def _values(
        self, given: Residues, k: int, found: Residues, now: Residues, then: Residues, one: Residues, two: Residues
    ) -> None:
        half, p = self.degree // 2, np.uint64(PRIMES[k])
        np.copyto(now, given)
        for roots in self._roots:
            low, high = now[:half], now[half:]
            _shoup(high, roots[:, k], p, two, one)
            np.add(low, two, out=one)
            np.subtract(low, two, out=two)
            np.add(two, 2 * p, out=two)
            _below_twice(one, p, high, then[0::2])
            _below_twice(two, p, high, then[1::2])
            now, then = then, now
        np.minimum(now, now - p, out=found)

    def _coefficients(
        self, given: Residues, k: int, found: Residues, now: Residues, then: Residues, one: Residues, two: Residues
    ) -> None:
        half, p = self.degree // 2, np.uint64(PRIMES[k])
        np.copyto(now, given)
        for roots in self._back:
            left, right = now[0::2], now[1::2]
            np.add(left, right, out=one)
            _below_twice(one, p, two, then[:half])
            np.subtract(left, right, out=one)
            np.add(one, 2 * p, out=one)
            _below_twice(one, p, two, one)
            _shoup(one, roots[:, k], p, then[half:], two)
            now, then = then, now
        _shoup(now, self._scale[:, k], p, found, then)
        np.minimum(found, found - p, out=found)

    def automorphism(self, element: int) -> NDArray[np.intp]:
        """Where the values of a(X^element) are among those of a: values[..., it]."""
        place = np.empty(2 * self.degree, np.intp)
        place[self.exponents] = np.arange(self.degree)
        found: NDArray[np.intp] = place[self.exponents * element % (2 * self.degree)]
        return found


def _shoup(values: Residues, roots: Residues, p: np.uint64, out: Residues, scratch: Residues) -> None:
    """Values roots[0], below 2 p, of values below 2^32; roots[1]: floor(2^32 roots[0] / p)."""
    np.multiply(values, roots[1], out=scratch)
    np.right_shift(scratch, np.uint64(32), out=scratch)
    np.multiply(scratch, p, out=scratch)
    np.multiply(values, roots[0], out=out)
    np.subtract(out, scratch, out=out)


def _below_twice(values: Residues, p: np.uint64, scratch: Residues, out: Residues) -> None:
    """Values below 4 p, as ones below 2 p."""
    np.subtract(values, 2 * p, out=scratch)
    np.minimum(values, scratch, out=out)


@cache
def ring(degree: int) -> Ring:
    """The ring of a degree, with its tables."""
    exponents, steps = np.array([degree]), list[NDArray[np.int64]]()
    while len(exponents) < degree:
        halves = exponents // 2
        steps.append(np.tile(halves, degree // 2 // len(halves)))
        exponents = np.stack([halves, halves + degree], axis=-1).reshape(-1)
    powers = [_powers(p, degree) for p in PRIMES]
    ahead = tuple(_with_quotients(np.stack([each[step] for each in powers])) for step in steps)
    behind = tuple(_with_quotients(np.stack([each[-step] for each in powers])) for step in reversed(steps))
    scale = column(tuple(pow(degree, -1, p) for p in PRIMES))
    return Ring(degree, exponents, ahead, behind, _with_quotients(scale))


def _with_quotients(roots: Residues) -> Residues:
    return np.stack([roots, (roots << np.uint64(32)) // _P])


def _powers(p: int, degree: int) -> Residues:
    """psi^0 ... psi^(2 degree - 1), psi a 2 degree-th root of one of full order; the same for all degrees' towers."""
    generator = next(g for g in range(2, 100) if pow(g, (p - 1) // 2, p) == p - 1)  # no square: full power of two
    psi, found = pow(generator, (p - 1) // (2 * degree), p), [1]
    for _ in range(2 * degree - 1):
        found.append(found[-1] * psi % p)
    return np.array(found, np.uint64)
