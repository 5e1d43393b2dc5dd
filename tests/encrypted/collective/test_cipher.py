"""Ciphertexts under a key of three parties: right sums and products, and what fewer parties see of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from chatfed.encrypted.collective import ciphertext, refresh, sampling
from chatfed.encrypted.collective.ciphertext import Ciphertext
from chatfed.encrypted.collective.errors import BadParameters, LevelsExhausted, TooFewParties
from chatfed.encrypted.collective.parameters import FLOOD_BITS, LOWEST, MASK_BITS, OPEN_BITS, TOP, Parameters
from chatfed.encrypted.collective.refresh import Fold, Map, Share
from chatfed.encrypted.collective.ring import PRIMES, minus, times
from chatfed.encrypted.errors import MalformedCiphertext
from tests.encrypted.collective.parties import CONTEXT, NAMES, Keys, integers, made

N, FEATURES, EXAMPLES, UNITS = 64, 4, 4, 2
NUMBERS = st.lists(st.floats(-8, 8), min_size=N // 2, max_size=N // 2).map(np.array)


@settings(max_examples=10, deadline=None)
@given(x=NUMBERS, y=NUMBERS)
def test_sums_and_products_are_those_in_clear(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    k = made()
    one, two = k.encrypted(x), k.encrypted(y, label="f")
    assert np.abs(k.decrypted(ciphertext.added(one, two)) - (x + y)).max() < 1e-8
    assert np.abs(k.decrypted(ciphertext.subtracted(one, two)) - (x - y)).max() < 1e-8
    assert np.abs(k.decrypted(ciphertext.less(k.ring, one, y)) - (x - y)).max() < 1e-8
    product = ciphertext.multiplied(k.ring, one, two, k.public)
    assert product.levels == TOP - 1 and np.abs(k.decrypted(product) - x * y).max() < 1e-6
    weights = ciphertext.plain(k.ring, y, 2.0**33, one.levels)
    assert np.abs(k.decrypted(ciphertext.weighed(k.ring, one, weights, 2.0**33)) - x * y).max() < 1e-6
    again = ciphertext.multiplied(k.ring, product, two, k.public)
    assert again.levels == LOWEST and np.abs(k.decrypted(again) - x * y * y).max() < 1e-5


def test_a_ciphertext_without_primes_left_says_so_and_whose_it_is() -> None:
    k = made()
    low = k.encrypted(np.ones(N // 2)).at(LOWEST)
    with pytest.raises(LevelsExhausted, match="ada has 4 primes left and needs 5") as caught:
        ciphertext.multiplied(k.ring, low, low, k.public)
    assert caught.value.party == "ada"
    with pytest.raises(LevelsExhausted):
        low.at(LOWEST + 1)


def test_only_the_ring_of_8192_is_called_secure() -> None:
    whole = Parameters(NAMES, 64, 8, 4, 1.0, bytes(32))
    assert whole.secure and whole.degree == 8192 and whole.examples == 8
    assert not Parameters(NAMES, 64, 8, 4, 1.0, bytes(32), 4096).secure


@pytest.mark.parametrize(
    "change",
    [
        {"parties": ("a", "a", "b")},
        {"parties": tuple("abcdefghi")},
        {"features": 3},
        {"hidden": 128},
        {"classes": 1},
        {"rate": float("nan")},
        {"session": b""},
        {"degree": 16384},
    ],
)
def test_parameters_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    given_ = {"parties": NAMES, "features": 64, "hidden": 8, "classes": 4, "rate": 1.0, "session": bytes(32)}
    with pytest.raises(BadParameters):
        Parameters(**(given_ | change))  # type: ignore[arg-type]


def test_two_parties_are_too_few() -> None:
    with pytest.raises(TooFewParties, match="2 parties are too few"):
        Parameters(NAMES[:2], 64, 8, 4, 1.0, bytes(32))


def test_all_shares_of_the_key_decrypt_and_all_but_one_see_uniform_numbers() -> None:
    k = made(256)
    one = k.encrypted(np.full(128, 3.0))
    assert np.abs(k.decrypted(one) - 3).max() < 1e-8
    for absent in range(3):
        some = [each for number, each in enumerate(k.secrets) if number != absent]
        for residues, prime in zip(k.residues(one, some), PRIMES, strict=False):
            seen = np.bincount((residues * np.uint64(8) // np.uint64(prime)).astype(int), minlength=8)
            assert stats.chisquare(seen).pvalue > 1e-5


def test_a_fresh_encryption_of_zero_changes_every_number() -> None:
    """What a party computed from its examples leaves under one: else c X, with c known, would tell X."""
    k = made()
    first, second = (ciphertext.zero(k.ring, k.public, LOWEST, bytes([s]) * 32) for s in (1, 2))
    assert (first != second).mean() > 0.99
    assert np.abs(k.decrypted(Ciphertext(first, 2.0**40, "ada"))).max() < 1e-8


# Refreshing


def refreshed(k: Keys, f: Map, one: Ciphertext, label: str = "l") -> tuple[Ciphertext, list[Share]]:
    seeds = [f"{label}{number}".encode().ljust(32) for number in range(3)]
    shares = [
        refresh.share(k.ring, f, one, secret, CONTEXT, label, seed)
        for secret, seed in zip(k.secrets, seeds, strict=True)
    ]
    return refresh.refreshed(k.ring, f, one, shares, CONTEXT, label), shares


def fold(stride: int, count: int) -> Map:
    kept = (np.arange(N // 2) // stride % count == 0).astype(float)
    return Map(10, fold=Fold(stride, count, ciphertext.plain(made().ring, kept, 2.0**31, TOP), 2.0**31))


def summed(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    cube = x.reshape(FEATURES, EXAMPLES, UNITS)
    return np.broadcast_to(cube.sum(axis=axis, keepdims=True), cube.shape).reshape(-1)


@pytest.mark.parametrize(
    ("f", "wanted"),
    [
        (Map(), lambda x: x),
        (Map(9), lambda x: x),
        (Map(-9), lambda x: x),
        (Map(3, gather=FEATURES), lambda x: summed(x, 0)),
        (fold(UNITS, EXAMPLES), lambda x: summed(x, 1)),
        (fold(1, UNITS), lambda x: summed(x, 2)),
        (fold(1, 1), lambda x: x),
    ],
)
def test_a_refreshed_ciphertext_holds_the_value_or_its_sums_and_all_levels(f: Map, wanted: object) -> None:
    k, x = made(), np.random.default_rng(2).uniform(-1, 1, N // 2)
    found, _ = refreshed(k, f, k.encrypted(x).at(LOWEST))
    assert found.levels == TOP - (f.fold is not None)
    assert np.abs(k.decrypted(found) - wanted(x)).max() < 2e-7  # type: ignore[operator]


def test_what_is_opened_in_a_refresh_is_uniform_whatever_is_refreshed() -> None:
    """Less what two parties know, their masks, it is the message under the third's: flat over the mask's range."""
    k = made(1024)
    for value in (0.0, 8.0):
        one = k.encrypted(np.full(512, value)).at(LOWEST)
        _, shares = refreshed(k, Map(), one, f"value {value}")
        opened = integers(k.ring.inverse(one.pair[0]))
        for each in shares:
            opened = [a + b for a, b in zip(opened, integers(each.opened), strict=True)]
        for seed in (f"value {value}0", f"value {value}1"):
            mask = sampling.limbs(seed.encode().ljust(32), "mask", 4, 1024)
            numbers = [sum(int(limb) << 30 * j for j, limb in enumerate(row)) - (1 << MASK_BITS) for row in mask.T]
            opened = [a - b for a, b in zip(opened, numbers, strict=True)]
        product = 1
        for p in PRIMES[:LOWEST]:
            product *= p
        under = [(each + product // 2) % product - product // 2 for each in opened]
        assert stats.kstest([each / 2**MASK_BITS for each in under], stats.uniform(-1, 2).cdf).pvalue > 1e-4


def test_a_share_missing_or_under_another_key_opens_nothing_and_is_noticed() -> None:
    k, other = made(), made(label="other")
    one = k.encrypted(np.ones(N // 2)).at(LOWEST)
    shares = [refresh.share(k.ring, Map(), one, s, CONTEXT, "l", bytes(32)) for s in k.secrets]
    wrong = refresh.share(k.ring, Map(), one, other.secrets[2], CONTEXT, "l", bytes(32))
    for some in (shares[:2], [*shares[:2], wrong]):
        with pytest.raises(MalformedCiphertext, match="another key") as caught:
            refresh.refreshed(k.ring, Map(), one, some, CONTEXT, "l")
        assert caught.value.party == "ada"


def test_what_is_shown_is_exact_but_for_the_noise_that_parties_leave_which_is_as_wide_as_said() -> None:
    k, bits = made(1024), 20
    one = k.encrypted(np.full(512, 2.0)).at(LOWEST)
    exact, _ = refreshed(k, Map(-OPEN_BITS), one, "exact")
    noisy, _ = refreshed(k, Map(-OPEN_BITS, noise_bits=bits), one, "wide")
    shown = []
    for each in (exact, noisy):
        parts = [refresh.opening(k.ring, each, s, bytes([n]) * 32) for n, s in enumerate(k.secrets)]
        shown.append(refresh.shown(k.ring, each, parts))
        with pytest.raises(MalformedCiphertext):
            refresh.shown(k.ring, each, parts[:2])
    assert np.abs(shown[0] - k.decrypted(one)).max() < 1e-11  # the error of `one` and nothing else
    variance = float(np.var(shown[1])) * 2.0**80 / 512  # of a coefficient: a slot's real part is a sum of 1024 / 2
    assert variance == pytest.approx(3 * 4.0**bits / 3, rel=0.2)


def test_an_opening_floods_the_error_by_2_to_the_65() -> None:
    k = made(1024)
    one, _ = refreshed(k, Map(-OPEN_BITS), k.encrypted(np.zeros(512)).at(LOWEST))
    part = refresh.opening(k.ring, one, k.secrets[0], bytes(32))
    product = k.ring.inverse(times(one.at(LOWEST).pair[1], k.secrets[0].values[:LOWEST]))
    flood = np.array(integers(minus(part, product)), float)
    assert stats.kstest(flood / 2.0**FLOOD_BITS, stats.uniform(-1, 2).cdf).pvalue > 1e-4
