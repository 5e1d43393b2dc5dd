"""Secret sharing against a big-integer twin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import shamir
from chatfed.secagg.shamir import LIMBS, PRIME
from tests.secagg.rounds import entropy_from


def interpolate_at_zero(points: list[tuple[int, int]]) -> int:
    """Lagrange's formula in Python integers."""
    total = 0
    for i, (xi, yi) in enumerate(points):
        term = yi
        for j, (xj, _) in enumerate(points):
            if i != j:
                term = term * xj * pow(xj - xi, -1, PRIME) % PRIME
        total += term
    return total % PRIME


def twin_combine(xs: list[int], shares: np.ndarray) -> bytes:
    limbs = [interpolate_at_zero([(x, int(row[k])) for x, row in zip(xs, shares, strict=True)]) for k in range(LIMBS)]
    return sum(limb << (15 * k) for k, limb in enumerate(limbs)).to_bytes(32, "little")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.data())
def test_any_threshold_of_shares_recovers_as_the_twin_does(n, data):
    t = data.draw(st.integers(1, n))
    points = data.draw(st.lists(st.integers(1, PRIME - 1), min_size=n, max_size=n, unique=True))
    secrets = data.draw(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3))
    shares = shamir.share(secrets, points, t, entropy_from(data.draw(st.integers(0, 99))))
    chosen = data.draw(st.permutations(range(n)))[:t]
    xs = [points[k] for k in chosen]
    assert shamir.combine(xs, shares[chosen]) == secrets
    assert [twin_combine(xs, shares[chosen][:, m]) for m in range(len(secrets))] == secrets


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, bytes([1]) + bytes(31), bytes(31) + bytes([128])])
def test_extreme_secrets_survive_the_limbs(secret):
    assert shamir.from_limbs(shamir.to_limbs(secret)) == secret
    shares = shamir.share([secret], range(1, 101), 51, entropy_from(1))
    assert shamir.combine(range(50, 101), shares[49:]) == [secret]


def test_matrix_product_is_exact_where_float64_could_lose():
    left = np.full((3, 2000), PRIME - 1, dtype=np.int64)
    right = np.full((2000, 2), PRIME - 1, dtype=np.int64)
    assert np.all(shamir._product(left, right) == 2000 * (PRIME - 1) ** 2 % PRIME)


def test_fewer_than_threshold_shares_look_the_same_for_every_secret():
    """t - 1 = 2 shares of extreme secrets: jointly uniform over an 8 x 8 grid, chi-square with 63 degrees."""
    for secret in (bytes(32), b"\xff" * 32):
        counts = np.zeros((8, 8))
        entropy = entropy_from(secret.hex())
        for _ in range(400):
            shares = shamir.share([secret], [1, 2, 3], 3, entropy)[:2, 0].astype(np.int64)
            np.add.at(counts, (shares[0] * 8 // PRIME, shares[1] * 8 // PRIME), 1)
        mean = counts.sum() / 64
        assert 25 < float(((counts - mean) ** 2 / mean).sum()) < 125


def test_fewer_than_threshold_shares_fit_every_secret():
    """Given two shares of three, each value of the secret's limb has exactly one third share."""
    shares = shamir.share([b"\x5a" * 32], [1, 2, 3], 3, entropy_from(2))[:, 0, 0]
    known = [(1, int(shares[0])), (2, int(shares[1]))]
    thirds = {interpolate_at_zero([*known, (3, y)]) for y in range(0, PRIME, 97)}
    assert len(thirds) == len(range(0, PRIME, 97))


def test_combining_wrong_or_too_few_shares_is_no_secret_or_another_one():
    secret = b"\x11" * 32
    shares = shamir.share([secret], range(1, 6), 3, entropy_from(4))
    assert shamir.combine([1, 2], shares[:2]) != [secret]
    assert shamir.combine([1, 2, 4], shares[:3]) != [secret]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 7), st.data())
def test_wrong_points_are_told_up_to_half_the_spare_shares(t, spare, data):
    n = t + spare
    shares = shamir.share([b"\x42" * 32], range(1, n + 1), t, entropy_from(n))[:, 0].copy()
    wrong = data.draw(st.sets(st.integers(1, n), max_size=spare // 2))
    for x in wrong:
        limb = data.draw(st.integers(0, LIMBS - 1))
        shares[x - 1, limb] = (int(shares[x - 1, limb]) + data.draw(st.integers(1, PRIME - 1))) % PRIME
    assert shamir.wrong_points(range(1, n + 1), shares, t) == wrong


def test_more_wrong_points_than_can_be_told_are_not_guessed():
    shares = shamir.share([b"\x42" * 32], range(1, 8), 3, entropy_from(1))[:, 0].copy()
    for x in (1, 2, 3):
        shares[x - 1] = (shares[x - 1].astype(np.int64) + 1000 * x * x * x) % PRIME
    assert shamir.wrong_points(range(1, 8), shares, 3) is None


@pytest.mark.parametrize(("points", "t"), [([1, 2], 3), ([1, 1], 2), ([0, 1], 2), ([1, PRIME], 2), ([1, 2], 0)])
def test_unsound_sharing_is_refused(points, t):
    with pytest.raises(ValueError, match="cannot share"):
        shamir.share([bytes(32)], points, t, entropy_from(0))


def test_coefficients_are_uniform_by_rejection():
    stream = itertools.chain.from_iterable(itertools.repeat((0xFFF0, 0xFFF1, 0xFFFF, 7)))
    values = shamir._uniform(6, lambda size: np.array([next(stream) for _ in range(size // 2)], "<u2").tobytes())
    assert values.tolist() == [0xFFF0, 7, 0xFFF0, 7, 0xFFF0, 7]
