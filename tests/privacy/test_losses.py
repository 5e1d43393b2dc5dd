"""Epsilon against 60-digit arithmetic: never below the truth, at any delta, and close to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpmath import mpf
from numpy.typing import NDArray

from chatfed.privacy.accounting import EXACT, PLD, UNAMPLIFIED, Mechanism, accountant, compose, curve, epsilon
from chatfed.privacy.conversions import gaussian_epsilon
from chatfed.privacy.losses import pld_epsilon, renyi_epsilon

Masses = NDArray[np.float64]
WIDTH = 1e-2  # of the grid on which losses are rounded down

logs = st.floats(-300, -0.01)  # of delta, base 10
many = settings(max_examples=30, deadline=None, derandomize=True)


def gaussian_delta(eps: float, mu: mpf) -> mpf:
    """Balle and Wang 2018, theorem 8."""
    return mpmath.ncdf(mu / 2 - eps / mu) - mpmath.exp(eps) * mpmath.ncdf(-mu / 2 - eps / mu)


def sampled_delta(eps: float, noise: float, rate: float) -> mpf:
    """Exact delta of one Poisson-sampled Gaussian step: the larger of removing and adding an example."""
    e, s, q = mpmath.exp(mpf(eps)), mpf(noise), mpf(rate)

    def where(ratio: mpf) -> mpf:  # the outcome at which the mixture's density is so many times the noise's
        return s**2 * mpmath.log((ratio - 1 + q) / q) + mpf(1) / 2

    above = where(e)
    out, in_ = mpmath.ncdf(-above / s), mpmath.ncdf((1 - above) / s)
    removing = (1 - q - e) * out + q * in_
    if 1 / e <= 1 - q:
        return removing
    below = where(1 / e)
    out, in_ = mpmath.ncdf(below / s), mpmath.ncdf((below - 1) / s)
    return max(removing, out - e * ((1 - q) * out + q * in_))


@many
@given(log_noise=st.floats(-1, 6), steps=st.integers(1, 10**6), log_delta=logs)
@example(log_noise=2.0, steps=10_000, log_delta=-12.0)  # where PRV gave 7.1713 for 7.2385
@example(log_noise=math.log10(10_000 / 3), steps=10**6, log_delta=-11.0)  # 1.8366 for 1.9151
@example(log_noise=math.log10(50), steps=2500, log_delta=-12.0)
@example(log_noise=math.log10(30), steps=900, log_delta=-13.0)
@example(log_noise=6.0, steps=1, log_delta=-1.0)
def test_without_sampling_epsilon_is_never_below_the_exact_one_and_within_a_percent(
    log_noise: float, steps: int, log_delta: float
) -> None:
    noise, delta = 10.0**log_noise, 10.0**log_delta
    found = epsilon(noise, 1.0, steps, delta=delta)
    with mpmath.workdps(60):
        mu = mpmath.sqrt(steps) / mpf(noise)
        assert gaussian_delta(found, mu) <= delta
        assert found == 0 or gaussian_delta(found * 0.99, mu) > delta


@pytest.mark.parametrize("delta", [5e-324, 1e-310, 1e-100, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("mu", [1e-9, 1e-3, 0.999, 1.001, 30.0, 1e4])
def test_a_gaussian_has_its_digits_at_both_ends_of_delta(mu: float, delta: float) -> None:
    found = gaussian_epsilon(mu, delta)
    with mpmath.workdps(60):
        assert gaussian_delta(found, mpf(mu)) <= delta
        assert found == 0 or gaussian_delta(found * (1 - (1e-8 if delta <= 0.5 else 1e-2)), mpf(mu)) > delta


@many
@given(log_noise=st.floats(-1, 2), log_rate=st.floats(-5, -0.01), log_delta=logs)
@example(log_noise=0.0, log_rate=-1.0, log_delta=math.log10(0.2))
@example(log_noise=-0.24, log_rate=-2.9, log_delta=math.log10(0.0313))
@example(log_noise=math.log10(0.051), log_rate=math.log10(0.5), log_delta=-5.0)
def test_one_sampled_step_is_never_below_the_exact_one_and_close(
    log_noise: float, log_rate: float, log_delta: float
) -> None:
    noise, rate, delta = 10.0**log_noise, 10.0**log_rate, 10.0**log_delta
    found = epsilon(noise, rate, 1, delta=delta)
    with mpmath.workdps(60):
        assert sampled_delta(found, noise, rate) <= delta
        close = 0.99 if delta > 1e-20 else 0.9
        assert found < 1e-9 or sampled_delta(found * close, noise, rate) > delta


def mass_between(a: mpf, b: mpf) -> mpf:
    """Of N(0, 1), without a difference of numbers near 1."""
    return mpmath.ncdf(-a) - mpmath.ncdf(-b) if a > 0 else mpmath.ncdf(b) - mpmath.ncdf(a)


@cache
def optimistic(noise: float, rate: float, removing: bool) -> tuple[int, Masses]:
    """One step's losses, rounded down: the first one's place on a grid, and masses float64[n]. Tails are left out."""
    s, q = mpf(noise), mpf(rate)
    edges = [mpf(k) / 10 for k in range(-300, 301 + math.ceil(10 / noise))]
    found: dict[int, float] = {}
    for a, b in itertools.pairwise(edges):
        out = mass_between(a, b)
        mixed = (1 - q) * out + q * mass_between(a - 1 / s, b - 1 / s)
        mass, other = (mixed, out) if removing else (out, mixed)
        place = math.floor(mpmath.log(mass / other) / WIDTH)
        found[place] = found.get(place, 0.0) + float(mass)
    first = min(found)
    return first, np.array([found.get(place, 0.0) for place in range(first, max(found) + 1)])


def lower_delta(eps: float, kinds: Sequence[tuple[float, float, int]], removing: bool) -> float:
    """A bound from below: losses rounded down and added by sums of products, which lose no digits."""
    first, masses = 0, np.ones(1)
    for noise, rate, count in kinds:
        start, one = optimistic(noise, rate, removing)
        for _ in range(count):
            first, masses = first + start, np.convolve(masses, one)
    losses = WIDTH * (first + np.arange(len(masses)))
    return float(-np.expm1(np.minimum(eps - losses, 0.0)) @ masses)


@pytest.mark.parametrize("delta", [1e-5, 1e-14, 1e-60])
@pytest.mark.parametrize("kinds", [[(1.0, 0.1, 4)], [(2.0, 0.5, 3), (0.9, 0.05, 2)], [(1.5, 0.2, 3), (3.0, 1.0, 2)]])
def test_several_steps_are_not_below_what_a_sum_without_rounding_errors_shows(
    kinds: list[tuple[float, float, int]], delta: float
) -> None:
    found = compose([Mechanism(*kind) for kind in kinds], delta=delta)
    with mpmath.workdps(60):
        shown = [lower_delta(found, kinds, removing) for removing in (True, False)]
        assert max(shown) <= delta
        assert max(lower_delta(0.95 * found - 0.04, kinds, removing) for removing in (True, False)) > delta


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta", "least", "most"),
    [
        (1.0, 0.01, 1000, 1e-13, 4.2162, 4.2509),  # PRV 4.2071
        (0.8, 0.02, 200, 1e-13, 8.3020, 8.3319),  # PRV 8.2844
        (1.0, 0.01, 1000, 1e-14, 4.5, 5.07),  # dp-accounting 8.59
        (1.0, 0.01, 1000, 1e-15, 4.8, 5.40),  # dp-accounting infinite
        (4.0, 3.3e-4, 10_000, 1e-18, 0.05, 0.0695),  # dp-accounting infinite, Renyi 0.0694
        (50.0, 1e-5, 10**6, 1e-9, 5e-4, 0.0100),  # PRV 0.0100, dp-accounting 0.0188
        (1.0, 0.2, 5000, 1e-10, 247.8, 248.0),
    ],
)
def test_small_deltas_and_many_steps_lie_between_what_is_known(
    noise: float, rate: float, steps: int, delta: float, least: float, most: float
) -> None:
    mechanism = Mechanism(noise, rate, steps)
    found = compose([mechanism], delta=delta)
    assert least <= found <= most and curve([mechanism], [delta]) == [found]
    assert found <= renyi_epsilon([(noise, rate, steps)], delta)


def test_sampling_at_almost_every_rate_is_what_no_sampling_is() -> None:
    for noise, steps, delta in ((2.0, 10, 1e-5), (6.0, 30, 1e-12), (0.5, 1, 1e-40)):
        exact = epsilon(noise, 1.0, steps, delta=delta)
        assert exact <= pld_epsilon([(noise, 1.0, steps)], delta) <= 1.0003 * exact
        assert epsilon(noise, 1 - 1e-12, steps, delta=delta) == pytest.approx(exact, rel=3e-4)


def test_the_accountant_is_named_after_whose_bound_it_is() -> None:
    plain, sampled, bare = Mechanism(2.0, 1.0, 3), Mechanism(2.0, 0.1, 3), Mechanism(0.01, 0.5, 3)
    assert accountant([plain], delta=1e-5) == EXACT == accountant([], delta=1e-5)
    assert accountant([sampled], delta=1e-5) == PLD == accountant([plain, sampled], delta=1e-300)
    assert accountant([bare], delta=1e-5) == UNAMPLIFIED
    assert compose([bare], delta=1e-5) == epsilon(0.01, 1.0, 3, delta=1e-5)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1e-200, 1.0, 1), (1e-200, 0.5, 1), (1e-5, 0.5, 10**6)])
def test_next_to_no_noise_costs_a_great_deal_and_is_no_error(noise: float, rate: float, steps: int) -> None:
    assert epsilon(noise, rate, steps, delta=1e-5) > 1e9
