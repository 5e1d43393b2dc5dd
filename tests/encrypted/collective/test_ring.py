"""Arithmetic beside obvious twins: Python's own integers."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chatfed.encrypted.collective import sampling, slots, wide
from chatfed.encrypted.collective.ring import PRIMES, Residues, ring, small_residues, times
from chatfed.encrypted.collective.sampling import COINS

SEED = bytes(range(32))


def schoolbook(left: list[int], right: list[int], p: int) -> list[int]:
    """The product modulo X^N + 1 and p."""
    n = len(left)
    found = [0] * n
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            found[(i + j) % n] += -a * b if i + j >= n else a * b
    return [each % p for each in found]


def kronecker(left: list[int], right: list[int], p: int) -> list[int]:
    """The same for long ones: X stands for 2^80, which no coefficient reaches."""
    n, width = len(left), 10
    one, two = (int.from_bytes(b"".join(c.to_bytes(width, "little") for c in each), "little") for each in (left, right))
    whole = (one * two).to_bytes(2 * width * n, "little")
    long = [int.from_bytes(whole[k : k + width], "little") for k in range(0, len(whole), width)]
    return [(low - high) % p for low, high in zip(long[:n], long[n:], strict=True)]


def drawn(degree: int, seed: int) -> Residues:
    generator = np.random.default_rng(seed)
    return np.stack([generator.integers(0, p, degree, np.uint64) for p in PRIMES])


def test_the_primes_are_the_largest_below_2_to_31_whose_rings_split_and_the_standard_allows_their_product() -> None:
    def prime(n: int) -> bool:
        return all(n % d for d in range(2, math.isqrt(n) + 1))

    candidates = range(2**31 - 2**14 + 1, 2**30, -(2**14))
    assert tuple(n for n in candidates[: (2**31 - PRIMES[-1]) // 2**14 + 1] if prime(n)) == PRIMES
    assert sum(map(math.log2, PRIMES)) < 217


@pytest.mark.parametrize("degree", [2, 16])
def test_a_product_by_transforms_is_that_of_the_schoolbook(degree: int) -> None:
    on = ring(degree)
    most = np.stack([np.full(degree, p - 1, np.uint64) for p in PRIMES])
    for left, right in ((drawn(degree, 1), drawn(degree, 2)), (most, most), (most, drawn(degree, 3))):
        found = on.inverse(times(on.forward(left), on.forward(right)))
        for k, p in enumerate(PRIMES):
            assert found[k].tolist() == schoolbook(left[k].tolist(), right[k].tolist(), p)


def test_a_product_of_degree_8192_is_that_of_integers() -> None:
    on, left, right = ring(8192), drawn(8192, 1)[3:4], drawn(8192, 2)[3:4]
    left[0, :2] = PRIMES[3] - 1
    found = on.inverse(times(on.forward(left, 3), on.forward(right, 3), 3), 3)
    assert found[0].tolist() == kronecker(left[0].tolist(), right[0].tolist(), PRIMES[3])


def test_there_and_back_changes_nothing_and_the_argument_stays_as_it_was() -> None:
    on, given_ = ring(64), np.stack([drawn(64, 5), drawn(64, 6)])
    kept = given_.copy()
    assert (on.inverse(on.forward(given_)) == kept).all() and (given_ == kept).all()


@pytest.mark.parametrize("element", [5, 25, 31])
def test_values_change_places_as_x_becomes_a_power(element: int) -> None:
    on, given_ = ring(16), drawn(16, 7)
    turned = np.zeros_like(given_)
    for i in range(16):
        place, sign = element * i % 16, element * i // 16 % 2
        for k, p in enumerate(PRIMES):
            turned[k, place] = (p - int(given_[k, i])) % p if sign else given_[k, i]
    assert (on.forward(given_)[:, on.automorphism(element)] == on.forward(turned)).all()


def test_small_numbers_of_either_sign_become_residues() -> None:
    numbers = np.array([0, 1, -1, 2**30 - 1, 1 - 2**30], np.int64)
    found = small_residues(numbers, 7)
    assert all(found[k].tolist() == [int(n) % p for n in numbers] for k, p in enumerate(PRIMES))


# Integers of 124 bits


@settings(max_examples=60, deadline=None)
@given(number=st.integers(0, math.prod(PRIMES[:4]) - 1), bits=st.integers(0, 119))
def test_numbers_are_lifted_shifted_and_reduced_as_integers_are(number: int, bits: int) -> None:
    limbs = wide.lifted(np.array([[number % p] for p in PRIMES[:4]], np.uint64))
    assert sum(int(limb[0]) << 30 * k for k, limb in enumerate(limbs)) == number
    moved = wide.shifted(limbs, bits)
    expected = (number + (1 << bits >> 1)) >> bits
    assert sum(int(limb[0]) << 30 * k for k, limb in enumerate(moved)) == expected
    below = 1 << 123 - bits
    assert wide.residues_of(moved, 6, below)[:, 0].tolist() == [(expected - below) % p for p in PRIMES[:6]]
    assert wide.floats_of(moved, below)[0] == pytest.approx(expected - below, rel=2**-50, abs=0)


# What is drawn


def test_streams_are_those_of_shake_and_labels_keep_them_apart() -> None:
    assert sampling.stream(SEED, "secret", 40) == hashlib.shake_256(SEED + b"\x06\x00secret").digest(40)
    assert sampling.stream(SEED, "secret", 40) != sampling.stream(SEED, "secreu", 40)


def test_uniform_residues_are_the_words_below_the_prime() -> None:
    content = sampling.stream(SEED, "u/2", 4 * 9000)
    words = [int.from_bytes(content[k : k + 4], "little") % 2**31 for k in range(0, len(content), 4)]
    assert sampling.uniform(SEED, "u", 3, 8000)[2].tolist() == [w for w in words if w < PRIMES[2]][:8000]


def test_errors_are_centred_binomial_and_secrets_ternary() -> None:
    errors = sampling.errors(SEED, "e", 1 << 16)
    chances = [math.comb(2 * COINS, COINS + k) / 4**COINS for k in range(-8, 9)]
    seen = [int((errors == k).sum()) for k in range(-8, 9)]
    rest, left = len(errors) - sum(seen), 1 - sum(chances)
    assert stats.chisquare([*seen, rest], [len(errors) * c for c in (*chances, left)]).pvalue > 1e-4
    assert np.abs(errors).max() <= COINS
    ternary = sampling.ternary(SEED, "t", 1 << 16)
    assert stats.chisquare(np.bincount(ternary + 1, minlength=3)).pvalue > 1e-4


def test_numbers_stand_in_slots_and_a_power_of_five_turns_them() -> None:
    values = np.random.default_rng(1).uniform(-1, 1, 32)
    numbers = slots.encode(values, 2.0**40)
    assert np.allclose(slots.decode(numbers.astype(float), 2.0**40), values, atol=1e-10)
    g, turned = slots.element(3, 64), np.zeros(64)
    for i, number in enumerate(numbers):
        turned[g * i % 64] = -number if g * i // 64 % 2 else number
    assert np.allclose(slots.decode(turned, 2.0**40), np.roll(values, -3), atol=1e-10)
