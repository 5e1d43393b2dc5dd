"""Polynomials, Gaussian errors and the cipher that adds up, each beside an obvious twin."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy import stats

from chatfed.secagg import lattice, primitives
from chatfed.secagg.lattice import MOST, CipherSum, Packing, cipher, discrete, ntt, packing
from chatfed.secagg.lattice.ntt import DEGREE, PRIMES
from chatfed.secagg.masking import RingVector, ring_dtype

TURN, SEED = b"t" * 32, b"s" * 32
KEY = bytes(range(32))


def multiplied(left: list[int], right: list[int], prime: int) -> list[int]:
    """The product modulo X^2048 + 1, by Python's own integers: X stands for 2^80, which no coefficient reaches."""
    whole = [sum((c % prime) << 80 * i for i, c in enumerate(each)) for each in (left, right)]
    product = whole[0] * whole[1]
    long = [
        int.from_bytes(each, "little") for each in primitives.split(product.to_bytes(2 * 10 * DEGREE, "little"), 10)
    ]
    return [(low - high) % prime for low, high in zip(long[:DEGREE], long[DEGREE:], strict=True)]


@pytest.mark.parametrize("prime", PRIMES)
def test_a_product_by_transforms_is_that_of_integers(prime: int) -> None:
    generator, half = np.random.default_rng(prime), prime // 2
    left = np.stack([generator.integers(-half, half, DEGREE), np.full(DEGREE, half), np.full(DEGREE, -half)])
    right = np.stack([generator.integers(-MOST, MOST, DEGREE), np.full(DEGREE, MOST), np.full(DEGREE, half)])
    transform = ntt.Transform(prime, 3)
    values = transform.forward(left.astype(float)).copy() * transform.forward(right.astype(float))
    transform.reduce(values)
    found = transform.inverse(values)
    assert np.abs(found).max() < 2**46
    for k in range(3):
        assert (found[k].astype(np.int64) % prime).tolist() == multiplied(left[k].tolist(), right[k].tolist(), prime)


@pytest.mark.parametrize("prime", PRIMES)
def test_a_value_stands_where_the_page_says(prime: int) -> None:
    polynomial = np.random.default_rng(1).integers(-9, 9, DEGREE)
    values = ntt.Transform(prime, 1).forward(polynomial[None].astype(float))[0]
    psi = int(ntt._powers(prime)[1])
    assert pow(psi, DEGREE, prime) == prime - 1
    for k, column in ((0, 0), (1, 0), (0, 1), (31, 63), (5, 40)):
        root = pow(psi, 2 * (k + 32 * column) + 1, prime)
        exact = sum(int(c) * pow(root, i, prime) for i, c in enumerate(polynomial)) % prime
        assert int(values[64 * k + column]) % prime == exact


def test_the_primes_are_prime_the_largest_below_2_to_27_and_q_has_54_bits() -> None:
    def prime(n: int) -> bool:
        return all(n % d for d in range(2, math.isqrt(n) + 1))

    candidates = range(2**27 - 2**27 % 4096 + 1 - 4096, 2**26, -4096)
    assert tuple(n for n in candidates[:200] if prime(n))[:2] == PRIMES
    assert packing.MODULUS.bit_length() == 54


def test_balancing_is_exact_up_to_2_to_53() -> None:
    prime = PRIMES[0]
    near = [
        sign * (k * prime + d) for sign in (1, -1) for k in (0, 1, 2**25) for d in (0, 1, prime // 2, prime // 2 + 1)
    ]
    values = np.array([*near, 2**53 - 1, 1 - 2**53], float)
    found = values.copy()
    ntt.reduce(found, prime, np.empty_like(found))
    assert np.abs(found).max() < 2**26
    assert [int(f) % prime for f in found] == [int(v) % prime for v in values]


# Errors


def probability(magnitude: int) -> float:
    sigma = float(discrete.SIGMA)
    total = sum(math.exp(-(k**2) / (2 * sigma**2)) for k in range(-200, 201))
    return (2 if magnitude else 1) * math.exp(-(magnitude**2) / (2 * sigma**2)) / total


def test_the_table_is_that_of_a_discrete_gaussian_to_2_to_the_minus_56() -> None:
    table = discrete.thresholds()
    assert len(table) == MOST and list(table) == sorted(table, reverse=True)
    for k, threshold in enumerate(table, 1):
        assert threshold / 2**63 == pytest.approx(sum(probability(j) for j in range(k, 150)), rel=1e-9, abs=2**-60)
    with localcontext() as precise:
        precise.prec = 60
        weight = [(-Decimal(k * k) / (2 * discrete.SIGMA**2)).exp() for k in range(150)]
        total = weight[0] + 2 * sum(weight[1:])
        ends = [Decimal(2**63), *map(Decimal, table), Decimal(0)]
        ours = [(high - low) / 2**63 for high, low in itertools.pairwise(ends)] + [Decimal(0)] * 200
        ideal = [weight[0] / total, *(2 * each / total for each in weight[1:])]
        assert sum(abs(a - b) for a, b in zip(ours, ideal, strict=False)) / 2 < Decimal(2) ** -56


def test_the_sampler_is_its_obvious_twin_number_by_number() -> None:
    words = np.frombuffer(primitives.expand(KEY, 8 * 3000), "<u8").tolist()
    twin = [(-1) ** (word & 1) * sum(word >> 1 < threshold for threshold in discrete.thresholds()) for word in words]
    drawn = discrete.Gaussian(KEY)
    assert [*drawn.take(1000).tolist(), *drawn.take(2000).tolist()] == twin
    assert twin[:12] == KNOWN_ERRORS


def test_errors_are_distributed_as_a_discrete_gaussian() -> None:
    """Chi-square over magnitudes and signs of 2^19 numbers; the tail from 25 on is one cell."""
    drawn = discrete.Gaussian(b"e" * 32)
    counts = Counter[int]()
    for _ in range(16):
        counts.update(drawn.take(discrete.BLOCK).tolist())
    count = counts.total()
    cells = {(k, sign): probability(k) / (2 if k else 1) for k in range(25) for sign in ((1, -1) if k else (1,))}
    seen = [counts[k * sign] for k, sign in cells]
    expected = [count * p for p in cells.values()]
    seen, expected = [*seen, count - sum(seen)], [*expected, count - sum(expected)]
    assert stats.chisquare(seen, expected).pvalue > 1e-4


@pytest.mark.parametrize("prime", PRIMES)
def test_public_residues_are_the_stream_s_words_below_the_prime(prime: int) -> None:
    words = np.frombuffer(primitives.expand(KEY, 4 * 40_000), "<u4").tolist()
    twin = [word & (2**27 - 1) for word in words]
    twin = [each - 2**26 for each in twin if each < prime]
    drawn = discrete.Uniform(KEY, prime)
    assert np.concatenate([drawn.take(5), drawn.take(39_000)]).tolist() == twin[:39_005]


# Bytes


def test_coefficients_are_the_bytes_that_the_page_says_and_come_back() -> None:
    generator = np.random.default_rng(0)
    first, second = (generator.integers(0, p, 64, np.uint32) for p in PRIMES)
    first[:2], second[:2] = (0, PRIMES[0] - 1), (PRIMES[1] - 1, 0)
    planes = packing.Planes(64)
    planes.put(0, first[:32], second[:32])
    planes.put(32, first[32:], second[32:])
    numbers = [int(r) | int(s) << 27 for r, s in zip(first, second, strict=True)]
    low = b"".join((n & 0xFFFFFFFF).to_bytes(4, "little") for n in numbers)
    middle = b"".join((n >> 32 & 0xFFFF).to_bytes(2, "little") for n in numbers)
    groups = [numbers[k : k + 4] for k in range(0, 64, 4)]
    high = b"".join(sum((n >> 48) << 6 * j for j, n in enumerate(group)).to_bytes(3, "little") for group in groups)
    assert bytes(planes.data) == low + middle + high
    back = planes.get(0, 64)
    assert back is not None and [each.tolist() for each in back] == [first.tolist(), second.tolist()]


@pytest.mark.parametrize("k", [0, 1])
def test_what_is_no_residue_is_no_ciphertext_and_changes_no_sum(k: int) -> None:
    total, planes = CipherSum(Packing(32, 3), 8), packing.Planes(8)
    residues = [np.zeros(8, np.uint32), np.zeros(8, np.uint32)]
    residues[k][5] = PRIMES[k]
    planes.put(0, *residues)
    assert not total.add(planes.data) and not total.add(bytes(53)) and not total.add(b"")
    assert total.added == 0 and not total.sums.any()
    assert total.add(bytes(54))


# The cipher


def vectors(bits: int, count: int, length: int) -> list[RingVector]:
    """Extremes, and uniform ones."""
    generator, dtype = np.random.default_rng(bits), ring_dtype(bits)
    high = np.iinfo(dtype).max
    drawn = [generator.integers(0, high, length, dtype, endpoint=True) for _ in range(count - 2)]
    return [np.full(length, high, dtype), np.full(length, high, dtype), *drawn]


@pytest.mark.parametrize(
    ("bits", "count", "length"),
    [(16, 512, 301), (16, 136, 101), (16, 3, 5000), (21, 512, 133), (32, 2, 1), (32, 9, 2049)],
)
def test_a_sum_of_ciphertexts_opens_exactly_under_the_sum_of_keys_and_under_nothing_else(
    bits: int, count: int, length: int
) -> None:
    size = Packing(bits, count)
    given, total = vectors(bits, count, length), CipherSum(size, length)
    seeds = [i.to_bytes(32, "little") for i in range(count)]
    for seed, vector in zip(seeds, given, strict=True):
        assert total.add(lattice.encrypt(vector, seed, TURN, size))
    key = np.sum([lattice.key_polynomial(seed) for seed in seeds], axis=0)
    opened = lattice.decrypt(total, key, TURN)
    modulus = 1 << 8 * ring_dtype(bits).itemsize
    assert opened is not None and opened.dtype == ring_dtype(bits)
    assert opened.tolist() == [sum(int(v[k]) for v in given) % modulus for k in range(length)]
    if length > 1000:
        other = key.copy()
        other[7] += 1
        assert lattice.decrypt(total, other, TURN) is None
        assert lattice.decrypt(total, key - lattice.key_polynomial(seeds[0]), TURN) is None
        assert lattice.decrypt(total, key, b"u" * 32) is None


@pytest.mark.parametrize(("bits", "most"), [(16, 136), (21, 136), (32, 555)])
def test_up_to_some_cohort_a_sum_is_read_whatever_errors_are_drawn(bits: int, most: int) -> None:
    size = Packing(bits, most)
    t = 1 << size.modulus_bits
    worst = np.array([t * most * MOST + most * (t - 1), -t * most * MOST, 0, t - 1])
    residues = [np.array([(int(v) + p // 2) % p - p // 2 for v in worst], float) for p in PRIMES]
    assert cipher._lifted(*residues).tolist() == worst.tolist()
    assert 2 * most * MOST < 65521  # of a sum of keys out of shares


@pytest.mark.parametrize("bits", [16, 21, 32])
def test_the_largest_cohort_s_errors_of_20_deviations_are_read_and_one_more_participant_is_too_many(bits: int) -> None:
    most = Packing.most(bits)
    size, wide = Packing(bits, most), discrete.widest(most)
    assert size.fits and not Packing(bits, most + 1).fits and wide == math.ceil(20 * 6.4 * math.sqrt(most))
    t = 1 << size.modulus_bits
    edge = np.array([t * (wide + most) + t - 1, -t * wide])
    residues = [np.array([(int(v) + p // 2) % p - p // 2 for v in edge], float) for p in PRIMES]
    assert cipher._lifted(*residues).tolist() == edge.tolist()
    assert discrete.likely(most) < wide and 2 * most * MOST < 65521


@pytest.mark.parametrize(("participants", "bits", "least"), [(512, 16, 89), (512, 21, 23), (40, 16, 9), (555, 32, 5)])
def test_a_sum_is_long_enough_for_its_errors_to_show_another_key(participants: int, bits: int, least: int) -> None:
    """By counting the residues that are read as small errors: their share, to the power of coefficients, is 2^-40."""
    size = Packing(bits, participants)
    small = (2 * size.likely_noise(participants) + 1) * 2**size.modulus_bits

    def passes(length: int) -> bool:  # in integers
        count = size.count(length)
        return bool(small**count * 2**40 > packing.MODULUS**count)

    assert [passes(each) for each in (least - 1, least)] == [True, False]
    assert [size.shows_another_key(each) for each in (least - 1, least, 10**6)] == [False, True, True]


@pytest.mark.parametrize(("deviations", "bits"), [(12, 100), (20, 287)])
@pytest.mark.parametrize("count", [137, 512])
def test_errors_of_so_many_exceed_so_many_deviations_with_no_more_than_the_probability_that_is_said(
    deviations: int, bits: int, count: int
) -> None:
    """Chernoff's bound of the table as it is, rounding and end included: E exp(s X) ^ n exp(-s a), on either side."""
    with localcontext() as precise:
        precise.prec = 120
        ends = [Decimal(2**63), *map(Decimal, discrete.thresholds()), Decimal(0)]
        mass = [(high - low) / 2**63 for high, low in itertools.pairwise(ends)]
        sigma, above = discrete.SIGMA, deviations * discrete.SIGMA * Decimal(count).sqrt()
        s = above / (count * sigma * sigma)
        moment = sum(m * ((s * k).exp() + (-s * k).exp()) / 2 for k, m in enumerate(mass))
        assert 2 * moment**count * (-s * above).exp() < Decimal(2) ** -bits


@pytest.mark.parametrize("bits", [16, 21, 32])
def test_carries_of_a_whole_cohort_never_reach_the_next_element(bits: int) -> None:
    size, dtype = Packing(bits, Packing.most(bits)), ring_dtype(bits)
    high = np.full(5, np.iinfo(dtype).max, dtype)
    sums = size.spread(size.words(high)).astype(np.int64) * size.participants % (1 << size.modulus_bits)
    assert size.gather(sums, 5).tolist() == [size.participants * int(x) % (int(x) + 1) for x in high]


def test_a_ciphertext_is_the_known_one() -> None:
    data = lattice.encrypt(np.arange(10, dtype="<u2"), SEED, TURN, Packing(16, 5))
    assert len(data) == 54
    assert hashlib.sha256(data).hexdigest() == KNOWN_CIPHERTEXT
    assert lattice.key_polynomial(SEED)[:12].tolist() == KNOWN_KEY


def test_a_ciphertext_alone_looks_uniform_whatever_it_says() -> None:
    """Residues of zeros and of the largest vector, in 64 cells: what a test sees if RLWE holds, and no proof of it."""
    for value in (0, 0xFFFFFFFF):
        data = lattice.encrypt(np.full(1 << 16, value, np.uint32), SEED, TURN, Packing(32, 5))
        both = packing.Planes(1 << 16, data).get(0, 1 << 16)
        assert both is not None
        for residues, prime in zip(both, PRIMES, strict=True):
            seen = np.bincount(residues.astype(np.int64) * 64 // prime, minlength=64)
            assert stats.chisquare(seen).pvalue > 1e-4


KNOWN_ERRORS = [2, 3, 8, 6, 14, -7, -3, 1, -1, -3, -7, 3]
KNOWN_KEY = [3, -8, -5, 10, 0, 17, 3, 0, 2, 7, 8, -7]
KNOWN_CIPHERTEXT = "d0beac39d4f7ee7eee31c8656a1c62eec5c068677ec434527d9fdccf358509ae"
