"""Arithmetic and checks of a private vocabulary, beside whole numbers of Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.types import InvalidValue
from tests.training.private_vocabulary.dealing import agreement, dealt
from training.private_vocabulary.field import (
    MODULUS,
    challenge,
    evidence,
    multiply,
    recombined,
    rule,
    shares,
    total,
    uniform,
)
from training.private_vocabulary.shares import vector

EDGES = st.sampled_from([0, 1, MODULUS - 1, MODULUS - 2, 1 << 60, (1 << 31) - 1, 1 << 31, (1 << 30) + 1])
NUMBERS = st.lists(st.one_of(EDGES, st.integers(0, MODULUS - 1)), min_size=1, max_size=30)


@given(NUMBERS)
def test_products_and_sums_are_those_of_whole_numbers(numbers: list[int]) -> None:
    left = np.array(numbers, np.uint64)
    for turn in range(len(numbers)):
        right = np.roll(left, turn)
        expected = [int(a) * int(b) % MODULUS for a, b in zip(left, right, strict=True)]
        assert multiply(left, right).tolist() == expected
    assert int(total(left)) == sum(numbers) % MODULUS


def test_a_sum_of_many_largest_numbers_does_not_overflow() -> None:
    assert int(total(np.full(100_000, MODULUS - 1, np.uint64))) == 100_000 * (MODULUS - 1) % MODULUS


@given(NUMBERS, st.binary(min_size=1, max_size=8))
def test_three_shares_give_the_vector_and_products_of_shares_the_product(numbers: list[int], seed: bytes) -> None:
    secret = np.array(numbers, np.uint64)
    given_out = shares(secret, uniform(seed, len(numbers)))
    assert recombined(given_out).tolist() == numbers
    squares = [each * each % MODULUS for each in numbers]
    assert recombined([multiply(each, each) for each in given_out]).tolist() == squares


def test_one_partys_shares_are_uniform_whatever_the_vector() -> None:
    """Chi-square of the highest four bits, and every share fits every secret: share = secret + (party + 1) slope."""
    for word in (0, 1):
        held = shares(np.full(32_000, word, np.uint64), uniform(b"seed %d" % word, 32_000))[1]
        counts = np.bincount((held >> np.uint64(57)).astype(int), minlength=16)
        assert float(((counts - 2000) ** 2 / 2000).sum()) < 45  # 15 degrees of freedom: 99.99 % below


def test_drawn_numbers_are_below_the_modulus_and_follow_from_the_seed() -> None:
    drawn = uniform(b"seed", 1000)
    assert (drawn < MODULUS).all() and (uniform(b"seed", 10) == drawn[:10]).all() and len(set(drawn.tolist())) == 1000


def checked(vectors: np.ndarray, spoil: tuple[int, int, int] | None = None) -> list[bool]:
    agreed = agreement()
    held = dealt(vectors)
    if spoil:
        party, client, entry = spoil
        held[party] = held[party].copy()
        held[party][client, entry] = (int(held[party][client, entry]) + 1) % MODULUS
    drawn = challenge(b"drawn afterwards", agreed.width)
    found = recombined([evidence(each, party, agreed.most_words, drawn) for party, each in enumerate(held)])
    return [int(each) == 0 for each in found]


HONEST = np.stack([vector(chosen, agreement()) for chosen in ([], [0], [1, 5], [0, 1, 2, 3])])


def test_honest_vectors_pass_the_check_whatever_they_hold() -> None:
    assert checked(HONEST) == [True] * 4


@pytest.mark.parametrize(
    ("entry", "value"), [(0, 2), (0, MODULUS - 1), (9, 5), (0, (MODULUS + 1) // 2)], ids=["2", "-1", "filler", "half"]
)
def test_an_entry_that_is_no_bit_is_found_though_the_sum_is_right(entry: int, value: int) -> None:
    vectors = HONEST.copy()
    vectors[1, entry] = value
    short = int(vectors[1].astype(object).sum()) - 4
    vectors[1, 5] = (int(vectors[1, 5]) - short) % MODULUS
    assert checked(vectors) == [True, False, True, True]


@pytest.mark.parametrize("ones", [3, 5, 10])
def test_more_or_fewer_ones_than_agreed_are_found(ones: int) -> None:
    vectors = HONEST.copy()
    vectors[2] = 0
    vectors[2, :ones] = 1
    assert checked(vectors) == [True, True, False, True]


@given(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9))
def test_a_share_off_the_line_is_found(party: int, client: int, entry: int) -> None:
    assert checked(HONEST, (party, client, entry)) == [each != client for each in range(4)]


def test_values_that_recombine_to_bits_off_a_line_are_found() -> None:
    """Shares on a parabola through 0: recombining alone would see an honest 0."""
    agreed, held = agreement(), dealt(HONEST)
    for party in range(3):
        held[party] = held[party].copy()
        held[party][0, 2] = (int(held[party][0, 2]) + 7 * (party + 1) ** 2) % MODULUS
    drawn = challenge(b"drawn", agreed.width)
    assert recombined(held)[0, 2] == HONEST[0, 2]
    found = recombined([evidence(each, party, agreed.most_words, drawn) for party, each in enumerate(held)])
    assert [int(each) == 0 for each in found] == [False, True, True, True]


@given(st.integers(1, 40), st.integers(0, 40))
def test_the_rule_is_zero_on_one_side_of_the_threshold(least: int, beyond: int) -> None:
    clients = least + beyond
    coefficients, above = rule(least, clients)
    for count in range(clients + 1):
        value = sum(each * count**power for power, each in enumerate(coefficients)) % MODULUS
        assert ((value == 0) == above) == (count >= least)
    assert len(coefficients) <= clients // 2 + 2


@pytest.mark.parametrize(("least", "clients"), [(0, 5), (6, 5), (-1, 5)])
def test_a_threshold_that_is_none_is_refused(least: int, clients: int) -> None:
    with pytest.raises(InvalidValue, match="threshold"):
        rule(least, clients)
