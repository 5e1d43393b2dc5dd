"""A cipher whose keys add up as its messages do: c = a k + t e + m, for polynomials `a` that everybody works out.

After Zhang et al. 2017 and Stevens et al. 2021 (docs/encrypted.md). Each key, a small polynomial, encrypts one vector,
however long: the j-th 2048 coefficients with the j-th public polynomial. The sum of ciphertexts opens under the sum of
their keys, and under nothing less. Knows no participant and no share.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import primitives
from chatfed.secagg.lattice.discrete import Gaussian, Uniform
from chatfed.secagg.lattice.ntt import DEGREE, PRIMES, Residues, Transform, reduce
from chatfed.secagg.lattice.packing import Packing, Planes, Words, blocks, cipher_bytes
from chatfed.secagg.masking import RingVector
from chatfed.secagg.primitives import Buffer

POLYNOMIALS = 16  # at a time: what is computed for them stays in the second-level cache
Key = NDArray[np.int64]
INVERSE = float(pow(PRIMES[0], -1, PRIMES[1]))  # below p2 / 2, so that products with balanced residues are exact


def key_polynomial(seed: bytes) -> Key:
    """int64[2048], of magnitudes up to MOST, of 32 secret bytes."""
    return Gaussian(primitives.derive(seed, b"key polynomial")).take(DEGREE).astype(np.int64)


def encrypt(vector: RingVector, seed: bytes, turn: bytes, packing: Packing) -> bytes:
    """Ring vector -> its ciphertext under the key of `seed`. Serves once: the errors follow from seed and turn."""
    words = packing.words(vector)
    planes, errors = Planes(len(words)), Gaussian(primitives.derive(seed, b"errors", turn))
    modulus = float(1 << packing.modulus_bits)
    for start, products in _products(key_polynomial(seed), turn, len(words)):
        piece = words[start : start + products[0].size]
        noisy = errors.take(piece.size) * modulus + packing.spread(piece)
        planes.put(start, *(_residues(each, noisy, k) for k, each in enumerate(products)))
    return bytes(planes.data)


class CipherSum:
    """The running sum of ciphertexts, changed in place: O(d) whatever the number of participants."""

    def __init__(self, packing: Packing, length: int) -> None:
        self.packing, self.length, self.added = packing, length, 0
        self.count = packing.count(length)
        self.sums = np.zeros((len(PRIMES), self.count), np.uint64)

    def blank(self) -> CipherSum:
        """An empty one of the same size."""
        return CipherSum(self.packing, self.length)

    def add(self, ciphertext: Buffer) -> bool:
        """Whether it is one, of this size; else nothing is added."""
        if len(ciphertext) != cipher_bytes(self.count):
            return False
        planes, pieces = Planes(self.count, ciphertext), blocks(self.count, POLYNOMIALS)
        residues = [planes.get(*piece) for piece in pieces]
        if any(each is None for each in residues):
            return False
        for (start, end), both in zip(pieces, residues, strict=True):
            for sums, each in zip(self.sums, both or (), strict=True):
                np.add(sums[start:end], each, out=sums[start:end])
        self.added += 1
        return True


def decrypt(total: CipherSum, key: Key, turn: bytes) -> RingVector | None:
    """The exact sum of the vectors whose ciphertexts were added, under the sum of their keys; None under another.

    The errors tell: under another key that of each coefficient is uniform, and seldom within `Packing.likely_noise`.
    """
    packing, count = total.packing, total.count
    sums = np.empty(count, np.int64)
    bits, most = packing.modulus_bits, packing.likely_noise(total.added)
    for start, products in _products(key, turn, count):
        end = start + products[0].size
        left = [_balanced(total.sums[k, start:end] - each, k) for k, each in enumerate(products)]
        values = _lifted(*left)
        noise = values >> bits
        if max(int(noise.max()), -int(noise.min())) > most:
            return None
        sums[start:end] = values & ((1 << bits) - 1)
    return packing.gather(sums, total.length)


def _products(key: Key, turn: bytes, count: int) -> Iterator[tuple[int, list[Residues]]]:
    """(start, coefficients of a k modulo either prime, not reduced) of a few public polynomials after another."""
    most = min(POLYNOMIALS, -(-count // DEGREE))
    transforms = [Transform(prime, most) for prime in PRIMES]
    public = [
        Uniform(primitives.digest(b"public polynomials", turn, bytes([k])), prime) for k, prime in enumerate(PRIMES)
    ]
    keys = [each.forward(key[None].astype(np.float64)).copy() for each in transforms]
    for start, end in blocks(count, POLYNOMIALS):
        many = -(-(end - start) // DEGREE)
        products = []
        for transform, drawn, transformed in zip(transforms, public, keys, strict=True):
            values = drawn.take(many * DEGREE).reshape(many, DEGREE)
            values *= transformed
            transform.reduce(values)
            products.append(transform.inverse(values).reshape(-1)[: end - start])
        yield start, products


def _residues(product: Residues, noisy: Residues, k: int) -> Words:
    """The sum modulo the k-th prime, from 0 up."""
    balanced = _balanced(product + noisy, k).astype(np.int32)
    balanced += (balanced >> 31) & np.int32(PRIMES[k])
    return balanced.view(np.uint32)


def _balanced(values: Residues, k: int) -> Residues:
    reduce(values, PRIMES[k], np.empty_like(values))
    return values


def _lifted(first: Residues, second: Residues) -> NDArray[np.int64]:
    """The number modulo q, balanced, of its residues: first + p1 ((second - first) / p1 modulo p2)."""
    quotient = _balanced(second - first, 1)
    quotient = _balanced(quotient * INVERSE, 1)
    return first.astype(np.int64) + PRIMES[0] * quotient.astype(np.int64)
