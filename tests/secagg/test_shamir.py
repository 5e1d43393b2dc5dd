"""Secret sharing against a big-integer twin."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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
def test_any_threshold_of_shares_recovers_as_the_twin_does(n: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, n))
    points = data.draw(st.lists(st.integers(1, PRIME - 1), min_size=n, max_size=n, unique=True))
    secrets = data.draw(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3))
    shares = shamir.share(secrets, points, t, entropy_from(data.draw(st.integers(0, 99))))
    chosen = data.draw(st.permutations(range(n)))[:t]
    xs = [points[k] for k in chosen]
    assert shamir.combine(xs, shares[chosen]) == secrets
    assert [twin_combine(xs, shares[chosen][:, m]) for m in range(len(secrets))] == secrets
    each = [data.draw(st.permutations(range(n)))[:t] for _ in secrets]
    own = np.stack([shares[some, m] for m, some in enumerate(each)])
    assert shamir.combine_each([tuple(points[k] for k in some) for some in each], own) == secrets


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, bytes([1]) + bytes(31), bytes(31) + bytes([128])])
def test_extreme_secrets_survive_the_limbs(secret: bytes) -> None:
    assert shamir.from_limbs(shamir.to_limbs(secret)[None]) == [secret]
    shares = shamir.share([secret], range(1, 101), 51, entropy_from(1))
    assert shamir.combine(range(50, 101), shares[49:]) == [secret]


@given(st.lists(st.lists(st.integers(0, PRIME - 1), min_size=LIMBS, max_size=LIMBS), min_size=1, max_size=4), st.data())
def test_limbs_of_no_secret_give_none_and_others_their_bytes(rows: list[list[int]], data: st.DataObject) -> None:
    """Against Python's integers: a limb of more than 15 bits, and a number of more than 256."""
    for row in rows:
        if data.draw(st.booleans()):
            row[:] = [limb & 0x7FFF for limb in row]
            row[-1] &= data.draw(st.sampled_from([1, 0x7FFF]))  # 17 limbs of 15 bits and one bit are 256
    wanted = []
    for row in rows:
        number = sum(limb << 15 * i for i, limb in enumerate(row))
        fits = max(row) < 1 << 15 and number < 1 << 256
        wanted.append(number.to_bytes(32, "little") if fits else None)
    assert shamir.from_limbs(np.array(rows, dtype=np.int64)) == wanted


def test_matrix_product_is_exact_where_float64_could_lose() -> None:
    left = np.full((3, 2000), PRIME - 1, dtype=np.int64)
    right = np.full((2000, 2), PRIME - 1, dtype=np.int64)
    assert np.all(shamir._product(left, right) == 2000 * (PRIME - 1) ** 2 % PRIME)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=5), st.data())
def test_combinations_of_shares_are_shares_of_the_combination(n: int, factors: list[int], data: st.DataObject) -> None:
    """Share, scale, add, reconstruct; the twin works on limbs in Python integers."""
    t = data.draw(st.integers(1, n))
    points = data.draw(st.lists(st.integers(1, PRIME - 1), min_size=n, max_size=n, unique=True))
    pairs = [data.draw(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=2)) for _ in factors]
    total = np.zeros((n, 2, LIMBS), dtype=np.uint16)
    for k, (secrets, factor) in enumerate(zip(pairs, factors, strict=True)):
        total = shamir.add(total, shamir.scale(shamir.share(secrets, points, t, entropy_from(k)), factor))
    assert total.dtype == np.uint16 and int(total.max()) < PRIME
    chosen = data.draw(st.permutations(range(n)))[:t]
    limbs = shamir.combine_limbs([points[k] for k in chosen], total[chosen])
    for m in range(2):
        numbers = [int.from_bytes(secrets[m], "little") for secrets in pairs]
        for i in range(LIMBS):
            cut = [number >> 15 * i & 0x7FFF for number in numbers]
            assert limbs[m, i] == sum(f * limb for f, limb in zip(factors, cut, strict=True)) % PRIME


def test_arithmetic_of_shares_is_modular_at_the_extremes() -> None:
    top = np.full(LIMBS, PRIME - 1, dtype=np.uint16)
    assert np.all(shamir.add(top, top) == PRIME - 2)
    assert np.all(shamir.scale(top, PRIME - 1) == 1) and np.all(shamir.scale(top, -1) == 1)
    assert not shamir.scale(top, PRIME).any()


def test_sum_of_secrets_is_read_limb_by_limb_and_is_no_secret() -> None:
    """Limbs of a sum leave 15 bits and are not carried: combine gives no secret, combine_limbs what they are."""
    full, small = b"\xff" * 32, bytes([3]) + bytes(31)
    points = [5, 9, 11]
    total = shamir.add(*(shamir.share([s], points, 2, entropy_from(s.hex())) for s in (full, small)))
    assert shamir.combine(points[:2], total[:2]) == [None]
    assert shamir.combine_limbs(points[:2], total[:2])[0].tolist() == [0x7FFF + 3, *[0x7FFF] * 16, 1]


@pytest.mark.parametrize("points", [[1, 2, 1], [0, 1], [PRIME, 1], [1, PRIME + 1]])
def test_unsound_points_are_not_combined(points: Sequence[int]) -> None:
    with pytest.raises(ValueError, match="differ"):
        shamir.combine(points, np.zeros((len(points), 1, LIMBS), dtype=np.uint16))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, PRIME - 1), min_size=1, max_size=30, unique=True), st.integers(1, 40))
def test_weights_and_powers_are_those_of_the_twin(points: list[int], count: int) -> None:
    weights = shamir.lagrange_at_zero(tuple(points))
    for i, weight in enumerate(weights):
        assert weight == interpolate_at_zero([(x, int(i == j)) for j, x in enumerate(points)])
    powers = shamir._powers(tuple(points), count)
    assert powers.tolist() == [[pow(x, k, PRIME) for k in range(count)] for x in points]


def test_fewer_than_threshold_shares_look_the_same_for_every_secret() -> None:
    """T - 1 = 2 shares of extreme secrets: jointly uniform over an 8 x 8 grid, chi-square with 63 degrees."""
    for secret in (bytes(32), b"\xff" * 32):
        counts = np.zeros((8, 8))
        entropy = entropy_from(secret.hex())
        for _ in range(400):
            shares = shamir.share([secret], [1, 2, 3], 3, entropy)[:2, 0].astype(np.int64)
            np.add.at(counts, (shares[0] * 8 // PRIME, shares[1] * 8 // PRIME), 1)
        mean = counts.sum() / 64
        assert 25 < float(((counts - mean) ** 2 / mean).sum()) < 125


def test_fewer_than_threshold_shares_of_a_sum_look_the_same_for_every_sum() -> None:
    for secret in (bytes(32), b"\xff" * 32):
        counts, entropy = np.zeros((8, 8)), entropy_from(f"sum {secret.hex()}")
        for _ in range(400):
            parts = [shamir.share([secret], [1, 2, 3], 3, entropy)[:2, 0] for _ in range(2)]
            shares = shamir.add(parts[0], shamir.scale(parts[1], 3)).astype(np.int64)
            np.add.at(counts, (shares[0] * 8 // PRIME, shares[1] * 8 // PRIME), 1)
        mean = counts.sum() / 64
        assert 25 < float(((counts - mean) ** 2 / mean).sum()) < 125


def test_fewer_than_threshold_shares_fit_every_secret() -> None:
    """Given two shares of three, each value of the secret's limb has exactly one third share."""
    shares = shamir.share([b"\x5a" * 32], [1, 2, 3], 3, entropy_from(2))[:, 0, 0]
    known = [(1, int(shares[0])), (2, int(shares[1]))]
    thirds = {interpolate_at_zero([*known, (3, y)]) for y in range(0, PRIME, 97)}
    assert len(thirds) == len(range(0, PRIME, 97))


def test_combining_wrong_or_too_few_shares_is_no_secret_or_another_one() -> None:
    secret = b"\x11" * 32
    shares = shamir.share([secret], range(1, 6), 3, entropy_from(4))
    assert shamir.combine([1, 2], shares[:2]) != [secret]
    assert shamir.combine([1, 2, 4], shares[:3]) != [secret]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 7), st.data())
def test_wrong_points_are_told_up_to_half_the_spare_shares(t: int, spare: int, data: st.DataObject) -> None:
    n = t + spare
    shares = shamir.share([b"\x42" * 32], range(1, n + 1), t, entropy_from(n))[:, 0].copy()
    wrong = data.draw(st.sets(st.integers(1, n), max_size=spare // 2))
    for x in wrong:
        limb = data.draw(st.integers(0, LIMBS - 1))
        shares[x - 1, limb] = (int(shares[x - 1, limb]) + data.draw(st.integers(1, PRIME - 1))) % PRIME
    assert shamir.wrong_points(range(1, n + 1), shares, t) == frozenset(wrong)


def test_more_wrong_points_than_can_be_told_are_not_guessed() -> None:
    shares = shamir.share([b"\x42" * 32], range(1, 8), 3, entropy_from(1))[:, 0].copy()
    for x in (1, 2, 3):
        shares[x - 1] = (shares[x - 1].astype(np.int64) + 1000 * x * x * x) % PRIME
    assert shamir.wrong_points(range(1, 8), shares, 3) is None


@pytest.mark.parametrize(("points", "t"), [([1, 2], 3), ([1, 1], 2), ([0, 1], 2), ([1, PRIME], 2), ([1, 2], 0)])
def test_unsound_sharing_is_refused(points: Sequence[int], t: int) -> None:
    with pytest.raises(ValueError, match="cannot share"):
        shamir.share([bytes(32)], points, t, entropy_from(0))


def test_coefficients_are_uniform_by_rejection() -> None:
    stream = itertools.chain.from_iterable(itertools.repeat((0xFFF0, 0xFFF1, 0xFFFF, 7)))
    values = shamir._uniform(6, lambda size: np.array([next(stream) for _ in range(size // 2)], "<u2").tobytes())
    assert values.tolist() == [0xFFF0, 7, 0xFFF0, 7, 0xFFF0, 7]
