"""Ring vectors as coefficients that add up exactly, and coefficients modulo q as bytes. Knows no key.

Two elements of 16 bits share a coefficient, with room between them for the carries of a whole cohort; one of 32 bits
has one to itself; one of 64 bits (that carries three fields of 21) is two of 32, with room above. Sums are exact modulo
2^16, 2^32 or 2^64, which is the ring's own arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg.lattice.discrete import MOST, likely, widest
from chatfed.secagg.lattice.ntt import DEGREE, PRIMES, Residues
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.primitives import Buffer
from chatfed.secagg.shamir import PRIME as SHARE_PRIME

Words = NDArray[np.uint32]
MODULUS = PRIMES[0] * PRIMES[1]  # q, of 54 bits
WORD = 32  # bits of a ring vector in one coefficient
GROUP = 4  # coefficients that fill whole bytes
UNSEEN_BITS = 40  # a sum that is too short for its errors to tell of another key but for 2^-40 is none


@dataclass(frozen=True)
class Packing:
    """How ring vectors of a width, of so many participants, are carried.

    A sum of n ciphertexts, less `a` times the sum of their keys, is t E + M modulo q, where M, below t, is the sum of
    the messages modulo t, and E the sum of their n errors and of how often the messages wrapped around t, less than n.
    Where t (|E| + 1) is at most q / 2 the number itself is read out of its residue: `fits`. n errors are together n
    MOST at the most, by their table, and 20 deviations but for probability 2^-287 (`widest`), whichever is less.
    """

    ring_bits: int
    participants: int

    @property
    def headroom(self) -> int:
        """Bits for the carries of the cohort's sum; none where the whole coefficient is one element of the ring."""
        return 0 if self.ring_bits == WORD else (self.participants - 1).bit_length()

    @property
    def modulus_bits(self) -> int:
        """log2 of t, the plaintext modulus."""
        return WORD + self.headroom

    @property
    def fits(self) -> bool:
        """Whether the whole cohort's sum is read exactly, and so is the sum of its keys out of shares."""
        noise = (widest(self.participants) + self.participants + 1) << self.modulus_bits <= MODULUS // 2
        return noise and 2 * self.participants * MOST < SHARE_PRIME

    @staticmethod
    def likely_noise(added: int) -> int:
        """|E| of a sum of so many, but for probability 2^-100 of each coefficient: 12 deviations, and the carries."""
        return likely(added) + added

    def shows_another_key(self, length: int) -> bool:
        """Whether a sum of so many elements, opened under another key, is seen to be, but for probability 2^-40.

        Its errors are uniform then; each coefficient's is as small as `likely_noise` with the probability counted here.
        """
        passing = ((2 * self.likely_noise(self.participants) + 1) << self.modulus_bits) / MODULUS
        return self.count(length) * math.log2(passing) <= -UNSEEN_BITS

    @staticmethod
    def most(ring_bits: int) -> int:
        """Participants that a ring of this width bears.

        >>> [Packing.most(bits) for bits in (16, 21, 32)]
        [512, 512, 555]
        """
        return _most(ring_bits)

    def count(self, length: int) -> int:
        """Coefficients that carry ring elements, in whole groups."""
        words = -(-length * ring_dtype(self.ring_bits).itemsize // 4)
        return -(-words // GROUP) * GROUP

    def words(self, vector: RingVector) -> Words:
        """uint32[count]: the vector, 32 bits at a time."""
        data = np.zeros(self.count(len(vector)), "<u4")
        data.view(vector.dtype)[: len(vector)] = vector
        return data

    def spread(self, words: Words) -> Residues:
        """Coefficients below t of some words, as float64."""
        if self.ring_bits != 16:
            return words.astype(np.float64)
        low, high = words & np.uint32(0xFFFF), words >> np.uint32(16)
        return high * float(1 << 16 + self.headroom) + low

    def gather(self, sums: NDArray[np.int64], length: int) -> RingVector:
        """The ring vector that coefficients int64[count], below t, are the sum of."""
        if self.ring_bits == 16:
            pairs = np.stack([sums, sums >> (16 + self.headroom)], axis=1)
            return pairs.astype(np.uint16).reshape(-1)[:length]
        if self.ring_bits == WORD:
            return sums[:length].astype(np.uint32)
        whole = sums.astype(np.uint64)
        together: NDArray[np.uint64] = whole[0::2] + (whole[1::2] << np.uint64(WORD))
        return together[:length]


@cache
def _most(ring_bits: int) -> int:
    return max(n for n in range(2, SHARE_PRIME // MOST) if Packing(ring_bits, n).fits)


def cipher_bytes(count: int) -> int:
    """Length of so many coefficients, 54 bits each."""
    return count // GROUP * 27


class Planes:
    """Coefficients modulo q as bytes: r + 2^27 s, of residues r and s modulo either prime, is a number of 54 bits.

    Its lowest 32 bits stand as u32s, the next 16 as u16s; of the 6 above, those of four numbers share 3 bytes.
    """

    def __init__(self, count: int, data: Buffer | None = None) -> None:
        self.data = bytearray(cipher_bytes(count)) if data is None else data
        self.low = np.frombuffer(self.data, "<u4", count)
        self.middle = np.frombuffer(self.data, "<u2", count, 4 * count)
        self.high = np.frombuffer(self.data, np.uint8, 3 * count // GROUP, 6 * count).reshape(-1, 3)

    def put(self, start: int, first: Words, second: Words) -> None:
        """Writes residues from a multiple of GROUP on."""
        end = start + len(first)
        self.low[start:end] = first | second << np.uint32(27)
        second = second >> np.uint32(5)
        self.middle[start:end] = second.astype("<u2")
        a, b, c, d = (second >> np.uint32(16)).astype(np.uint8).reshape(-1, GROUP).T
        high = self.high[start // GROUP : end // GROUP]
        high[:, 0], high[:, 1], high[:, 2] = a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2

    def get(self, start: int, end: int) -> tuple[Words, Words] | None:
        """Residues modulo either prime; None where one is not below its prime."""
        a, b, c = self.high[start // GROUP : end // GROUP].T
        top = np.stack([a & 63, (a >> 6 | b << 2) & 63, (b >> 4 | c << 4) & 63, c >> 2], axis=1).reshape(-1)
        low = self.low[start:end]
        first = low & np.uint32((1 << 27) - 1)
        second = low >> np.uint32(27) | self.middle[start:end].astype(np.uint32) << np.uint32(5)
        second |= top.astype(np.uint32) << np.uint32(21)
        return (first, second) if first.max() < PRIMES[0] and second.max() < PRIMES[1] else None


def blocks(count: int, size: int) -> list[tuple[int, int]]:
    """[start, end) of pieces of whole polynomials, but for the last."""
    step = size * DEGREE
    return [(start, min(start + step, count)) for start in range(0, count, step)]
