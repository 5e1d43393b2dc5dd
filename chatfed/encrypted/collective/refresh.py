"""Collective refresh: all parties together bring a ciphertext back to all its primes, and nobody sees what is in it.

After Mouchet et al. 2021 (section 4.4) and Sav et al. 2020: each party gives c1 s_i + M_i for a fresh mask M_i, an
integer of 119 bits. All of these and c0 add up to V = scale x message + error + sum of the masks, which everybody may
see. Each party also gives an encryption of -f(M_i) under its share of the key with a public polynomial a, and
(f(V) + their sum, a) encrypts f(message). f is any map of integer polynomials that is linear but for rounding, the
same for all: a shift to another scale, a sum over slots, their spreading. So there are no keys for rotations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import MalformedCiphertext
from . import sampling, wide
from .ciphertext import Ciphertext, rescaled
from .keys import Secret, public_polynomial
from .parameters import FLOOD_BITS, LOWEST, MASK_BITS, OPEN_BITS, TOP
from .ring import Residues, Ring, minus, plus, small_residues, times
from .slots import Slots, decode, element


@dataclass(frozen=True, eq=False)
class Fold:
    """Sums `count` slots that stand `stride` apart, keeps the sums of those slots that are `kept`, and spreads them."""

    stride: int
    count: int
    kept: Residues = field(repr=False)  # uint64[6, N], of `plain`: slots of zeros and ones
    scale: float  # of the ones; the result is rescaled by one prime

    def __call__(self, ring: Ring, values: Residues) -> Residues:
        """Of values uint64[L, N]."""
        return self._spread(ring, times(self._spread(ring, values, 1), self.kept), -1)

    def _spread(self, ring: Ring, values: Residues, way: int) -> Residues:
        step = 1
        while step < self.count:
            turned = ring.automorphism(element(way * step * self.stride, ring.degree))
            values = plus(values, values[:, turned])
            step *= 2
        return values


@dataclass(frozen=True, eq=False)
class Map:
    """What a refresh does beside refreshing: f of the module's first lines."""

    shift: int = 0  # the scale is divided by 2^shift
    gather: int = 1  # sums so many slots that stand N / 2 / gather apart, and puts their sum in each of them
    fold: Fold | None = None
    noise_bits: int | None = None  # each party leaves uniform noise below 2^noise_bits in every coefficient

    def scale(self, before: float) -> float:
        """Of the refreshed ciphertext, before it is rescaled."""
        found = before / self.gather / 2.0**self.shift
        return found * self.fold.scale if self.fold else found

    def __call__(self, ring: Ring, limbs: wide.Limbs, less_bits: int, noise: NDArray[np.int64] | None) -> Residues:
        """Values uint64[6, N] of an integer polynomial: limbs less 2^less_bits, plus noise before a shift up.

        A sum over a subgroup of turns leaves every gather-th coefficient, times gather, and no other: these alone are
        in `limbs`, and the factor is in the scale.
        """
        down = max(self.shift, 0)
        some = wide.residues_of(wide.shifted(limbs, down), TOP, 1 << less_bits - down)
        if noise is not None:
            some = plus(some, small_residues(noise, TOP))
        if self.shift < 0:
            some = times(some, wide.column_of_power(-self.shift, TOP))
        whole = np.zeros((TOP, ring.degree), np.uint64)
        whole[:, :: self.gather] = some
        values = ring.forward(whole)
        return self.fold(ring, values) if self.fold else values


@dataclass(frozen=True, eq=False)
class Share:
    """What a party gives to a refresh."""

    opened: Residues = field(repr=False)  # uint64[4, N / gather], coefficients: c1 s_i + M_i
    renewed: Residues = field(repr=False)  # uint64[6, N], values: -a s_i - f(M_i) + an error


def share(ring: Ring, f: Map, one: Ciphertext, secret: Secret, context: bytes, label: str, seed: bytes) -> Share:
    """A party's share in refreshing `one`. context, label: of the public polynomial, which serves once."""
    lowest = one.at(LOWEST)
    opened = ring.inverse(times(lowest.pair[1], secret.values[:LOWEST]))[:, :: f.gather]
    mask = sampling.limbs(seed, "mask", 4, opened.shape[1])
    opened = plus(opened, wide.residues_of(mask, LOWEST, 1 << MASK_BITS))
    noise = None
    if f.noise_bits is not None:
        noise = sampling.within(seed, "smudge", f.noise_bits, opened.shape[1])
    hidden = f(ring, mask, MASK_BITS, noise)
    a = public_polynomial(context, label, TOP, ring.degree)
    error = ring.forward(small_residues(sampling.errors(seed, "renewed", ring.degree), TOP))
    return Share(opened, minus(error, plus(times(a, secret.values[:TOP]), hidden)))


def refreshed(ring: Ring, f: Map, one: Ciphertext, shares: list[Share], context: bytes, label: str) -> Ciphertext:
    """The ciphertext of f(message), of all shares; on all primes, or one less after a fold.

    Raises MalformedCiphertext naming the ciphertext's party where what is opened is larger than masks make it: some
    share is under another key.
    """
    opened = opened_of(ring, one, [each.opened for each in shares], f.gather)
    values = f(ring, opened, wide.OFFSET_BITS, None)
    for each in shares:
        values = plus(values, each.renewed)
    pair = np.stack([values, public_polynomial(context, label, TOP, ring.degree)])
    found = Ciphertext(pair, f.scale(one.scale), one.party)
    return rescaled(ring, found) if f.fold else found


def opened_of(ring: Ring, one: Ciphertext, shares: list[Residues], gather: int = 1) -> wide.Limbs:
    """2^123 + c0 + all shares, as integers."""
    total = ring.inverse(one.at(LOWEST).pair[0])[:, ::gather]
    for each in shares:
        total = plus(total, each)
    limbs = wide.lifted(plus(total, wide.column_of_power(wide.OFFSET_BITS, LOWEST)))
    if not wide.near_offset(limbs, (len(shares) + 0.01) * 2.0**MASK_BITS):
        raise MalformedCiphertext(one.party, "ciphertext", "it, or a share in opening it, is under another key")
    return limbs


def opening(ring: Ring, one: Ciphertext, secret: Secret, seed: bytes) -> Residues:
    """A party's share in showing a ciphertext that was refreshed with shift -OPEN_BITS: uint64[4, N]."""
    lowest = one.at(LOWEST)
    flood = sampling.limbs(seed, "flood", 3, ring.degree)
    flood[2] &= np.uint64((1 << FLOOD_BITS + 1 - 2 * sampling.LIMB_BITS) - 1)
    hidden = wide.residues_of(flood, LOWEST, 1 << FLOOD_BITS)
    return plus(ring.inverse(times(lowest.pair[1], secret.values[:LOWEST])), hidden)


def shown(ring: Ring, one: Ciphertext, shares: list[Residues]) -> Slots:
    """The message of all openings, less what flooded its errors: exact."""
    limbs = wide.shifted(opened_of(ring, one, shares), OPEN_BITS)
    return decode(wide.floats_of(limbs, 1 << wide.OFFSET_BITS - OPEN_BITS), one.scale / 2.0**OPEN_BITS)
