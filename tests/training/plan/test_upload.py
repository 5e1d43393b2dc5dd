"""How one update is encoded: clipped, with its noise in whole steps, and in no way that tells of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import training.plan.upload
from chatfed.privacy.noise import poisson_sample
from chatfed.secagg.encoding import OutOfRange
from chatfed.secagg.rotation import rotate_back
from tests.privacy.entropy import replay
from tests.training.federation import names, update_of
from tests.training.plans import SEED, client_level, codec_of, noisy
from training.parties.aggregator import follow_quantile
from training.plan.checks import check
from training.plan.recipe import FederationSection, PrivacySection, Recipe
from training.plan.upload import PlainUpload, clipped
from training.plan.variants import without_noise

CLIENTS = names(10)


def test_the_noise_stands_in_the_sum_as_whole_steps_before_it_is_rotated_back() -> None:
    code = noisy(client_level(rotation=False), 400, 1.5)
    encoded = [code.encode([np.zeros(400, np.float32)], replay(bytes([i]))) for i in range(8)]
    mean = code.decode(sum(encoded[1:], encoded[0].copy()), 8).update.astype(np.float64)
    steps = mean * (8 * code.scale / code.clip_norm)
    assert np.allclose(steps, np.rint(steps), atol=1e-2) and np.abs(steps).max() > 1


@settings(max_examples=40, deadline=None)
@given(
    st.integers(4, 40), st.integers(1, 6000), st.booleans(), st.floats(0.01, 100), st.floats(0.7, 5), st.integers(0, 99)
)
def test_the_mean_comes_back_within_noise_and_rounding(
    cohort: int, dimension: int, rotation: bool, length: float, multiplier: float, seed: int
) -> None:
    code = noisy(client_level(cohort, rotation=rotation), dimension, multiplier)
    vector = np.random.default_rng(seed).normal(size=dimension)
    update = (length * vector / np.linalg.norm(vector)).astype(np.float32)
    encoded = [code.encode([update], replay(bytes([seed, i]))) for i in range(cohort)]
    mean = code.decode(sum(encoded[1:], encoded[0].copy()), cohort).update
    expected = update * min(1.0, 2.0 / float(np.linalg.norm(update)))
    apart = float(np.linalg.norm(mean - expected)) * code.scale / 2.0 * math.sqrt(cohort)
    assert apart < 1.5 * math.sqrt(code.coordinates + 30) * (code.mechanism.std + 1)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30, 3.4e38])
def test_an_update_however_long_is_scaled_to_the_clip_norm(size: float) -> None:
    update = np.full(50_000, size, np.float32)
    length = float(np.linalg.norm(clipped(update, 1.0).astype(np.float64)))
    assert length == pytest.approx(min(1.0, size * math.sqrt(50_000)), rel=2e-6) and length <= 1.0


def test_an_update_that_is_not_finite_sends_its_noise_alone() -> None:
    code = noisy(client_level(), 50, 1.0)
    spoiled, nothing = np.full(50, np.nan, np.float32), np.zeros(50, np.float32)
    assert np.array_equal(code.encode([spoiled], replay(b"a")), code.encode([nothing], replay(b"a")))
    bit = noisy(client_level(clip_quantile=0.5), 50, 1.0)  # nor does it say that it was within the clip norm
    told = [float(bit.decode(bit.encode([spoiled], replay(bytes([i]))), 1).within or 0.0) for i in range(200)]
    assert np.mean(told) == pytest.approx(0.5, abs=6 * float(np.std(told)) / math.sqrt(200))


def test_a_clients_coin_takes_it_at_the_sampling_rate_and_the_mean_is_divided_by_it() -> None:
    code = noisy(client_level(sampling_rate=0.25), 50, 0.05)
    update = np.full(50, 2 / math.sqrt(50), np.float32)
    taken = [
        float(code.decode(code.encode([update], replay(bytes([i]))), 1).update @ update) / 4 > 2 for i in range(100)
    ]
    assert 10 < sum(taken) < 40 and code.mechanism.sampling_rate == 0.25
    fair = [len(poisson_sample(1, 0.25, replay(bytes([i])))) == 1 for i in range(100)]
    assert taken == fair


def test_a_client_does_the_same_work_whether_its_coin_takes_it_or_not_and_whatever_its_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the time that it takes would tell: what is left out is rounded too."""
    work: list[tuple[str, int]] = []
    for name in ("round_within", "rotate", "clipped"):
        monkeypatch.setattr(training.plan.upload, name, counting(name, getattr(training.plan.upload, name), work))
    done = set()
    for update in (np.full(50, 0.2, np.float32), np.full(50, 9.0, np.float32), np.full(50, np.nan, np.float32)):
        for toss in range(12):
            code = noisy(client_level(sampling_rate=0.5), 50, 1.0)
            code.encode([update], replay(bytes([toss])))
            done.add(tuple(work))
            work.clear()
    assert done == {(("clipped", 50), ("rotate", 50), ("round_within", 4096))}


def counting(name: str, real: Callable[..., Any], work: list[tuple[str, int]]) -> Callable[..., Any]:
    def counted(vector: NDArray[Any], *rest: object) -> Any:
        work.append((name, vector.size))
        return real(vector, *rest)

    return counted


def test_an_update_with_noise_of_its_own_is_always_encoded_and_one_without_is_refused_where_it_diverged() -> None:
    """After the noise, and before anything leaves, a failure would be one more thing that is told."""
    local = Recipe(federation=FederationSection(cohort=10), privacy=PrivacySection(noise_multiplier=1.0))
    code, bare = codec_of(local, 1.0).upload(10, 5000, SEED), codec_of(without_noise(local), 0.0).upload(10, 5000, SEED)
    made_for_it = rotate_back(np.eye(1, 8192, dtype=np.float32)[0], SEED, 5000)
    for update in (made_for_it, 1e30 * made_for_it, np.full(5000, 3.4e38, np.float32)):
        update = update.astype(np.float32)
        back = code.decode(code.encode([update], replay(b"a")), 1).update
        assert np.isfinite(back).all() and np.linalg.norm(back) < 1.1 * local.secagg.update_clip
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = np.full(5000, 1e-3, np.float32)
        spoiled[7] = bad
        back = code.decode(code.encode([spoiled], replay(b"a")), 1).update
        assert np.linalg.norm(back) < 0.1 * local.secagg.update_clip
        with pytest.raises(OutOfRange, match="not finite"):
            bare.encode([spoiled], replay(b"a"))


def test_without_noise_a_clients_update_is_clipped_to_the_same_norm() -> None:
    """Else the run for comparison would differ in more than the noise."""
    bare = without_noise(client_level(clip_quantile=0.5))
    check(bare, 10)
    made = codec_of(bare, 0.0).upload(10, 400, SEED)
    assert isinstance(made, PlainUpload)
    long = 7 * update_of(CLIENTS[0], 400) / np.linalg.norm(update_of(CLIENTS[0], 400))
    mean = made.decode(made.encode([long.astype(np.float32)], replay(b"a")), 1).update
    assert np.linalg.norm(mean) == pytest.approx(2.0, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_an_update_and_its_bit_together_are_no_longer_than_is_charged(
    dimension: int, length: float, clip_norm: float, rotation: bool
) -> None:
    recipe = client_level(rotation=rotation, clip_quantile=0.5)
    code, other = (noisy(recipe, dimension, 1.0, clip) for clip in (clip_norm, 7.0))
    vector = np.random.default_rng(dimension).normal(size=dimension)
    update = (length * vector / np.linalg.norm(vector)).astype(np.float32)
    assert float(np.linalg.norm(code._unit(update).astype(np.float64))) <= 1 + 1e-6
    assert code.mechanism == other.mechanism
    assert code.mechanism.norm >= code.scale  # in steps, rounding included


def test_a_moving_clip_norm_comes_to_its_quantile_through_noisy_sums() -> None:
    recipe, clip, seen = client_level(200, rotation=False, clip_quantile=0.7), 1.5, []
    updates = [update_of(name, 5) / np.float32(0.7) * np.float32((i + 1) / 200) for i, name in enumerate(names(200))]
    for turn in range(40):  # norms are 0.005 to 1
        code = codec_of(recipe, 1.0).upload(200, 5, SEED, clip)
        parts = [code.encode([update], replay(bytes([turn, i]))) for i, update in enumerate(updates)]
        within = code.decode(sum(parts[1:], parts[0].copy()), 200).within
        assert within is not None
        clip = follow_quantile(clip, within, 0.7)
        seen.append(clip)
    assert 0.6 < np.mean(seen[-5:]) < 0.85 < seen[5] < seen[0]
