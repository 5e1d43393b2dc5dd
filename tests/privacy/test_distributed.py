"""The bound on a sum of shares against the exact distributions of such sums; conditions are refused when missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from chatfed.privacy.accounting import PLD, Mechanism, compose
from chatfed.privacy.conversions import PrivacyError, gaussian_epsilon, zcdp_epsilon
from chatfed.privacy.discrete import BITS, discrete_gaussian
from chatfed.privacy.distributed import (
    DistributedGaussian,
    calibrate_share,
    concentrated,
    distributed_epsilon,
    sum_reach,
)
from chatfed.privacy.guarantee import Adjacency
from chatfed.privacy.rounding import inflated_norm, round_within
from chatfed.secagg.rotation import padded, rotate, rotate_back

from .entropy import replay

Pmf = NDArray[np.float64]


def pmf_of_sum(std: float, shares: int) -> Pmf:
    """Of the tables themselves, added share by share; symmetric about the middle."""
    ((_, table),) = discrete_gaussian(std).parts
    one = np.array(table.weights, dtype=np.float64) / 2.0**BITS
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)
    return total


def exact_epsilon(lower: Pmf, upper: Pmf, rounds: int, delta: float) -> float:
    """By composing the exact privacy loss distribution, both directions, rounded in our favour."""
    from dp_accounting.pld.privacy_loss_distribution import from_two_probability_mass_functions

    low, up = ({z: math.log(p) for z, p in enumerate(pmf.tolist()) if p > 1e-290} for pmf in (lower, upper))
    found = from_two_probability_mass_functions(
        low, up, pessimistic_estimate=False, value_discretization_interval=1e-3, log_mass_truncation_bound=-60,
        symmetric=False,
    )  # fmt: skip
    return float(found.self_compose(rounds).get_epsilon_for_delta(delta))


@pytest.mark.parametrize(
    ("std", "shares", "norm", "rounds", "slack"),
    [(20.0, 4, 30, 1, 1.01), (5.0, 10, 20, 10, 1.02), (3.0, 8, 5, 4, 1.03), (1.0, 3, 1, 1, 1.25), (0.5, 9, 1, 2, 8.0)],
)
def test_the_bound_is_above_the_exact_epsilon_of_the_tables_and_close(
    std: float, shares: int, norm: int, rounds: int, slack: float
) -> None:
    total = pmf_of_sum(std, shares)
    exact = exact_epsilon(np.pad(total, (0, norm)), np.pad(total, (norm, 0)), rounds, 1e-5)
    bound = distributed_epsilon([DistributedGaussian(std, shares, norm, 1, rounds)], delta=1e-5)
    assert exact - 1e-3 <= bound <= exact * slack


def test_two_dimensions_cost_what_the_length_of_the_vector_does() -> None:
    total = pmf_of_sum(4.0, 6)
    moved = [np.outer(np.roll(total, 3), np.roll(total, 4)).ravel(), np.outer(total, total).ravel()]
    exact = exact_epsilon(moved[0], moved[1], 1, 1e-6)
    bound = distributed_epsilon([DistributedGaussian(4.0, 6, 5.0, 2)], delta=1e-6)
    assert exact - 1e-3 <= bound <= 1.02 * exact


def test_sampling_is_accounted_as_for_the_exact_mixture() -> None:
    total, rate, rounds = pmf_of_sum(4.0, 6), 0.1, 30
    out, in_ = np.pad(total, (0, 10)), np.pad(total, (10, 0))
    exact = exact_epsilon(out, (1 - rate) * out + rate * in_, rounds, 1e-5)
    noise = DistributedGaussian(4.0, 6, 10.0, 1, rounds, rate)
    assert exact - 1e-3 <= distributed_epsilon([noise], delta=1e-5, by=PLD) <= 1.03 * exact
    assert distributed_epsilon([noise], delta=1e-5) < distributed_epsilon(
        [DistributedGaussian(4.0, 6, 10.0, 1, rounds)], delta=1e-5
    )


def renyi(p: Pmf, q: Pmf, order: float) -> float:
    keep = (p > 1e-290) & (q > 1e-290)
    logs = order * np.log(p[keep]) + (1 - order) * np.log(q[keep])
    return float((logs.max() + np.log(np.exp(logs - logs.max()).sum())) / (order - 1))


@pytest.mark.parametrize(("std", "shares"), [(0.5, 2), (0.5, 6), (0.7, 3), (1.0, 2), (1.0, 5), (3.0, 4)])
@pytest.mark.parametrize("shift", [1, 2])
def test_the_concentrated_bound_is_above_the_exact_renyi_divergence(std: float, shares: int, shift: int) -> None:
    total = pmf_of_sum(std, shares)
    exact = max(renyi(total[shift:], total[:-shift], order) / order for order in (1.001, 1.1, 2.0, 4.0, 8.0))
    bound = concentrated(DistributedGaussian(std, shares, shift, 1))
    assert exact <= bound * (1 + 1e-9) and (std < 1 or bound < 1.01 * exact)


def test_ideal_noise_on_whole_numbers_has_the_published_rho() -> None:
    """Canonne, Kamath and Steinke 2020, theorem 4: N_Z(0, std^2) is (1 / 2 std^2)-zCDP at sensitivity 1, tight."""
    total = pmf_of_sum(3.0, 1)
    assert renyi(total[1:], total[:-1], 2.0) == pytest.approx(2 / (2 * 9.0), rel=1e-9)
    assert concentrated(DistributedGaussian(3.0, 1, 1.0, 1)) == 1 / (2 * 9.0)


def test_large_shares_cost_as_much_as_a_continuous_gaussian() -> None:
    noise = DistributedGaussian(40.0, 100, 200.0, 10_000_000, 50)
    continuous = gaussian_epsilon(math.sqrt(50) / noise.noise_multiplier, 1e-6)
    assert continuous < distributed_epsilon([noise], delta=1e-6) < continuous + 1e-3


def test_small_shares_fall_back_on_the_concentrated_bound() -> None:
    noise = DistributedGaussian(1.0, 1000, 100.0, 1_000_000)
    found = distributed_epsilon([noise], delta=1e-6)
    assert found == pytest.approx(zcdp_epsilon(concentrated(noise), 1e-6), rel=1e-5)
    assert found > gaussian_epsilon(1 / noise.noise_multiplier, 1e-6)
    with pytest.raises(PrivacyError, match="step"):
        distributed_epsilon([DistributedGaussian(1.0, 1000, 100.0, 1_000_000, 1, 0.1)], delta=1e-6)


def test_rounds_that_differ_compose_and_rounds_without_work_are_free() -> None:
    a, b = DistributedGaussian(20.0, 50, 150.0, 1000, 3), DistributedGaussian(30.0, 40, 150.0, 1000, 5)
    mu = math.sqrt(3 / a.noise_multiplier**2 + 5 / b.noise_multiplier**2)
    assert distributed_epsilon([a, b], delta=1e-5) == pytest.approx(gaussian_epsilon(mu, 1e-5), rel=1e-3)
    assert distributed_epsilon([a] * 2, delta=1e-5) == pytest.approx(
        distributed_epsilon([DistributedGaussian(20.0, 50, 150.0, 1000, 6)], delta=1e-5)
    )
    idle = [DistributedGaussian(20.0, 50, 150.0, 1000, 0), DistributedGaussian(20.0, 50, 150.0, 1000, 5, 0.0)]
    assert distributed_epsilon([a, *idle], delta=1e-5) == distributed_epsilon([a], delta=1e-5)
    assert distributed_epsilon(idle, delta=1e-5) == 0.0 == distributed_epsilon([], delta=1e-5)


def test_fewer_honest_shares_longer_vectors_and_more_rounds_cost_more() -> None:
    def cost(shares: int = 80, norm: float = 150.0, rounds: int = 10, dimension: int = 10**6) -> float:
        return distributed_epsilon([DistributedGaussian(20.0, shares, norm, dimension, rounds)], delta=1e-5)

    assert cost() < min(cost(shares=79), cost(norm=151.0), cost(rounds=11), cost(dimension=10**9))


def test_replacing_a_vector_doubles_the_norm() -> None:
    noise, twice = (DistributedGaussian(20.0, 50, norm, 1000, 3) for norm in (150.0, 300.0))
    assert distributed_epsilon([noise], delta=1e-5, adjacency=Adjacency.REPLACE) == distributed_epsilon(
        [twice], delta=1e-5
    )
    with pytest.raises(PrivacyError, match="sampling"):
        distributed_epsilon(
            [DistributedGaussian(20.0, 50, 150.0, 1000, 3, 0.5)], delta=1e-5, adjacency=Adjacency.REPLACE
        )
    with pytest.raises(PrivacyError, match="adjacency"):
        distributed_epsilon([noise], delta=1e-5, adjacency="some")  # type: ignore[arg-type]


def test_what_the_tables_cannot_show_is_refused() -> None:
    with pytest.raises(PrivacyError, match="tables"):
        distributed_epsilon([DistributedGaussian(20.0, 1, 1500.0, 1000)], delta=1e-5)
    assert distributed_epsilon([DistributedGaussian(20.0, 1000, 150.0, 10**8, 100)], delta=1e-10) < 20


@pytest.mark.parametrize(("rate", "target"), [(1.0, 1.0), (1.0, 8.0), (0.2, 3.0)])
def test_a_calibrated_share_meets_the_target_and_a_thousandth_less_does_not(rate: float, target: float) -> None:
    share = calibrate_share(target, delta=1e-5, norm=150.0, dimension=10_000, shares=64, rounds=8, sampling_rate=rate)
    less = DistributedGaussian(share.std / 1.0011, 64, 150.0, 10_000, 8, rate)
    assert distributed_epsilon([share], delta=1e-5) <= target < distributed_epsilon([less], delta=1e-5)


def test_targets_beyond_the_widest_share_are_refused() -> None:
    with pytest.raises(PrivacyError, match="step"):
        calibrate_share(1e-3, delta=1e-9, norm=1e7, dimension=10, shares=1, rounds=10)
    for target in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(PrivacyError, match="target"):
            calibrate_share(target, delta=1e-5, norm=1.0, dimension=10, shares=1, rounds=10)


@pytest.mark.parametrize(
    "bad",
    [(0.4, 10, 1.0, 10), (math.nan, 10, 1.0, 10), (2e6, 10, 1.0, 10), (1.0, 0, 1.0, 10), (1.0, 10, 0.0, 10),
     (1.0, 10, math.inf, 10), (1.0, 10, 1.0, 0), (1.0, 10, 1.0, 10, -1), (1.0, 10, 1.0, 10, 1, 1.5)],
)  # fmt: skip
def test_conditions_outside_the_theorems_are_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(PrivacyError):
        DistributedGaussian(*bad)  # type: ignore[arg-type]


def test_sums_stay_within_their_reach() -> None:
    std, cohort, d = 3.0, 20, 50_000
    noise, entropy = discrete_gaussian(std), replay(b"reach")
    total = sum(noise.sample(d, entropy) for _ in range(cohort))
    assert np.abs(total).max() < sum_reach(std, cohort, d) < 2.5 * np.abs(total).max()


def test_a_sampled_distributed_sum_costs_a_little_more_than_its_continuous_twin() -> None:
    noise = DistributedGaussian(20.0, 80, 150.0, 1_000_000, 100, 0.1)
    twin = compose([Mechanism(noise.noise_multiplier, 0.1, 100)], delta=1e-5)
    assert twin <= distributed_epsilon([noise], delta=1e-5) <= twin + 0.01


def test_a_noised_sum_in_a_narrow_ring_comes_back_as_the_sum_of_the_clipped_vectors() -> None:
    """The whole way of a client's vector: rotate, scale, round to a certain norm, add a share, wrap, add up, undo."""
    clients, d, clip, step, seed = 12, 9000, 1.0, 2e-3, bytes(range(32))
    norm = inflated_norm(clip * (1 + 1e-5), step, padded(d)) / step  # ring steps; float32 rotates to 1e-5
    share = calibrate_share(8.0, delta=1e-5, norm=norm, dimension=padded(d), shares=10, rounds=1)
    noise, entropy, draws = discrete_gaussian(share.std), replay(b"whole way"), np.random.default_rng(1)
    plain, ring = np.zeros(d), np.zeros(padded(d), dtype=np.uint16)
    for _ in range(clients):
        update = draws.normal(size=d).astype(np.float32)
        update *= np.float32(clip) / np.linalg.norm(update)
        plain += update
        steps = round_within(rotate(update, seed) / np.float32(step), norm, entropy)
        ring += (steps + noise.sample(steps.size, entropy)).astype(np.uint16)
    assert clients * norm / math.sqrt(padded(d)) * 6 + sum_reach(share.std, clients, padded(d)) < 2**15  # no wrap
    found = rotate_back(ring.view(np.int16).astype(np.float32) * np.float32(step), seed, d)
    expected = step * math.sqrt(clients * (share.std**2 + 1 / 4))
    assert np.std(found - plain) == pytest.approx(expected, rel=0.05)
