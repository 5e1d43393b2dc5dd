"""Coins, directions and the search for them in sums."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.canary import coins, commitment, direction, matched, numbers, together
from chatfed.audit.leakage import AuditError

SEED = bytes(range(32))
GOLDEN_COINS = [0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1]
GOLDEN_SIGNS = [-1, -1, 1, 1, 1, 1, 1, 1]
GOLDEN_NUMBERS = [862, 540, 991, 462]


def test_a_commitment_is_a_labelled_hash_and_no_other_length_has_one() -> None:
    assert commitment(SEED) == hashlib.sha256(b"chatfed canaries v1 seed" + SEED).hexdigest()
    with pytest.raises(AuditError, match="32 bytes, not 31"):
        commitment(SEED[1:])


def test_directions_together_are_their_sum() -> None:
    slow = np.sum([direction(SEED, "rounds", each, 500) for each in (1, 4, 7)], axis=0)
    assert together(SEED, "rounds", [1, 4, 7], 500) == pytest.approx(slow, abs=1e-6)
    assert not together(SEED, "rounds", [], 500).any()


def test_what_a_seed_decides_never_changes() -> None:
    """An audit of a run that was published is done again by later builds."""
    assert coins(SEED, "rounds", 12).astype(int).tolist() == GOLDEN_COINS
    assert np.sign(direction(SEED, "rounds", 3, 8)).astype(int).tolist() == GOLDEN_SIGNS
    assert numbers(SEED, "openings", 4, 1000).tolist() == GOLDEN_NUMBERS


@given(st.binary(min_size=32, max_size=32), st.integers(1, 300))
def test_a_direction_is_of_norm_one_and_another_canary_has_another(seed: bytes, dimension: int) -> None:
    first = direction(seed, "rounds", 0, dimension)
    assert first.dtype == np.float32 and np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert dimension < 64 or abs(float(first @ direction(seed, "rounds", 1, dimension))) < 0.9


def test_coins_are_fair_and_those_of_two_labels_apart() -> None:
    one, other = coins(SEED, "rounds", 20_000), coins(SEED, "dialogues", 20_000)
    assert abs(one.mean() - 0.5) < 0.015 and abs((one == other).mean() - 0.5) < 0.015


def test_amounts_are_those_of_the_canaries_that_are_in_and_their_deviation_is_what_it_says() -> None:
    generator, count, size = np.random.default_rng(1), 400, 20_000
    there = coins(SEED, "rounds", count)
    total = sum(direction(SEED, "rounds", int(at), size) for at in np.flatnonzero(there))
    total = (total + 0.5 * generator.standard_normal(size)).astype(np.float32)
    found = matched(total, SEED, "rounds", count)
    assert found.amounts[there].mean() == pytest.approx(1, abs=0.15)
    assert found.amounts[~there].mean() == pytest.approx(0, abs=0.15)
    assert found.amounts[~there].std() == pytest.approx(found.std, rel=0.15)


def test_uncut_the_product_is_the_plain_matched_filter() -> None:
    total = np.random.default_rng(2).standard_normal(500).astype(np.float32)
    total *= np.float32(1) / np.abs(total) ** np.float32(0.9)  # so even that nothing is cut
    found = matched(total, SEED, "rounds", 5)
    slow = [float(total.astype(np.float64) @ direction(SEED, "rounds", at, 500)) for at in range(5)]
    assert found.kept == 1 and np.allclose(found.amounts, slow, atol=1e-5)


def test_what_is_common_to_many_does_not_drown_canaries() -> None:
    """A sum of sketches: in one cell of a hundred stands what everybody says."""
    generator, count, size = np.random.default_rng(3), 300, 100_000
    there = coins(SEED, "count", count)
    noise = 0.7 * generator.standard_normal(size)
    noise[:: size // 1000] += 300 * generator.standard_normal(1000)
    total = noise + sum(direction(SEED, "count", int(at), size) for at in np.flatnonzero(there))
    found = matched(total.astype(np.float32), SEED, "count", count)
    plain = np.array([float(total @ direction(SEED, "count", at, size)) for at in range(count)])
    assert found.std < 0.85 and plain.std() > 10
    assert ((found.evidence() > 0) == there).mean() > 0.7


def test_sampling_makes_evidence_of_absence_weak_and_leaves_that_of_presence() -> None:
    found = matched(np.random.default_rng(4).standard_normal(1000).astype(np.float32), SEED, "rounds", 50)
    whole, half = found.evidence(), found.evidence(0.5)
    assert (half >= np.log(0.5) - 1e-12).all() and (np.sign(half) == np.sign(whole)).all()
    assert np.allclose(half, np.log(0.5 + 0.5 * np.exp(whole)))


def test_a_sum_that_is_not_finite_is_refused() -> None:
    with pytest.raises(AuditError, match="diverged"):
        matched(np.array([1.0, np.nan], np.float32), SEED, "rounds", 1)


def test_a_sum_of_nothing_shows_nothing() -> None:
    found = matched(np.zeros(64, np.float32), SEED, "rounds", 3)
    assert np.isfinite(found.amounts).all() and (found.amounts == 0).all()
