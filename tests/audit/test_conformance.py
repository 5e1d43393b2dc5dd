"""Tests of residuals, replays, samples and costs: right on what is sound, and each finds what it is for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from chatfed.audit.conformance import (
    FAMILY,
    Residual,
    Test,
    decide,
    discrete_cdf,
    exact,
    least_delta,
    replayed,
    residual_tests,
    sampling_tests,
    two_sided_binomial,
    two_sided_chi_square,
    uniformity,
)
from chatfed.audit.leakage import AuditError
from chatfed.privacy.accounting import Mechanism, compose
from chatfed.privacy.discrete import discrete_gaussian

STD = 50.0
D = 32_768
Whole = NDArray[np.int64]


def noise(d: int = D, std: float = STD) -> Whole:
    return discrete_gaussian(std).sample(d).astype(np.int64)


def faults(*vectors: Whole, std: float = STD, signal: Whole | None = None) -> list[str]:
    found = decide(residual_tests([Residual(f"round {k}", each, std, signal) for k, each in enumerate(vectors)]))
    return [each.name for each in found.faults]


def test_sound_noise_is_not_accused() -> None:
    assert faults(noise(), noise(), noise()) == []


def test_p_values_of_sound_noise_are_as_uniform_as_they_may_be() -> None:
    """None of the tests accuses more often than it says: 300 residuals, and a binomial bound for each test."""
    seen: dict[str, list[float]] = {}
    for _ in range(300):
        for test in residual_tests([Residual("x", noise(4096), STD, np.arange(4096))]):
            seen.setdefault(test.name, []).append(test.p)
    for name, found in seen.items():
        for level in (0.01, 0.1):
            below = sum(p < level for p in found)
            assert stats.binom.sf(below - 1, len(found), level) > 1e-5, (name, level, below)


@pytest.mark.parametrize("std", [2.5, 7.0, 300.0])
def test_noise_of_other_deviations_is_not_accused(std: float) -> None:
    assert faults(noise(std=std), noise(std=std), std=std) == []


def spoiled(name: str, x: Whole) -> Whole:
    ways: dict[str, Callable[[Whole], Whole]] = {
        "deviation": lambda x: np.rint(x * 0.95).astype(np.int64),
        "mean": lambda x: x + 3,
        "shape": lambda x: np.where(np.arange(x.size) % 2, 1, -1) * int(STD),
        "tails": lambda x: np.clip(x, -int(3.5 * STD), int(3.5 * STD)),
        "stretches": lambda x: np.concatenate([x[:-500], np.zeros(500, np.int64)]),
        "independence across coordinates": lambda x: np.tile(x[: x.size // 2], 2),
        "coordinates without noise": lambda x: np.where(np.arange(x.size) % 50, x, 0),
    }
    return ways[name](x)


@pytest.mark.parametrize(
    "name",
    ["deviation", "mean", "shape", "stretches", "independence across coordinates", "coordinates without noise"],
)
def test_each_fault_is_found_by_the_test_that_is_for_it(name: str) -> None:
    assert f"{name}, round 0" in faults(spoiled(name, noise()), noise())


def test_tails_that_are_cut_are_found() -> None:
    assert "tails, round 0" in faults(spoiled("tails", noise(655_520)))


@pytest.mark.parametrize("shift", [0, 1, 12_345])
def test_noise_that_is_used_again_is_found_wherever_it_is(shift: int) -> None:
    first = noise()
    assert "independence of round 0 and round 1" in faults(first, np.roll(first, shift))
    assert "independence of round 0 and round 1" in faults(first, -np.roll(first, shift))


def test_noise_that_is_also_in_another_residual_is_not_held_against_the_two() -> None:
    mine, others = noise(), noise()
    both = [
        Residual("sum", mine + others, STD * math.sqrt(2)),
        Residual("one client", mine, STD, within="sum"),
    ]
    assert decide(residual_tests(both)).holds


def test_an_input_that_is_left_over_is_found_below_the_noise_of_each_coordinate() -> None:
    signal = np.random.default_rng(1).integers(-5, 6, D)
    assert faults(noise() + signal, signal=signal) == ["input left over, round 0"]


def test_a_shortfall_of_one_percent_is_eleven_sigma_at_the_default_recipes_size() -> None:
    shortfall = (1 - 0.99**2) * math.sqrt(655_520 / 2)
    assert shortfall == pytest.approx(11.39, abs=0.01)
    assert two_sided_chi_square(655_520 * 0.99**2, 655_520) == pytest.approx(2.0e-30, rel=0.5)
    assert "deviation, round 0" in faults(np.rint(noise(655_520, 5000.0) * 0.99).astype(np.int64), std=5000.0)


@pytest.mark.parametrize(("std", "off"), [(2.5, 2e-5), (6.6, 5e-7), (30.0, 1e-8)])
def test_the_distribution_of_whole_numbers_is_the_slow_sums(std: float, off: float) -> None:
    k = np.arange(-int(12 * std), int(12 * std) + 1)
    weights = np.exp(-(k**2) / (2 * std**2))
    assert np.abs(discrete_cdf(k, std) - np.cumsum(weights) / weights.sum()).max() < off


def test_one_decision_is_corrected_for_the_number_of_tests() -> None:
    many = [Test(str(k), 0.5) for k in range(99)]
    assert decide([*many, Test("low", 2e-8)]).holds
    found = decide([*many, Test("lower", 0.9e-8)])
    assert (found.holds, found.worst.name, found.tests) == (False, "lower", 100) and found.p < FAMILY
    assert decide([exact("a", False, "why")]).faults[0].found == "why"
    for broken in ([], [Test("a", math.nan)]):
        with pytest.raises(AuditError):
            decide(broken)


def test_what_is_not_finite_is_an_error_and_no_verdict() -> None:
    with pytest.raises(AuditError, match="round 0"):
        residual_tests([Residual("round 0", np.array([1.0, np.nan]), 1.0)])


@given(st.integers(1, 60), st.data(), st.floats(0.05, 0.95))
@settings(max_examples=100, deadline=None)
def test_binomial_p_values_are_the_slow_ones(trials: int, data: st.DataObject, probability: float) -> None:
    count = data.draw(st.integers(0, trials))
    low = stats.binom.cdf(count, trials, probability)
    high = stats.binom.sf(count - 1, trials, probability)
    assert two_sided_binomial(count, trials, probability) == pytest.approx(min(1.0, 2 * min(low, high)), rel=1e-6)


def test_a_replay_may_move_by_the_norm_and_no_further() -> None:
    assert replayed("x", np.array([6, 8]), 10.0).p == 1.0
    assert replayed("x", np.array([6, 9]), 10.0).p == 0.0
    assert replayed("x", np.array([3_000_000_000, 0]), 10.0).p == 0.0


@pytest.mark.parametrize("dtype", ["<u2", "<u4", "<u8"])
def test_masked_elements_are_uniform_and_plain_ones_are_not(dtype: str) -> None:
    top = np.iinfo(dtype).max
    masked = np.random.default_rng(3).integers(0, top, D, dtype, endpoint=True)
    assert decide(uniformity("masked", masked)).holds
    assert not decide(uniformity("plain", noise(std=20.0).astype(dtype))).holds


def draws(rate: float, count: int = 40, units: int = 50) -> NDArray[np.bool_]:
    return np.random.default_rng(5).random((count, units)) < rate


def test_poisson_samples_are_sound_and_others_are_not() -> None:
    def found(drawn: NDArray[np.bool_], rate: float = 0.7) -> list[str]:
        return [each.name for each in decide(sampling_tests("x", drawn, rate)).faults]

    sound = draws(0.7)
    assert found(sound) == [] and found(np.ones((40, 50), np.bool_), 1.0) == []
    assert "rate of x" in found(draws(0.85))
    fixed = np.argsort(np.argsort(np.random.default_rng(6).random((40, 50)), axis=1), axis=1) < 35
    assert found(fixed) == ["sizes of x"]
    assert "fresh draws of x" in found(np.tile(sound[:1], (40, 1)))


def one_step(epsilon: float, noise: float, rate: float) -> float:
    """The closed form: q times the Gaussian's delta at another epsilon."""
    inner = math.log((math.exp(epsilon) - 1 + rate) / rate)
    gauss = stats.norm.cdf(0.5 / noise - inner * noise) - math.exp(inner) * stats.norm.cdf(-0.5 / noise - inner * noise)
    return float(rate * gauss)


@pytest.mark.parametrize(("epsilon", "noise", "rate"), [(1.0, 1.0, 1.0), (2.0, 1.3, 0.72), (0.5, 2.0, 0.1)])
def test_the_least_delta_of_one_step_is_the_closed_form(epsilon: float, noise: float, rate: float) -> None:
    exactly = one_step(epsilon, noise, rate)
    assert exactly * 0.99 < least_delta(epsilon, [(noise, rate, 1)]) <= exactly


@pytest.mark.parametrize(("noise", "rate", "times"), [(1.3, 0.72, 5), (0.9, 0.1, 40), (2.0, 1.0, 3)])
def test_the_least_delta_is_just_below_what_the_accountant_claims(noise: float, rate: float, times: int) -> None:
    claimed = compose([Mechanism(noise, rate, times)], delta=1e-5)
    assert 0.9e-5 < least_delta(claimed, [(noise, rate, times)]) <= 1e-5
    assert least_delta(0.98 * claimed, [(noise, rate, times)]) > 1e-5
    parts = [(noise, rate, 1), (noise, rate, times - 1)]
    assert least_delta(claimed, parts) == pytest.approx(least_delta(claimed, [(noise, rate, times)]), rel=1e-6)


def test_nothing_spent_costs_nothing() -> None:
    assert least_delta(0.0, []) == 0.0
