"""Noise on a sum is whole steps of a lattice, as wide as is claimed and a little more, from the given entropy alone."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.discrete import closeness, discrete_gaussian
from chatfed.privacy.lattice import STD, lattice_step, noised
from chatfed.types import FloatVector

from .entropy import replay


def noise(size: int, clip_norm: float, multiplier: float, seed: bytes) -> FloatVector:
    return noised(np.zeros(size), clip_norm, multiplier, replay(seed))


def test_moments_and_shape_are_those_of_the_claimed_gaussian() -> None:
    n = 400_000
    x = noise(n, 1.5, 2.0, b"moments").astype(np.float64) / 3.0
    wider = STD * lattice_step(n, 1.5, 2.0) / 3.0
    assert 1 < wider < 1.002 and abs(x.mean()) < 5 / math.sqrt(n)
    assert abs(x.var() / wider**2 - 1) < 5 * math.sqrt(2 / n)
    assert stats.kstest(x / wider, "norm").pvalue > 1e-4
    assert abs(float(np.mean(x[1:] * x[:-1]))) < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("divisor", [1.0, 7.0])
def test_noise_and_rounded_sum_are_exact_whole_steps(dtype: type[np.floating[Any]], divisor: float) -> None:
    """The obvious twin: whole numbers, rounded one by one."""
    values, step = np.array([0.1, -3.7, 12345.678, 1e-9, 0.0], dtype), lattice_step(5, 1.0, 0.7)
    total = noised(values.copy(), 1.0, 0.7, replay(b"twin"), divisor)
    drawn = discrete_gaussian(STD).sample(5, replay(b"twin"))
    for value, added, result in zip(values, drawn, total, strict=True):
        nearest = round(Fraction(float(value)) / Fraction(step))
        assert result == np.float32((nearest + int(added)) * (step / divisor))


def test_same_entropy_same_noise_and_other_entropy_other_noise() -> None:
    assert np.array_equal(noise(20_001, 1.0, 1.0, b"a"), noise(20_001, 1.0, 1.0, b"a"))
    assert not np.array_equal(noise(64, 1.0, 1.0, b"a"), noise(64, 1.0, 1.0, b"b"))
    assert not np.array_equal(noised(np.zeros(64), 1.0, 1.0), noised(np.zeros(64), 1.0, 1.0))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**8), st.floats(1e-3, 1e3), st.floats(1e-3, 30))
def test_the_noise_covers_the_clip_norm_and_what_rounding_adds(size: int, clip_norm: float, multiplier: float) -> None:
    step = lattice_step(size, clip_norm, multiplier)
    assert STD * step >= multiplier * (clip_norm + math.sqrt(size) * step) * (1 + 9e-7)
    assert clip_norm / step >= math.sqrt(size)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 10_000))
def test_rounding_moves_two_sums_apart_by_less_than_is_added(size: int, seed: int) -> None:
    step = lattice_step(size, 1.0, 25.0)
    x, g = np.random.default_rng(seed).normal(size=(2, size))
    y = x + g / np.linalg.norm(g)
    apart = np.linalg.norm(np.rint(x / step) - np.rint(y / step))
    assert apart <= 1.0 / step + math.sqrt(size)


def test_what_is_left_between_lattice_and_gaussian_is_far_below_the_widening() -> None:
    table = discrete_gaussian(STD)
    assert 1e10 * (table.divergence + closeness(100.0)) < 1e-100 and 1e10 * table.variation < 1e-24
    assert 100.0 / STD**2 < 1e-9  # the variance that closeness takes, of the widening's 2e-6


def test_sizes_around_a_block_and_multipliers_out_of_reach() -> None:
    for size in (0, 1, 32_767, 32_768, 32_769):
        x = noise(size, 1.0, 2.0, b"size")
        assert x.shape == (size,) and bool(np.isfinite(x).all()) and np.count_nonzero(x) >= 0.99 * size
    for multiplier in (0.0, -1.0, math.nan, math.inf, 1e5):
        with pytest.raises(PrivacyError):
            noise(655_520, 1.0, multiplier, b"")
