"""The chances behind the audit's bounds beside slow twins: fractions, long arithmetic, quantiles, simulated runs."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import mpmath  # type: ignore[import-untyped] # has no types
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chatfed.audit.tails import any_curve_tail, f_dp_rejects, gaussian_epsilon, gaussian_tail, one_run_p_value


def slow_p_value(m: int, guesses: int, correct: int, odds: Fraction, delta: Fraction) -> Fraction:
    """Steinke's theorem in fractions, e^epsilon = odds: each sum written out."""
    mass = [comb(guesses, k) * odds**k / (1 + odds) ** guesses for k in range(guesses + 1)]
    spread = [sum(mass[correct - i : correct], Fraction(0)) / i for i in range(1, correct + 1)]
    return sum(mass[correct:], Fraction(0)) + 2 * m * delta * max(spread, default=Fraction(0))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_one_run_p_value_is_the_sum_written_out_in_fractions(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 60))
    guesses = data.draw(st.integers(1, m))
    correct = data.draw(st.integers(0, guesses))
    odds, delta = Fraction(data.draw(st.integers(1, 500)), 1), data.draw(st.sampled_from([0, 1e-9, 1e-3, 0.2]))
    exact = slow_p_value(m, guesses, correct, odds, Fraction(delta))
    found = one_run_p_value(m, guesses, correct, float(np.log(float(odds))), delta)
    assert found == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


def slow_tail(m: int, guesses: int, wrong: int, mu: float) -> float:
    """The expectation over Beta(m - guesses, guesses + 1) as a mean over its quantiles, t from a table."""
    levels = stats.beta.ppf((np.arange(100_000) + 0.5) / 100_000, m - guesses, guesses + 1)
    table = np.linspace(0, mu / 2 + 9, 400_001)
    t = np.interp(levels, stats.norm.cdf(table - mu / 2) - stats.norm.cdf(-table - mu / 2), table)
    return float(stats.binom.cdf(wrong, guesses, stats.norm.cdf(-t - mu / 2) / (1 - levels)).mean())


@pytest.mark.parametrize(
    ("m", "guesses", "wrong", "mu"),
    [(12, 6, 1, 1.7), (12, 11, 3, 0.4), (9, 1, 0, 2.5), (512, 384, 52, 1.7), (4096, 2048, 300, 1.6)],
)
def test_gaussian_tail_is_the_mean_over_the_quantiles_of_beta(m: int, guesses: int, wrong: int, mu: float) -> None:
    assert gaussian_tail(m, guesses, wrong, mu) == pytest.approx(slow_tail(m, guesses, wrong, mu), rel=1e-4)


def test_gaussian_tail_of_the_surest_of_m_is_its_own_integral() -> None:
    """One guess: right if the largest |x| has the right sign. No beta, no binomial: m phi(t - mu/2) F(t)^(m-1)."""
    m, half = 40, mpmath.mpf("0.65")

    def density(t: mpmath.mpf) -> mpmath.mpf:
        return m * mpmath.npdf(t - half) * (mpmath.ncdf(t - half) - mpmath.ncdf(-t - half)) ** (m - 1)

    assert gaussian_tail(m, 1, 0, 1.3) == pytest.approx(float(mpmath.quad(density, [0, 1, 2, 3, 5, 12])), rel=1e-9)


@pytest.mark.parametrize(("m", "guesses", "mu"), [(60, 30, 1.2), (60, 60, 1.2), (200, 20, 0.5), (25, 24, 2.0)])
def test_gaussian_tail_is_what_simulated_runs_show(m: int, guesses: int, mu: float) -> None:
    generator, runs = np.random.default_rng(5), 20_000
    x = generator.standard_normal((runs, m)) + mu / 2  # all in: by symmetry the same as fair coins
    surest = np.argsort(-np.abs(x), axis=1)[:, :guesses]
    wrong = (np.take_along_axis(x, surest, axis=1) < 0).sum(1)
    for limit in np.unique(np.quantile(wrong, [0.01, 0.2, 0.5, 0.9]).astype(int)):
        chance = gaussian_tail(m, guesses, int(limit), mu)
        assert abs((wrong <= limit).mean() - chance) < 4.5 * np.sqrt(chance * (1 - chance) / runs) + 1e-9


def test_with_a_guess_for_each_canary_the_tail_is_a_plain_binomials() -> None:
    expected = sum(mpmath.binomial(20, k) * mpmath.ncdf(-0.5) ** k * mpmath.ncdf(0.5) ** (20 - k) for k in range(4))
    assert gaussian_tail(20, 20, 3, 1.0) == pytest.approx(float(expected), rel=1e-12)
    assert gaussian_tail(4096, 4095, 1300, 1.0) == pytest.approx(gaussian_tail(4096, 4096, 1300, 1.0), rel=0.02)


def slow_rejects(m: int, guesses: int, correct: int, mu: float, error: float) -> bool:
    """The recursion to its end, with 30 digits and the quantile by mpmath."""
    with mpmath.workdps(30):
        r, h = mpmath.mpf(error) * correct / m, mpmath.mpf(error) * (guesses - correct) / m
        for i in range(correct - 1, -1, -1):
            quantile = mpmath.sqrt(2) * mpmath.erfinv(2 * min(r, 1 - mpmath.mpf(10) ** -25) - 1)
            after = max(h, mpmath.ncdf(quantile - mu))
            r, h = r + mpmath.mpf(i) / (guesses - i) * (after - h), after
        return bool(r + h > mpmath.mpf(guesses) / m)


@pytest.mark.parametrize(
    ("m", "guesses", "correct", "error"), [(50, 20, 18, 0.05), (40, 40, 33, 0.1), (60, 12, 12, 0.01)]
)
def test_f_dp_recursion_turns_where_the_slow_one_does(m: int, guesses: int, correct: int, error: float) -> None:
    low, high = 0.0, 6.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if f_dp_rejects(m, guesses, correct, middle, error) else (low, middle)
    assert 0.1 < low < 5
    assert slow_rejects(m, guesses, correct, low - 1e-6, error)
    assert not slow_rejects(m, guesses, correct, high + 1e-6, error)


def test_any_curve_tail_is_the_sum_over_how_many_are_told_in_fractions() -> None:
    m, guesses, wrong, delta = 12, 7, 2, Fraction(1, 10)
    error = Fraction(1, 1 + 5)
    expected = Fraction(0)
    for told in range(m + 1):
        unsure = max(0, guesses - told)
        tail = sum(
            (comb(unsure, k) * error**k * (1 - error) ** (unsure - k) for k in range(min(wrong, unsure) + 1)),
            Fraction(0),
        )
        expected += comb(m, told) * delta**told * (1 - delta) ** (m - told) * tail
    assert any_curve_tail(m, guesses, wrong, float(np.log(5)), 0.1) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(("mu", "delta"), [(0.05, 1e-6), (1.0, 1e-12), (6.0, 0.1), (40.0, 1e-5)])
def test_gaussian_epsilon_has_its_delta_and_is_not_above_it(mu: float, delta: float) -> None:
    epsilon = gaussian_epsilon(mu, delta)
    with mpmath.workdps(60):
        first = mpmath.ncdf(mpmath.mpf(mu) / 2 - mpmath.mpf(epsilon) / mu)
        second = mpmath.exp(epsilon) * mpmath.ncdf(-mpmath.mpf(mu) / 2 - mpmath.mpf(epsilon) / mu)
        found = float(first - second)
    assert delta * (1 - 1e-9) <= found <= delta * (1 + 1e-6)
    assert gaussian_epsilon(mu, 0.99999) == 0 or mu > 8
